"""What comes for the models of this worker: hints, looks that make up for lost ones, and leases that were lost."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence

from driftline.errors import Unavailable
from driftline.store.catalog import LogEnd
from driftline.support.turns import Turns

from .ownership import Ownership

logger = logging.getLogger("driftline.worker")


class LogWatch:
    """Wakes the models that something has come for.

    While hints come, what nobody has hinted at has not changed. A few models at a time are looked at all the same, so that what
    looking costs does not grow with their number; while no hints come, all of them are.

    """

    def __init__(self, ownership: Ownership) -> None:
        self.ownership = ownership
        self.connection = ownership.connection
        self._turns = Turns()

    async def listen(self) -> None:
        """Wakes models as hints come, until cancelled."""
        async for uid in self.connection.hints():
            self.ownership.heard_of(uid)

    async def poll(self) -> None:
        """Makes up for lost hints by looking at the logs, until cancelled."""
        while True:
            await asyncio.sleep(self.ownership.poll_seconds())
            with contextlib.suppress(Unavailable):
                await self._look(self._turns.next(self.ownership.owned, self.connection.hears))

    async def _look(self, uids: Sequence[str]) -> None:
        for uid, log_end in (await self.ownership.catalog.log_ends(uids)).items():
            if self._is_lost(uid, log_end):
                await self.ownership.lose(uid)
            elif uid in self.ownership.owned:
                self.ownership.owned[uid].model.look(log_end)

    def _is_lost(self, uid: str, log_end: LogEnd) -> bool:
        owned = self.ownership.owned.get(uid)
        return owned is not None and log_end.epoch > owned.model.lease.epoch > 0

    async def check_leases(self) -> None:
        """After a silence of this worker: ends the models that others have taken over meanwhile."""
        logger.warning("worker %s %s", self.ownership.owner, self.ownership.excuse())
        await self._look(list(self.ownership.owned))
