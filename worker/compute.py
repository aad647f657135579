"""Where torch runs: never on the IO loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Protocol, TypeVar

from .turns import TurnFile

T = TypeVar("T")


class Compute(Protocol):
    """Runs a function on the compute thread."""

    async def __call__(self, function: Callable[..., T], *arguments: object) -> T: ...


class ModelCompute:
    """A :class:`Compute` for one model, on the one thread that all models of a worker use in turn.

    Args:
        thread: where functions run, one at a time.
        uid: the model that they run for.
        turns: where the model is named for as long as one of them runs.
    """

    def __init__(self, thread: Executor, uid: str, turns: TurnFile | None = None) -> None:
        self.thread = thread
        self.uid = uid
        self.turns = turns

    async def __call__(self, function: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self.thread, self._run, function, *arguments)

    def _run(self, function: Callable[..., T], *arguments: object) -> T:
        with self.turns.of(self.uid) if self.turns is not None else contextlib.nullcontext():
            return function(*arguments)
