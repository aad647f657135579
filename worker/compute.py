"""Where torch runs: never on the IO loop, and for one model at a time."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from typing import Protocol, TypeVar

from .time_slices import TimeSlices
from .turns import TurnFile

T = TypeVar("T")

SHORT_SECONDS = 0.02
"""A model whose calls are shorter is not asked to give way."""
MOST_USUAL_SECONDS = 1.0
"""What a call of a model may take is forgotten by halves with each that takes less, from this on."""


class Compute(Protocol):
    """Runs a function on a compute thread."""

    async def __call__(self, function: Callable[..., T], *arguments: object) -> T: ...


class ComputeMeter:
    """What is computed, and how much of the time something is. The thread whose turn it is writes, and any other reads.

    Args:
        window_seconds: the time over which the load is measured.
    """

    def __init__(self, window_seconds: float = 30.0) -> None:
        self.window_seconds = window_seconds
        self.seconds: dict[str, float] = {}
        """For how long it has computed, by model."""
        self._done_seconds = 0.0
        self._current: tuple[str, float, float] | None = None
        self._readings = deque([(time.monotonic(), 0.0)])

    @contextlib.contextmanager
    def of(self, uid: str, before: float = 0.0) -> Iterator[None]:
        """While the block runs, a thread computes for this model, in a call that has taken so many seconds ``before``."""
        begin = time.monotonic()
        self._current = uid, begin, before
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
        return None if current is None else (current[0], current[2] + time.monotonic() - current[1])

    def load(self) -> float:
        """The share of the time that it computed, between this reading and the oldest one of the window."""
        now, current = time.monotonic(), self._current
        busy = self._done_seconds + (now - current[1] if current else 0.0)
        while len(self._readings) > 1 and now - self._readings[1][0] >= self.window_seconds:
            self._readings.popleft()
        then, before = self._readings[0]
        self._readings.append((now, busy))
        return min(1.0, max(0.0, (busy - before) / (now - then))) if now > then else 0.0


class ModelCompute:
    """A :class:`Compute` for one model, in turn with all models of a worker.

    Args:
        threads: where functions run.
        uid: the model that they run for.
        turns: where the model is named for as long as one of them computes.
        meter: measures them.
        slices: lets one compute at a time.
    """

    def __init__(
        self,
        threads: Executor,
        uid: str,
        turns: TurnFile | None = None,
        meter: ComputeMeter | None = None,
        slices: TimeSlices | None = None,
    ) -> None:
        self.threads = threads
        self.uid = uid
        self.turns = turns
        self.meter = meter or ComputeMeter()
        self.slices = slices or TimeSlices()
        self._usual_seconds = math.inf

    async def __call__(self, function: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self.threads, self._run, function, *arguments)

    def _run(self, function: Callable[..., T], *arguments: object) -> T:
        with self.slices.call(self._computing, self._usual_seconds > SHORT_SECONDS) as call:
            try:
                return function(*arguments)
            finally:
                self._usual_seconds = max(call.present_seconds, min(self._usual_seconds, MOST_USUAL_SECONDS) / 2)

    @contextlib.contextmanager
    def _computing(self, before: float) -> Iterator[None]:
        turn = self.turns.of(self.uid) if self.turns is not None else contextlib.nullcontext()
        with turn, self.meter.of(self.uid, before):
            yield
