"""The parent of forked processes: ``python -P forking.py SOCKET`` forks what is asked for by those that connect to the socket.

It ends with the last connection.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NoReturn

from prometheus_client import values

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.forked import FILES, NUMBER, Forked

PRELOADED = ("app.http_server", "app.main", "driftline.cli", "uvicorn", "uvloop", "worker.main")


def main() -> None:
    for name in PRELOADED:
        importlib.import_module(name)
    from driftline.networks.kernels.all_kernels import warm
    from driftline.processes import supervisor

    warm()
    vars(supervisor)["subprocess"] = ForkingSubprocess()
    gc.collect()
    gc.freeze()
    serve(socket.socket(fileno=int(sys.argv[1])))


def serve(listening: socket.socket) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    with selectors.DefaultSelector() as sockets:
        sockets.register(listening, selectors.EVENT_READ)
        while True:
            for ready, _ in sockets.select():
                if ready.fileobj is listening:
                    asking, _ = listening.accept()
                    asking.sendall(b".")
                    sockets.register(asking, selectors.EVENT_READ, asking)
                elif not _answer(ready.data):
                    sockets.unregister(ready.data)
                    ready.data.close()
            if len(sockets.get_map()) == 1:
                return


def _answer(asking: socket.socket) -> bool:
    """Whether somebody could still ask."""
    size, files, _, _ = socket.recv_fds(asking, NUMBER.size, FILES)
    if not size:
        return False
    (length,) = NUMBER.unpack(size)
    asked = json.loads(asking.recv(length, socket.MSG_WAITALL))
    telling, *streams = files
    fork(asked["arguments"], asked["env"], telling, streams, folder=asked["folder"])
    for file in files:
        os.close(file)
    _reap()
    return True


def _reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


class ForkingSubprocess:
    """The module :mod:`subprocess` as the supervisor sees it: an app or a worker is forked."""

    DEVNULL = subprocess.DEVNULL

    def Popen(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        stdin: int | None = None,
        stdout: int | IO[bytes] | None = None,
        stderr: int | IO[bytes] | None = None,
        **options: Any,
    ) -> Forked | subprocess.Popen[bytes]:
        if not any(word.endswith("__main__.py") for word in argv):
            return subprocess.Popen(argv, env=env, stdin=stdin, stdout=stdout, stderr=stderr, **options)
        told, telling = os.pipe()
        out = _number(stdout, 1)
        error = out if stderr == subprocess.STDOUT else _number(stderr, 2)
        with open(os.devnull, "rb") as nothing:
            fork(argv[1:], env or os.environ, telling, (nothing.fileno(), out, error), **options)
        os.close(telling)
        return Forked(told)


def _number(file: int | IO[bytes] | None, inherited: int) -> int:
    if file is None:
        return inherited
    return file if isinstance(file, int) else file.fileno()


def fork(
    arguments: Sequence[str], env: Mapping[str, str], telling: int, streams: Sequence[int], **options: Any
) -> None:
    """Forks a process and, above it, one that tells its id and how it ended."""
    sys.stdout.flush()
    if os.fork():
        return
    pid = os.fork()
    if not pid:
        _become(arguments, {**env}, telling, streams, **options)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    _close_all_but({telling})
    os.write(telling, NUMBER.pack(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])))
    os._exit(0)


def _become(
    arguments: Sequence[str],
    env: Mapping[str, str],
    telling: int,
    streams: Sequence[int],
    *,
    folder: str | None = None,
    pass_fds: Sequence[int] = (),
    process_group: int | None = None,
    umask: int | None = None,
) -> NoReturn:
    """Does in this process what ``python`` would do in a new one, and ends."""
    if process_group is not None:
        os.setpgid(0, process_group)
    if umask is not None:
        os.umask(umask)
    for place, file in enumerate(streams):
        os.dup2(file, place)
    _close_all_but({0, 1, 2, telling, *pass_fds})
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(env)
    if folder is not None:
        os.chdir(folder)
    sys.stdin = sys.__stdin__ = open(0, encoding="utf-8", closefd=False)  # type: ignore[misc] # noqa: SIM115
    sys.stdout = sys.__stdout__ = _printed(1, "strict")  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = _printed(2, "backslashreplace")  # type: ignore[misc]
    tempfile.tempdir = None
    atexit._clear()
    # These read the environment when they are imported.
    importlib.reload(sys.modules["driftline.support.failpoints"])
    values.ValueClass = values.get_value_class()
    os.write(telling, NUMBER.pack(os.getpid()))
    os.close(telling)
    _exit(_run(list(arguments)))


def _printed(number: int, errors: str) -> Any:
    encoding = os.environ.get("PYTHONIOENCODING", "utf-8")
    return open(number, "w", encoding=encoding, errors=errors, buffering=1, closefd=False)


def _run(arguments: list[str]) -> object:
    """What a program ends with: a code, or what it says of why."""
    if arguments[0] == "-P":
        arguments.pop(0)
    else:
        sys.path.insert(0, os.getcwd())
    sys.path[:0] = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    is_module = arguments[0] == "-m"
    sys.argv[:] = arguments[is_module:]
    try:
        (runpy.run_module if is_module else runpy.run_path)(sys.argv[0], run_name="__main__")
    except SystemExit as ended:
        return ended.code
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _exit(code: object) -> NoReturn:
    """As the interpreter ends, but for what belongs to the parent as well."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    if not isinstance(code, int | None):
        print(code, file=sys.stderr)
        code = 1
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.flush()
    os._exit(code or 0)


def _close_all_but(kept: Iterable[int]) -> None:
    for number in {int(name) for name in os.listdir("/dev/fd")} - {*kept}:
        with contextlib.suppress(OSError):  # That of the listing is closed already.
            os.close(number)


if __name__ == "__main__":
    main()
