"""A model that this worker owns: its lease, and its learner for as long as there is something to learn."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from driftline.errors import Unavailable
from driftline.store.catalog import LogEnd
from driftline.store.lease import Lease

from .model_store import ModelStore
from .trainer import Trainer

logger = logging.getLogger("driftline.worker")


class OwnedModel:
    """One model from the taking of its lease to its release.

    A model with nothing to learn costs its lease alone: its learner stays in the checkpoint until a label or a command comes,
    and goes back there once nothing has come for a while.

    Args:
        name: the model's name.
        store: the store of the model.
        lease: its lease, which is held.
        make_trainer: makes the trainer that loads the learner and learns.
        idle_seconds: after so long with nothing to do its learner is unloaded.
    """

    def __init__(
        self,
        name: str,
        store: ModelStore,
        lease: Lease,
        make_trainer: Callable[[ModelStore, Lease], Trainer],
        idle_seconds: float,
    ) -> None:
        self.name = name
        self.store = store
        self.lease = lease
        self.make_trainer = make_trainer
        self.trainer: Trainer | None = None
        self.is_stopping = False
        self._wake = asyncio.Event()
        self.idle_seconds = idle_seconds
        self._end: LogEnd | None = None
        self._is_unloading = False

    @property
    def is_loaded(self) -> bool:
        """Whether its learner is in memory."""
        return self.trainer is not None

    async def run(self) -> None:
        """Learns until it is stopped, with the errors of :meth:`Trainer.run`."""
        ask = self.store.has_work
        while not self.is_stopping:
            self._wake.clear()
            if await self._is_so(ask):
                await self._learn()
                # What an idle learner left is whole; after any other end all of it is looked at again.
                ask = self.store.has_records if self._is_unloading else self.store.has_work
            else:
                await self._wake.wait()

    async def _is_so(self, ask: Callable[[], Awaitable[bool]]) -> bool:
        """What the store answers, once it does."""
        while not self.is_stopping:
            try:
                return await ask()
            except Unavailable as error:
                await asyncio.sleep(error.retry_after or 1)
        return False

    async def _learn(self) -> None:
        """Loads the learner, and learns until it is stopped or unloaded."""
        self._is_unloading = False
        self.trainer = self.make_trainer(self.store, self.lease)
        try:
            await self.trainer.run()
        finally:
            self.trainer = None

    def wake(self) -> None:
        """Something may have come."""
        self._wake.set()
        if self.trainer is not None:
            self.trainer.wake.set()

    def stop(self) -> None:
        """Asks :meth:`run` to end: after the current step, and with a checkpoint."""
        self.is_stopping = True
        self.wake()
        if self.trainer is not None:
            self.trainer.stop()

    def look(self, end: LogEnd) -> None:
        """Makes up for a hint that was lost, and unloads a learner that has been idle for long."""
        has_changed, self._end = end != self._end, end
        if has_changed if self.trainer is None else self.trainer.has_missed(end.newest, end.pending):
            self.wake()
        elif self.trainer is not None and self._idle_for >= self.idle_seconds:
            self._is_unloading = True
            self.trainer.stop()

    @property
    def _idle_for(self) -> float:
        since = self.trainer.idle_since if self.trainer is not None else None
        return 0.0 if since is None else time.monotonic() - since
