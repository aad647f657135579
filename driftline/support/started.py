"""A process that another one has started: it tells by lines what it has come to, and ends when its starter has."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import IO


def line_channel() -> IO[bytes]:
    """Where this process tells by lines; what it prints, as a user's code or a library may, goes to the log from now on."""
    channel = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    return channel


def end_with_the_starter(last: Callable[[], None] = lambda: None) -> None:
    """Ends this process at once when its standard input is closed, after ``last``."""
    threading.Thread(target=_end_with_the_starter, args=[last], daemon=True).start()


def _end_with_the_starter(last: Callable[[], None]) -> None:
    while os.read(0, 1024):
        pass
    last()
    os._exit(1)
