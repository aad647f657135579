"""The demo: handwritten digits as a live stream, late labels, two drifts, and a model that recovers from both."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import webbrowser
from collections.abc import Iterator

PAGE_OF_MODEL = "#/models/"


def run(seconds: float, *, is_plain: bool, stays: bool = True) -> int:
    """Run the demo for about ``seconds``; returns the exit code.

    It runs the processes of ``driftline up``, in a temporary folder, on a free port, and removes everything afterwards. Where
    somebody sits at a terminal, it offers at the end to stay up, with the page open at the model: unless ``stays`` is False.
    """
    from driftline.demo.digits import load
    from driftline.demo.display import make_display
    from driftline.demo.stream import MODEL, DemoStream
    from driftline.processes.instance import up

    digits = load()
    display = make_display(is_plain)
    try:
        with _stoppable(), up(display.note) as url:
            outcome = asyncio.run(DemoStream(url, digits, seconds, display).run())
            display.summary(outcome)
            if stays and is_interactive():
                stay(f"{url}/{PAGE_OF_MODEL}{MODEL}")
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    return 1 if outcome.failures() else 0


def is_interactive() -> bool:
    """Whether somebody sits at a terminal, and no machine builds or tests something."""
    return sys.stdin.isatty() and sys.stdout.isatty() and not os.environ.get("CI")


def stay(page: str) -> None:
    """Asks whether to stay up; then opens the page, and waits for Enter."""
    try:
        answer = input(f"\nSee it in a browser? {page}  [y/N] ")
        if answer.strip().lower() in ("y", "yes"):
            webbrowser.open(page)
            input("It stays up until Enter is pressed. ")
    except EOFError:
        return


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
