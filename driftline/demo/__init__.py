"""The demo: handwritten digits as a live stream, late labels, two drifts, and a model that recovers from both."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import Iterator


def run(seconds: float, *, is_plain: bool) -> int:
    """Run the demo for about ``seconds``; returns the exit code.

    It runs the processes of ``driftline up``, in a temporary folder, on a free port, and removes everything afterwards.
    """
    from driftline.demo.digits import load
    from driftline.demo.display import make_display
    from driftline.demo.stream import DemoStream
    from driftline.processes.instance import up

    digits = load()
    display = make_display(is_plain)
    try:
        with _stoppable(), up(display.note) as url:
            outcome = asyncio.run(DemoStream(url, digits, seconds, display).run())
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
