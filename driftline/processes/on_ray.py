"""A program of Driftline on a node of a Ray cluster.

Run as ``python -m driftline.processes.on_ray FOLDER PROGRAM ARGUMENT…``, it stands for that program, which works on the files
of a folder: they go to a node, the program's lines come from there, and so do the files that it writes. SIGTERM asks it to end;
when standard input is closed, both end at once. Where a node is lost, the program begins again on another. Where the cluster
cannot run it, the last line says why: ``{"lost": "…"}``. Without a FOLDER it tells the cluster's address.

With ``--worker`` it stands for a worker, which learns on some node for as long as this process lives.

It is a process of its own because Ray ends whatever is connected to a cluster that is gone: that must not be a learner.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from asyncio.subprocess import PIPE, Process
from pathlib import Path
from typing import IO, Any

from driftline.errors import ConfigurationError
from driftline.processes.plan import program
from driftline.processes.supervisor import Guard, describe_exit
from driftline.settings import Settings
from driftline.support.started import end_with_the_starter, line_channel

START_SECONDS = 120.0
"""How long the cluster may take to let a process in."""
MAX_LOST_NODES = 3
"""How many nodes may be lost under one program."""
MAX_LINE_BYTES = 1 << 26
"""The most that a program tells at once."""
TELL_SECONDS = 0.5
RUN = [sys.executable, "-P", "-m", "driftline.processes.on_ray"]
"""The command that tells the cluster's address."""
WORKER = [*RUN, "--worker"]
"""The command that stands for a worker on a node."""
OF_OTHERS = ("AWS_", "AZURE_", "GOOGLE_", "OTEL_")
"""What the variables begin with that a worker needs beside its settings: object stores and traces are read with them."""


class RemoteProgram:
    """The actor on the node: it runs one program, knows what that said last, and can ask it to end."""

    def __init__(self) -> None:
        self.newest = b""
        self._process: Process | None = None
        self._is_told_to_end = False

    async def run(
        self, words: list[str], home: str, environment: dict[str, str], files: dict[str, bytes]
    ) -> tuple[int, bytes, dict[str, bytes]]:
        """Runs it on these files to its end, from the folder ``home`` where the node has that: code, last line, new files."""
        with tempfile.TemporaryDirectory(prefix="driftline-remote-", ignore_cleanup_errors=True) as name:
            folder = Path(name)
            await asyncio.to_thread(write_files, folder, files)
            self._process = process = await asyncio.create_subprocess_exec(
                *program(words[0], *words[1:], name),
                stdin=PIPE,
                stdout=PIPE,
                limit=MAX_LINE_BYTES,
                env={**os.environ, **environment},
                cwd=home if os.path.isdir(home) else None,
            )
            if self._is_told_to_end:
                process.terminate()
            assert process.stdout is not None
            async for line in process.stdout:
                if line.endswith(b"\n"):
                    self.newest = line
            code = await process.wait()
            found = await asyncio.to_thread(read_files, folder)
            return code, self.newest, {name: content for name, content in found.items() if name not in files}

    async def tell(self) -> bytes:
        """What it said last."""
        return self.newest

    async def end(self) -> None:
        """Asks it to end."""
        self._is_told_to_end = True
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()


class RemoteWorker:
    """The actor on the node that runs a worker, which does not outlive it."""

    def __init__(self) -> None:
        self._guard = Guard()
        self._process: subprocess.Popen[bytes] | None = None

    async def run(self, home: str, environment: dict[str, str]) -> int:
        """Runs it, from the folder ``home`` where the node has that, until it ends; its exit code."""
        if os.path.isdir(home):
            os.chdir(home)
        self._process = self._guard.spawn(program("worker"), env={**os.environ, **environment})
        return await asyncio.to_thread(self._process.wait)

    async def end(self) -> None:
        """Asks it to end: it finishes its step, writes the checkpoints, and gives its models to the others."""
        if self._process is not None:
            self._process.terminate()


def on_a_node(folder: Path, *words: str) -> list[str]:
    """The command that runs a program on the files of a folder, on a node of the cluster of the settings."""
    return [*RUN, str(folder), *words]


def read_files(folder: Path) -> dict[str, bytes]:
    """What the files of a folder hold, by their names."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def write_files(folder: Path, files: dict[str, bytes]) -> None:
    """Writes files into a folder."""
    for name, content in files.items():
        (folder / name).write_bytes(content)


def require() -> None:
    """Checks that Ray is installed.

    Raises:
        ConfigurationError: it is not.
    """
    if importlib.util.find_spec("ray") is None:
        raise ConfigurationError(
            "a Ray cluster can only be used with Ray; install it: pip install 'driftline[ray]'", code="no_ray"
        )


def connect(address: str | None) -> Any:
    """Ray, connected to the cluster at that address, or else to the one that ``RAY_ADDRESS`` names or that is on this machine.

    Raises:
        OSError, RuntimeError, ValueError: no cluster answers, or one of another version.
    """
    import ray

    place = address or os.environ.get("RAY_ADDRESS") or "auto"
    if place != "auto":  # Ray itself would wait for minutes.
        knock(place)
    ray.init(place, log_to_driver=False, logging_level=logging.ERROR, namespace="driftline")
    return ray


def knock(address: str, seconds: float = 10.0) -> None:
    """Looks whether somebody answers at ``HOST:PORT`` or ``ray://HOST:PORT``.

    Raises:
        OSError: nobody does.
        ValueError: it is no such address.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isdecimal()):
        raise ValueError("an address is HOST:PORT or ray://HOST:PORT")
    socket.create_connection((host.strip("[]"), int(port)), seconds).close()


def run(
    ray: Any, settings: Settings, folder: Path, words: list[str], channel: IO[bytes], is_told_to_end: threading.Event
) -> None:
    """Runs a program on the files of a folder, on some node, and writes there what it has written.

    Raises:
        ray.exceptions.RayError: the cluster cannot run it, or too many nodes were lost meanwhile.
    """
    # They stay in this process's store, from where each node takes them.
    files = ray.put(read_files(folder))
    for left in reversed(range(MAX_LOST_NODES + 1)):
        actor = _on_some_node(ray, RemoteProgram, settings)
        running = actor.run.remote(words, os.getcwd(), environment(settings), files)
        try:
            code, last, found = _followed(ray, actor, running, channel, is_told_to_end)
            if code >= 0 or not left or is_told_to_end.is_set():
                break
            # Whatever ends a node may have ended the program before the actor; or the node had too little memory for it.
        except ray.exceptions.RayActorError:
            ray.kill(actor)  # It may be there all the same, and not be heard.
            if not left or is_told_to_end.is_set():
                raise
    write_files(folder, found)
    channel.write(last)
    if code != 0:
        _tell(channel, failed=f"its process {describe_exit(code)}")


def learn(ray: Any, settings: Settings, is_told_to_end: threading.Event) -> int:
    """Runs a worker on some node until it ends, or is told to; its exit code.

    It has a name of its own each time: one whose node is no longer heard may live, and only its leases end it.

    Raises:
        ray.exceptions.RayError: the cluster cannot run it, or the node was lost.
    """
    actor = _on_some_node(ray, RemoteWorker, settings)
    running = actor.run.remote(os.getcwd(), worker_environment())
    while not ray.wait([running], timeout=TELL_SECONDS)[0]:
        if is_told_to_end.is_set():
            is_told_to_end.clear()
            actor.end.remote()
    code: int = ray.get(running)
    return code


def _on_some_node(ray: Any, kind: type, settings: Settings) -> Any:
    """A new actor, on another node than the last one where that is possible."""
    return (
        ray.remote(kind)
        .options(
            num_cpus=settings.threads,
            num_gpus=float(settings.device.startswith("cuda")),
            scheduling_strategy="SPREAD",
        )
        .remote()
    )


def _followed(
    ray: Any, actor: Any, running: Any, channel: IO[bytes], is_told_to_end: threading.Event
) -> tuple[int, bytes, dict[str, bytes]]:
    """What has come of a running program, once it has ended; meanwhile it is told to end, and what it says is passed on."""
    has_asked, told = False, b""
    while not ray.wait([running], timeout=TELL_SECONDS)[0]:
        if is_told_to_end.is_set() and not has_asked:
            has_asked = True
            actor.end.remote()
        newest = actor.tell.remote()
        if ray.wait([running, newest], timeout=TELL_SECONDS)[0] == [newest] and (line := ray.get(newest)) != told:
            told = line
            channel.write(line)
    found: tuple[int, bytes, dict[str, bytes]] = ray.get(running)
    return found


def environment(settings: Settings) -> dict[str, str]:
    """The settings that a program computes with, as the starter has them."""
    names = ("threads", "device", "log_level", "log_format")
    return {f"DRIFTLINE_{name.upper()}": str(getattr(settings, name)) for name in names}


def worker_environment() -> dict[str, str]:
    """What a worker on another machine is started with: all settings of this process but its name and its port."""
    named = ("DRIFTLINE_", *OF_OTHERS)
    found = {name: value for name, value in os.environ.items() if name.startswith(named)}
    return {
        name: value for name, value in found.items() if name not in ("DRIFTLINE_WORKER_ID", "DRIFTLINE_WORKER_PORT")
    }


def main(arguments: list[str]) -> int:
    channel = line_channel()
    from ray.exceptions import RayError

    is_told_to_end = threading.Event()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    settings = Settings()
    late = threading.Timer(START_SECONDS, _give_up, [channel])
    late.daemon = True
    late.start()
    try:
        is_worker = arguments == WORKER[len(RUN) :]
        if arguments and not is_worker:
            end_with_the_starter()
        ray = connect(settings.ray_address)
        late.cancel()
        if not arguments:
            _tell(channel, address=ray.get_runtime_context().gcs_address)
            return 0
        signal.signal(signal.SIGTERM, lambda *_: is_told_to_end.set())
        if is_worker:
            return learn(ray, settings, is_told_to_end)
        run(ray, settings, Path(arguments[0]), arguments[1:], channel, is_told_to_end)
    except (RayError, OSError, RuntimeError, ValueError) as error:
        reason = (str(error).strip().splitlines() or [""])[0]
        _tell(channel, lost=f"{type(error).__name__}: {reason}")
        return 1
    return 0


def _tell(channel: IO[bytes], **told: str) -> None:
    channel.write(json.dumps(told).encode() + b"\n")


def _give_up(channel: IO[bytes]) -> None:
    _tell(channel, lost=f"the cluster let nobody in within {START_SECONDS:.0f} s")
    os._exit(1)


if __name__ == "__main__":
    # By its own name: the node imports the actor's class from there.
    from driftline.processes import on_ray

    sys.exit(on_ray.main(sys.argv[1:]))
