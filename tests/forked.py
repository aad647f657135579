"""Driftline's processes, forked from one that has already imported what they need: to import it takes each of them seconds.

Each is a process by itself, which can be stopped and killed; what it starts of app and worker is forked as well.
``DRIFTLINE_TEST_COLD=1`` starts all of them as users do.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import IO

from tests.waiting import SECONDS

FOLDER = "DRIFTLINE_TEST_FOLDER"
NUMBER = struct.Struct("q")
FILES = 4
"""Those that a process is given: where its id and its end are told, and its standard streams."""


def is_cold() -> bool:
    """Whether every process is to start as users start it."""
    return bool(os.environ.get("DRIFTLINE_TEST_COLD"))


class Forked:
    """A forked process, as :class:`subprocess.Popen` has those that it starts.

    ``told`` is where its id and how it ended can be read, ``stdout`` what it prints.
    """

    def __init__(self, told: int, stdout: IO[str] | None = None) -> None:
        self._told = told
        self.pid = self._read()
        self.returncode: int | None = None
        self.stdout = stdout

    def poll(self) -> int | None:
        return self._await(0)

    def wait(self, timeout: float | None = None) -> int:
        code = self._await(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _await(self, seconds: float | None) -> int | None:
        if self.returncode is None:
            telling = select.poll()
            telling.register(self._told)
            if telling.poll(None if seconds is None else 1000 * seconds):
                self.returncode = self._read()
                os.close(self._told)
        return self.returncode

    def _read(self) -> int:
        number: int = NUMBER.unpack(os.read(self._told, NUMBER.size))[0]
        return number


Process = subprocess.Popen[str] | Forked


def start(arguments: Sequence[str], env: Mapping[str, str], folder: Path, output: IO[bytes] | None = None) -> Process:
    """``python`` with these arguments; what it prints, also on its stderr, is its ``stdout`` unless it goes to ``output``."""
    if is_cold():
        return start_cold([sys.executable, *arguments], env, folder, output)
    with contextlib.ExitStack() as stack:
        stdout, nothing = None, stack.enter_context(open(os.devnull, "rb"))
        if output is None:
            printed, printing = os.pipe()
            stdout, output = os.fdopen(printed, encoding="utf-8"), stack.enter_context(os.fdopen(printing, "wb"))
        files = [each.fileno() for each in (nothing, output, output)]
        return Forked(_ask(arguments, env, folder, *files), stdout)


def start_cold(
    command: Sequence[str], env: Mapping[str, str], folder: Path, output: IO[bytes] | None = None
) -> subprocess.Popen[str]:
    """A whole command, started as users start it."""
    stdout = output or subprocess.PIPE
    return subprocess.Popen(command, env=env, cwd=folder, stdout=stdout, stderr=subprocess.STDOUT, text=True)


def run(
    arguments: Sequence[str], env: Mapping[str, str], folder: Path, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    """``python`` with these arguments, waited for."""
    if is_cold():
        command, pipes = [sys.executable, *arguments], subprocess.PIPE
        return subprocess.run(
            command, env=env, cwd=folder, input=stdin, stdout=pipes, stderr=pipes, text=True, timeout=SECONDS
        )
    with tempfile.TemporaryFile("w+") as stdout, tempfile.TemporaryFile("w+") as stderr:
        given, giving = os.pipe()
        process = Forked(_ask(arguments, env, folder, given, stdout.fileno(), stderr.fileno()))
        os.close(given)
        writer = threading.Thread(target=_give, args=(giving, stdin))
        writer.start()
        try:
            process.wait(SECONDS)
        finally:
            process.kill()
            writer.join()
        for stream in (stdout, stderr):
            stream.seek(0)
        return subprocess.CompletedProcess([*arguments], process.wait(), stdout.read(), stderr.read())


def _give(file: int, text: str) -> None:
    with contextlib.suppress(BrokenPipeError), os.fdopen(file, "w", encoding="utf-8") as pipe:
        pipe.write(text)


def _ask(arguments: Sequence[str], env: Mapping[str, str], folder: Path, *streams: int) -> int:
    """Lets the parent fork a process; gives where it is told of."""
    request = json.dumps({"arguments": [*arguments], "env": {**env}, "folder": str(folder)}).encode()
    told, telling = os.pipe()
    parent = _parent()
    socket.send_fds(parent, [NUMBER.pack(len(request))], [telling, *streams])
    parent.sendall(request)
    os.close(telling)
    return told


def shared_folder() -> Path:
    """The folder of all test processes of a run, which nobody else may enter: made by the first, with which it goes."""
    if FOLDER not in os.environ:
        os.environ[FOLDER] = tempfile.mkdtemp(prefix="driftline-tests-")
        atexit.register(shutil.rmtree, os.environ[FOLDER])
    return Path(os.environ[FOLDER])


@cache
def _parent() -> socket.socket:
    """A connection to the parent of all processes of this run, which ends with the last of them."""
    folder = shared_folder()
    while True:
        with (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            connection = _connected(folder / "parent")
        # A parent that is about to end says nothing.
        if connection.recv(1):
            return connection


def _connected(place: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(str(place))
    except (FileNotFoundError, ConnectionRefusedError):
        place.unlink(missing_ok=True)
        _start_parent(place)
        connection.connect(str(place))
    return connection


def _start_parent(place: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(place))
        listening.listen()
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("DRIFTLINE_", "PYTHONPATH"))}
        command = [sys.executable, "-P", str(Path(__file__).with_name("forking.py")), str(listening.fileno())]
        subprocess.Popen(command, env=clean, stdin=subprocess.DEVNULL, pass_fds=[listening.fileno()], cwd="/")
