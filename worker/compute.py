"""Where torch runs: never on the IO loop."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from typing import Protocol, TypeVar

from .turns import TurnFile

T = TypeVar("T")


class Compute(Protocol):
    """Runs a function on the compute thread."""

    async def __call__(self, function: Callable[..., T], *arguments: object) -> T: ...


class ComputeMeter:
    """What the compute thread is at, and how busy it is. The thread writes, and any other reads.

    Args:
        window_seconds: the time over which the load is measured.
    """

    def __init__(self, window_seconds: float = 30.0) -> None:
        self.window_seconds = window_seconds
        self.seconds: dict[str, float] = {}
        """For how long it has computed, by model."""
        self._done_seconds = 0.0
        self._current: tuple[str, float] | None = None
        self._readings = deque([(time.monotonic(), 0.0)])

    @contextlib.contextmanager
    def of(self, uid: str) -> Iterator[None]:
        """While the block runs, the thread computes for this model."""
        begin = time.monotonic()
        self._current = uid, begin
        try:
            yield
        finally:
            self._current = None
            seconds = time.monotonic() - begin
            self._done_seconds += seconds
            self.seconds[uid] = self.seconds.get(uid, 0.0) + seconds

    def current(self) -> tuple[str, float] | None:
        """The model that it computes for, and for how many seconds in this call; None while it waits."""
        current = self._current
        return None if current is None else (current[0], time.monotonic() - current[1])

    def load(self) -> float:
        """The share of the time that it computed, between this reading and the oldest one of the window."""
        now, current = time.monotonic(), self.current()
        busy = self._done_seconds + (current[1] if current else 0.0)
        while len(self._readings) > 1 and now - self._readings[1][0] >= self.window_seconds:
            self._readings.popleft()
        then, before = self._readings[0]
        self._readings.append((now, busy))
        return min(1.0, max(0.0, (busy - before) / (now - then))) if now > then else 0.0


class ModelCompute:
    """A :class:`Compute` for one model, on the one thread that all models of a worker use in turn.

    Args:
        thread: where functions run, one at a time.
        uid: the model that they run for.
        turns: where the model is named for as long as one of them runs.
        meter: measures them.
    """

    def __init__(
        self, thread: Executor, uid: str, turns: TurnFile | None = None, meter: ComputeMeter | None = None
    ) -> None:
        self.thread = thread
        self.uid = uid
        self.turns = turns
        self.meter = meter or ComputeMeter()

    async def __call__(self, function: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self.thread, self._run, function, *arguments)

    def _run(self, function: Callable[..., T], *arguments: object) -> T:
        turn = self.turns.of(self.uid) if self.turns is not None else contextlib.nullcontext()
        with turn, self.meter.of(self.uid):
            return function(*arguments)
