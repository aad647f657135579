"""Connections that bring much are read in turns: of each caller one at a time, and a part each time that the loop comes round.

A loop that reads whatever has come, of every connection at once, keeps a caller of one row waiting for all of it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

TURN_BYTES = 2**13
"""What brings less at a time waits for no turn."""


class ReadTurns:
    """The connections that wait to be read on, by caller."""

    def __init__(self) -> None:
        self._waiting: dict[str, deque[Callable[[], None]]] = {}

    def wait(self, caller: str, resume: Callable[[], None]) -> None:
        """Lets a connection wait, which is paused, until ``resume`` is called."""
        if waiting := self._waiting.get(caller):
            waiting.append(resume)
        else:
            self._waiting[caller] = deque([resume])
            asyncio.get_running_loop().call_soon(self._next, caller)

    def _next(self, caller: str) -> None:
        waiting = self._waiting[caller]
        waiting.popleft()()
        if waiting:
            asyncio.get_running_loop().call_soon(self._next, caller)
        else:
            del self._waiting[caller]
