"""Children are restarted, end in order, and never outlive their supervisor."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import pytest

from driftline.errors import ConfigurationError
from driftline.processes.supervisor import Child, Guard, Plan, Supervisor, bind
from tests.waiting import SECONDS, until

STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(600)"
)
PATIENT = "import time; time.sleep(600)"


def is_running(pid: int) -> bool:
    """Whether the process is there; a zombie that nobody has collected yet is not."""
    answer = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return bool(answer.stdout.strip()) and not answer.stdout.strip().startswith("Z")


def python(program: str) -> list[str]:
    return [sys.executable, "-c", program]


@contextlib.contextmanager
def running(supervisor: Supervisor) -> Iterator[None]:
    thread = threading.Thread(target=supervisor.run)
    thread.start()
    try:
        yield
    finally:
        supervisor.stop()
        thread.join()


def plan_of(*names: str, program: str = PATIENT, stop_seconds: float = 10.0) -> tuple[Plan, dict[str, Child]]:
    """A plan with one child for each name, and the children that it made last."""
    made: dict[str, Child] = {}

    @contextlib.contextmanager
    def plan(guard: Guard) -> Iterator[Sequence[Child]]:
        for name in names:
            made[name] = Child(name, lambda: guard.spawn(python(program)), stop_seconds)
        yield list(made.values())

    return plan, made


def pid_of(child: Child) -> int:
    until(lambda: child.process is not None)
    assert child.process is not None
    return child.process.pid


def start_supervisor(folder: Path, child: str, grace: float = 15.0) -> tuple[subprocess.Popen[str], list[int]]:
    """A supervisor in a process of its own with two children; gives it, and the ids of the guard and the children."""
    program = textwrap.dedent(
        f"""
        import sys, time
        from driftline.processes.supervisor import Guard
        guard = Guard(grace={grace})
        children = [guard.spawn([sys.executable, "-c", {child!r}], stdout=open({str(folder / "out")!r}, "ab"))
                    for _ in range(2)]
        print(guard.pid, *(child.pid for child in children), flush=True)
        time.sleep(600)
        """
    )
    process = subprocess.Popen(python(program), stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, [int(pid) for pid in process.stdout.readline().split()]


def test_children_end_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    process, pids = start_supervisor(tmp_path, PATIENT)
    with process:
        assert len(pids) == 3 and all(map(is_running, pids))
        process.kill()
        until(lambda: not any(map(is_running, pids)))


def test_children_that_ignore_the_signal_end_too_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    process, pids = start_supervisor(tmp_path, STUBBORN, grace=1.0)
    with process:
        until(lambda: (tmp_path / "out").read_bytes().count(b"ready") == 2)
        process.kill()
        until(lambda: not any(map(is_running, pids)))


def test_a_killed_supervisor_gives_its_children_time_to_end_by_themselves(tmp_path: Path) -> None:
    done = tmp_path / "done"
    child = (
        "import pathlib, signal, sys, time\n"
        f"def end(*_): time.sleep(0.5); pathlib.Path({str(done)!r}).touch(); sys.exit()\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "print('ready', flush=True)\n"
        "time.sleep(600)"
    )
    process, pids = start_supervisor(tmp_path, child)
    with process:
        until(lambda: (tmp_path / "out").read_bytes().count(b"ready") == 2)
        process.kill()
        until(lambda: not any(map(is_running, pids)))
    assert done.exists()


def test_a_closed_guard_leaves_nothing_behind() -> None:
    with Guard() as guard:
        child = guard.spawn(python(PATIENT))
        assert os.getpgid(child.pid) == guard.pid != os.getpgrp()
    assert child.wait(timeout=SECONDS) == -signal.SIGTERM
    assert not is_running(guard.pid)


def test_a_child_that_dies_is_started_again() -> None:
    lines: list[str] = []
    plan, made = plan_of("app")
    with running(Supervisor(plan, lines.append)):
        until(lambda: bool(made))
        first = pid_of(made["app"])
        os.kill(first, signal.SIGKILL)
        until(lambda: made["app"].process is not None and made["app"].process.pid != first)
        assert is_running(pid_of(made["app"]))
    assert any("app was ended by SIGKILL" in line for line in lines)


def test_a_child_that_keeps_dying_is_started_ever_more_rarely() -> None:
    starts: list[float] = []

    @contextlib.contextmanager
    def plan(guard: Guard) -> Iterator[Sequence[Child]]:
        def start() -> subprocess.Popen[bytes]:
            starts.append(time.monotonic())
            return guard.spawn(["false"])

        yield [Child("app", start, 1.0)]

    with running(Supervisor(plan, lambda line: None)):
        until(lambda: len(starts) == 4)
    pauses = [later - earlier for earlier, later in pairwise(starts)]
    assert pauses[0] >= 0.2 and pauses[1] >= 0.4 and pauses[2] >= 0.8


def test_children_end_in_reverse_order_of_their_start() -> None:
    lines: list[str] = []
    plan, made = plan_of("server", "worker", "app")
    with running(Supervisor(plan, lines.append)):
        until(lambda: len(lines) == 3)
        pids = [pid_of(child) for child in made.values()]
    assert lines[3:] == ["app ended", "worker ended", "server ended"]
    assert not any(map(is_running, pids))


def test_a_child_that_does_not_end_in_time_is_killed(tmp_path: Path) -> None:
    lines: list[str] = []
    ready = tmp_path / "ready"
    program = STUBBORN.replace("print('ready', flush=True)", f"open({str(ready)!r}, 'w').close()")
    plan, made = plan_of("worker", program=program, stop_seconds=0.5)
    with running(Supervisor(plan, lines.append)):
        until(ready.exists)
        pid = pid_of(made["worker"])
    assert not is_running(pid)
    assert lines[-1] == "worker did not end in time and was killed"


def test_everything_starts_again_when_the_guard_dies() -> None:
    lines: list[str] = []
    plan, made = plan_of("app")
    with running(Supervisor(plan, lines.append)):
        until(lambda: bool(lines))
        first = pid_of(made["app"])
        os.kill(os.getpgid(first), signal.SIGKILL)
        until(lambda: lines[-1].startswith("app started") and len(lines) > 2)
        second = pid_of(made["app"])
        assert not is_running(first)
        assert is_running(os.getpgid(second))
    assert not is_running(second)


def test_a_child_that_cannot_be_started_at_first_ends_the_supervisor_with_that_error() -> None:
    before: list[subprocess.Popen[bytes]] = []

    @contextlib.contextmanager
    def plan(guard: Guard) -> Iterator[Sequence[Child]]:
        def works() -> subprocess.Popen[bytes]:
            before.append(guard.spawn(python(PATIENT)))
            return before[0]

        def fails() -> subprocess.Popen[bytes]:
            raise ConfigurationError("the data directory is in use")

        yield [Child("first", works, 5.0), Child("second", fails, 5.0)]

    with pytest.raises(ConfigurationError, match="in use"):
        Supervisor(plan, lambda line: None).run()
    assert before[0].poll() is not None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_children_and_then_the_supervisor(number: signal.Signals) -> None:
    program = textwrap.dedent(
        """
        import contextlib, sys
        from driftline.processes.supervisor import Child, Supervisor
        @contextlib.contextmanager
        def plan(guard):
            yield [Child("app", lambda: guard.spawn([sys.executable, "-c", "import time; time.sleep(600)"]), 5.0)]
        supervisor = Supervisor(plan, lambda line: print(line, flush=True))
        with supervisor.handling_signals():
            supervisor.run()
        """
    )
    with subprocess.Popen(python(program), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline().split()[-1])
        process.send_signal(number)
        assert process.wait(timeout=SECONDS) == 0
        assert process.stdout.read() == "app ended\n"
    assert not is_running(pid)


def test_a_taken_port_is_one_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"cannot listen on 127.0.0.1 port {port}"):
            bind("127.0.0.1", port)


def test_port_zero_gives_a_free_port() -> None:
    with bind("127.0.0.1", 0) as listener:
        with socket.create_connection(listener.getsockname()):
            pass
        assert listener.getsockname()[1] > 0
