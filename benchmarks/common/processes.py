"""Servers as process trees: started in a folder, paused while others are measured, and ended with all descendants."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

END_SECONDS = 20.0
LAST_LINES = 2


def free_port() -> int:
    """A port of 127.0.0.1 that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def running(command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """``command`` in a new ``folder``, which also gets its log; ended at the end with all that it has started."""
    folder.mkdir(parents=True)
    with _log(folder).open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        _end(process)


def last_words(folder: Path) -> str:
    """The last output of the command in ``folder``."""
    lines = [line.strip() for line in _log(folder).read_text(errors="replace").splitlines()]
    return " / ".join([line for line in lines if line][-LAST_LINES:])


def pause(root: int) -> None:
    """Stops a process and all that it has started, until :func:`resume`."""
    paused: set[_Member] = set()
    while new := [member for member in _tree(root) if member not in paused]:
        _signal(new, signal.SIGSTOP)
        paused.update(new)


def resume(root: int) -> None:
    """Resumes them; a parent after its children, so that it finds them running."""
    _signal(reversed(_tree(root)), signal.SIGCONT)


class _Member(NamedTuple):
    """One process. Its time of start tells it from a later one with the same id."""

    process: int
    parent: int
    group: int
    start: str


def _log(folder: Path) -> Path:
    return folder / "log"


def _end(process: subprocess.Popen[bytes]) -> None:
    """Asks the root to end, and kills what is left of its tree."""
    resume(process.pid)
    members = {(member.process, member.start) for member in _tree(process.pid)}
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(END_SECONDS)
    _signal([member for member in _members() if (member.process, member.start) in members], signal.SIGKILL)
    process.wait()


def _tree(root: int) -> list[_Member]:
    """A process, its group if it leads one, and all their descendants; parents first."""
    members = _members()
    found = [member for member in members if root in (member.process, member.group)]
    for parent in found:
        found += [member for member in members if member.parent == parent.process and member not in found]
    return found


def _members() -> list[_Member]:
    command = ["ps", "-A", "-o", "pid=,ppid=,pgid=,lstart="]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    fields = [line.split(None, 3) for line in lines]
    return [_Member(int(process), int(parent), int(group), start) for process, parent, group, start in fields]


def _signal(members: Iterable[_Member], number: signal.Signals) -> None:
    for member in members:
        with contextlib.suppress(ProcessLookupError):
            os.kill(member.process, number)


def resident_bytes(process: int) -> int:
    """The resident memory of a process."""
    return 1024 * int(_status(process, "rss="))


def cpu_seconds(process: int) -> float:
    """The processor time of a process."""
    ticks = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(ticks[11]) + int(ticks[12])) / os.sysconf("SC_CLK_TCK")


def open_files(process: int) -> int:
    """How many files, connections among them, a process has open."""
    return len(os.listdir(f"/proc/{process}/fd"))


def _status(process: int, column: str) -> str:
    command = ["ps", "-o", column, "-p", str(process)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
