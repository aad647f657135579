"""The demo: handwritten digits as a live stream, late labels, two drifts, and a model that recovers from both."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO

from driftline.errors import Unavailable

START_SECONDS = 90.0


def run(seconds: float, *, is_plain: bool) -> int:
    """Run the demo for about ``seconds``; gives the exit code.

    Everything is real and nothing stays: the processes of ``driftline up``, in a temporary folder, on a free port.
    """
    from driftline.demo.digits import load
    from driftline.demo.display import make_display
    from driftline.demo.stream import Stream

    digits = load()
    display = make_display(is_plain)
    try:
        with _stoppable(), _up(display.note) as url:
            outcome = asyncio.run(Stream(url, digits, seconds, display).run())
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    display.summary(outcome)
    return 1 if outcome.failures() else 0


@contextlib.contextmanager
def _stoppable() -> Iterator[None]:
    """SIGTERM and SIGHUP end the demo as Ctrl-C does, so that it cleans up."""
    numbers = (signal.SIGTERM, signal.SIGHUP)
    previous = [signal.signal(number, lambda *_: signal.raise_signal(signal.SIGINT)) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, previous, strict=True):
            signal.signal(number, handler)


@contextlib.contextmanager
def _up(note: Callable[[str], None]) -> Iterator[str]:
    """What ``driftline up`` starts, in a folder and on a port of its own; gives its URL."""
    from driftline import local
    from driftline.processes import Supervisor, bind
    from driftline.settings import Settings

    for name in [name for name in os.environ if name.startswith("DRIFTLINE_")]:
        del os.environ[name]
    with (
        tempfile.TemporaryDirectory(prefix="driftline-demo-") as folder,
        bind("127.0.0.1", 0) as listener,
        open(Path(folder) / "log", "w+b") as log,
        ThreadPoolExecutor(1) as thread,
    ):
        settings = Settings(data_dir=Path(folder))
        supervisor = Supervisor(local.plan(settings, listener, log), lambda line: _write(log, line))
        running = thread.submit(supervisor.run)
        try:
            url = local.address(listener)
            note(f"starting a server, a worker and a Valkey at {url}")
            _wait_until_ready(url, running, log)
            yield url
        finally:
            supervisor.stop()


def _write(log: IO[bytes], line: str) -> None:
    os.write(log.fileno(), f"driftline: {line}\n".encode())


def _wait_until_ready(url: str, running: Future[None], log: IO[bytes]) -> None:
    from driftline import local

    deadline = time.monotonic() + START_SECONDS
    while not local.is_ready(url):
        if running.done():
            running.result()
        if running.done() or time.monotonic() > deadline:
            words = Path(log.name).read_text(errors="replace").strip()[-2000:]
            raise Unavailable(f"the server did not get ready within {START_SECONDS:.0f} s; its last words:\n{words}")
        time.sleep(0.1)
