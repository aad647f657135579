"""Supervision of child processes: restarted when they die, ended in order, and never outliving their supervisor."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO

from driftline.errors import ConfigurationError, DriftlineError

Output = int | IO[bytes] | None


class Guard:
    """A process group that ends when this process does, even if it is killed.

    ``grace`` is how long its members may take to end by themselves, in seconds.

    >>> with Guard() as guard:
    ...     child = guard.spawn(["sleep", "60"])
    >>> child.wait() != 0  # closing the guard ended it
    True
    """

    def __init__(self, grace: float = 15.0) -> None:
        life_end, self._life = os.pipe()
        group_end, self._group = os.pipe()
        program = Path(__file__).with_name("guard.py")
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(program), str(life_end), str(group_end), str(grace)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(life_end, group_end),
            process_group=0,
        )
        os.close(life_end)
        os.close(group_end)
        self._members: list[subprocess.Popen[bytes]] = []
        self._is_closed = False

    @property
    def pid(self) -> int:
        """The guard's process id, which is also the id of the group."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether the guard process runs."""
        return not self._is_closed and self._process.poll() is None

    def spawn(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        pass_fds: Sequence[int] = (),
        stdout: Output = None,
        stderr: Output = None,
    ) -> subprocess.Popen[bytes]:
        """Start ``argv`` as a member of the group: a terminal's Ctrl-C does not reach it, and its files are for us alone."""
        member = subprocess.Popen(
            argv,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            pass_fds=(*pass_fds, self._group),
            process_group=self.pid,
            umask=0o077,
        )
        self._members = [*self._alive(), member]
        return member

    def _alive(self) -> list[subprocess.Popen[bytes]]:
        return [member for member in self._members if member.poll() is None]

    def close(self) -> None:
        """End whatever is left of the group, and the guard."""
        if self._is_closed:
            return
        self._is_closed = True
        # While a member exists, no other process group can get this id.
        if self._process.poll() is not None and self._alive():
            os.killpg(self.pid, signal.SIGKILL)
        os.close(self._life)
        os.close(self._group)
        self._process.wait()

    def __enter__(self) -> Guard:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass
class Child:
    """One process that should always run.

    Args:
        stop_seconds: how long it may take to end after SIGTERM.
        first_delay: seconds until the first restart; after each quick death twice as long, up to ``last_delay``.
        healthy_seconds: after so long a life the delays begin again.
    """

    name: str
    start: Callable[[], subprocess.Popen[bytes]]
    stop_seconds: float
    process: subprocess.Popen[bytes] | None = None
    first_delay: float = 0.2
    last_delay: float = 10.0
    healthy_seconds: float = 30.0
    started_at: float = 0.0
    due_at: float = 0.0

    def __post_init__(self) -> None:
        self._delay = self.first_delay

    def run(self) -> None:
        """Start the process."""
        self.started_at = time.monotonic()
        self.process = self.start()

    def postpone(self) -> float:
        """Set the time of the next start, later after each quick death; returns the seconds until then."""
        now = time.monotonic()
        if now - self.started_at >= self.healthy_seconds:
            self._delay = self.first_delay
        delay, self._delay = self._delay, min(2 * self._delay, self.last_delay)
        self.process, self.due_at = None, now + delay
        return delay

    def end(self, is_urgent: Callable[[], bool]) -> bool:
        """SIGTERM, then SIGKILL after ``stop_seconds`` or once it is urgent. False if it had to be killed."""
        if self.process is None or self.process.poll() is not None:
            return True
        self.process.terminate()
        deadline = time.monotonic() + self.stop_seconds
        while self.process.poll() is None:
            if time.monotonic() > deadline or is_urgent():
                self.process.kill()
                self.process.wait()
                return False
            time.sleep(0.05)
        return True


Plan = Callable[[Guard], AbstractContextManager[Sequence[Child]]]


class Supervisor:
    """Keeps children running until it is told to stop, then ends them in reverse order of their start.

    Parameters
    ----------
    plan
        Yields the children of one guard in the order of their start, and cleans up after they have ended.
    report
        Called with a line whenever something starts or ends.
    tick_seconds
        How often the children are looked at.
    """

    def __init__(self, plan: Plan, report: Callable[[str], None], tick_seconds: float = 0.1) -> None:
        self._tick_seconds = tick_seconds
        self._plan = plan
        self._report = report
        self._is_stopping = False
        self._is_urgent = False

    def stop(self) -> None:
        """Ask :meth:`run` to end; safe in a signal handler and from another thread."""
        self._is_stopping = True

    def run(self) -> None:
        """Start the children and keep them running until :meth:`stop`.

        A guard that dies takes its children with it: they are ended in order, and started again under a new guard.
        """
        while not self._is_stopping:
            with Guard() as guard, self._plan(guard) as children:
                try:
                    for child in children:
                        self._start(child)
                    self._watch(guard, children)
                finally:
                    self._end(children)
            if not self._is_stopping:
                self._report("the guard process ended; starting everything again")

    def _watch(self, guard: Guard, children: Sequence[Child]) -> None:
        while guard.is_alive and not self._is_stopping:
            for child in children:
                self._tend(child)
            time.sleep(self._tick_seconds)

    def _tend(self, child: Child) -> None:
        if child.process is not None:
            code = child.process.poll()
            if code is not None:
                self._report(f"{child.name} {describe_exit(code)}; starting it again in {child.postpone():.1f} s")
        elif time.monotonic() >= child.due_at:
            try:
                self._start(child)
            except (OSError, DriftlineError) as error:
                self._report(f"{child.name} does not start: {error}; trying again in {child.postpone():.1f} s")

    def _start(self, child: Child) -> None:
        child.run()
        assert child.process is not None
        self._report(f"{child.name} started, process {child.process.pid}")

    def _end(self, children: Sequence[Child]) -> None:
        for child in reversed(children):
            if not child.end(lambda: self._is_urgent):
                self._report(f"{child.name} did not end in time and was killed")
            elif child.process is not None:
                self._report(f"{child.name} ended")

    @contextlib.contextmanager
    def handling_signals(self) -> Iterator[None]:
        """SIGINT, SIGTERM and SIGHUP stop the supervisor; a second SIGINT kills what has not ended by then."""

        def handle(number: int, frame: FrameType | None) -> None:
            self._is_urgent |= self._is_stopping and number == signal.SIGINT
            self.stop()

        previous = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)


def describe_exit(code: int) -> str:
    """How a process ended, from its return code."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"


def bind(host: str, port: int, option: str = "--port") -> socket.socket:
    """A listening TCP socket; :class:`ConfigurationError` if the address cannot be bound. Port 0: a free port.

    ``option`` is what chose the port.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror as error:
        raise ConfigurationError(f"{host!r} is not an address of this machine: {error.strerror}") from None
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(2048)
    except OSError as error:
        listener.close()
        reason = os.strerror(error.errno) if error.errno else str(error)
        message = f"cannot listen on {host} port {port}: {reason}; give another {option}, or 0 for a free one"
        raise ConfigurationError(message) from None
    return listener
