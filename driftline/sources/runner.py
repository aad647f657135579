"""Runs one source of one model: reads, takes, and tells how it does."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

import msgspec

from driftline.errors import Conflict, DriftlineError, Unavailable
from driftline.sources.base import Reader, SourceBatch, SourceGap
from driftline.sources.intake import Intake
from driftline.store.sources import SourceCondition, SourceState, StoredGap
from driftline.support.tasks import Troubles, end, supervised

MAX_BYTES = 4 * 2**20
"""How large the records of one read may be before the next one takes fewer."""
JITTER = 0.5
"""The share of the time until a source is tried again that chance may take off."""
MAX_GAPS = 10
"""How many gaps of a source are kept."""


class SourceRunner:
    """Reads a source for as long as the model is owned. A user's stream may fail in any way: it goes on from its last position.

    Args:
        intake: takes what is read.
        is_stored: whether it is configured through the API.
        on_change: told when it begins to fail, recovers, finds a gap or refuses records.
        retry_seconds: seconds until a failed source is tried again; longer after each failure.
        tell_seconds: how often its numbers are stored while they change.
    """

    def __init__(
        self,
        intake: Intake,
        *,
        is_stored: bool,
        troubles: Troubles,
        on_change: Callable[[], Awaitable[None]],
        retry_seconds: float = 1.0,
        tell_seconds: float = 2.0,
    ) -> None:
        self.intake = intake
        self.source = intake.source.in_session(intake.log.uid)
        self.troubles = troubles
        self.on_change = on_change
        self.retry_seconds = retry_seconds
        self.tell_seconds = tell_seconds
        intake.on_wait, intake.retry_seconds = self._waits, retry_seconds
        now = self._now()
        self.state = SourceState(intake.name, intake.source.type, "catching_up", now, now, is_stored=is_stored)
        self.gap: SourceGap | None = None
        self._current_at: float | None = None
        self._told_at = -float("inf")
        self._told: SourceState | None = None

    @property
    def label(self) -> str:
        """Its name in logs and troubles."""
        return f"source {self.state.name} of {self.intake.log.uid}"

    def _now(self) -> float:
        return self.intake.log.connection.now()

    @property
    def lag(self) -> float | None:
        """How long ago all that the source held had been taken, or since when it is read; None before it was read."""
        return None if self._current_at is None else time.monotonic() - self._current_at

    async def run(self) -> None:
        """Runs until cancelled, or until the source is over."""
        former = (await self._former()) or self.state
        # What a former worker found counts on; how it did then, this one finds out.
        self.state = msgspec.structs.replace(self.state, gaps=former.gaps)
        await supervised(
            self.label,
            self._read,
            self.troubles,
            on_failure=self._failed,
            first_delay=self.retry_seconds,
            jitter=JITTER,
        )

    async def _former(self) -> SourceState | None:
        with contextlib.suppress(Unavailable):
            return (await self.intake.book.states()).get(self.state.name)
        return None

    async def _read(self) -> None:
        reader = await self.source.open()
        try:
            await self.intake.begin()
            most = self.intake.max_count
            if self.source.max_rate is not None:
                most = max(1, min(most, int(self.source.max_rate / 5)))
            position, began = await self.intake.position(), time.monotonic()
            async with aclosing(batches(reader, position, most)) as found:
                async for batch in found:
                    position = await self._take(reader, batch, position)
                    await self._rest(len(batch.records), began)
                    began = time.monotonic()
            await self._is("over")
        except Conflict as error:
            if error.code != "source_changed":
                raise
            # Whoever looks at what is configured ends this, and starts it by that again.
            await asyncio.Event().wait()
        finally:
            await reader.close()
            await self.intake.close()

    async def _take(self, reader: Reader, batch: SourceBatch, position: str) -> str:
        for gap in batch.gaps:
            await self._found(gap)
        refused = self.intake.refused
        if batch.records or batch.position != position:
            await self.intake.take(batch, position)
            await reader.taken(batch.position)
        await self.intake.tend()
        self.troubles.over(self.label)
        has_lag = bool(batch.lag) if batch.lag is not None else bool(batch.records)
        if self._current_at is None or not has_lag:
            self._current_at = time.monotonic()
        self.state = msgspec.structs.replace(
            self.state,
            taken=self.intake.taken,
            refused=self.intake.refused,
            waiting=self.intake.waiting,
            position=batch.position,
            lag_records=batch.lag,
            lag_seconds=round(self.lag or 0.0, 3) if has_lag else 0.0,
        )
        await self._is("catching_up" if has_lag else "running")
        if self.intake.refused > refused:
            await self.on_change()
        return batch.position

    async def _rest(self, records: int, began: float) -> None:
        """Waits for as long as the most records a second want it."""
        if self.source.max_rate is not None and records:
            await asyncio.sleep(max(0.0, records / self.source.max_rate - (time.monotonic() - began)))

    async def _found(self, gap: SourceGap) -> None:
        known = [(each.start, each.end, each.reason) for each in self.state.gaps]
        if (gap.start, gap.end, gap.reason) not in known:
            gaps = [*self.state.gaps, StoredGap(gap.start, gap.end, gap.reason, self._now())]
            self.state = msgspec.structs.replace(self.state, gaps=gaps[-MAX_GAPS:])
        self.gap = gap
        await self.tell()
        await self.on_change()

    async def _waits(self, why: str) -> None:
        await self._is("catching_up", f"reading waits: {why}")

    async def _failed(self, error: Exception) -> None:
        lag = None if self.lag is None else round(self.lag, 3)
        self.state = msgspec.structs.replace(self.state, lag_records=None, lag_seconds=lag)
        await self._is(
            "failing", error.message if isinstance(error, DriftlineError) else f"{type(error).__name__}: {error}"
        )

    async def _is(self, condition: SourceCondition, reason: str = "") -> None:
        """Notes the state; it is stored at once where it is another, else now and then."""
        before = self.state
        is_other = (condition, reason) != (before.state, before.reason)
        since = before.since if condition == before.state else self._now()
        self.state = msgspec.structs.replace(before, state=condition, reason=reason, since=since)
        if is_other or self._told is None or time.monotonic() - self._told_at >= self.tell_seconds:
            await self.tell()
        if "failing" in (condition, before.state):
            await self.on_change()

    async def tell(self) -> None:
        """Stores how it does, where that is not what was stored last."""
        told = msgspec.structs.replace(self.state, time=0.0)
        if told != self._told:
            await self.intake.book.tell(msgspec.structs.replace(self.state, time=self._now()))
            self._told = told
        self._told_at = time.monotonic()


async def batches(reader: Reader, position: str, most: int) -> AsyncGenerator[SourceBatch, None]:
    """What a reader gives after a position, of ``most`` records each, until it is over.

    While a batch is being taken the next one is read, which then has its turn: order stays, and no more than one waits. What
    was read ahead and is not asked for any more, as after a failure, counts for nothing: no position has moved for it.
    """
    count = most
    reading = asyncio.create_task(reader.read(position, count))
    try:
        while not (batch := await reading).is_last:
            size = sum(len(record.raw) for record in batch.records)
            count = max(1, count // 2) if size > MAX_BYTES else min(most, 2 * count)
            if reader.reads_ahead:
                reading = asyncio.create_task(reader.read(batch.position, count))
            yield batch
            if not reader.reads_ahead:
                reading = asyncio.create_task(reader.read(batch.position, count))
        yield batch
    finally:
        await end(reading)
