"""Takes what a source reads, each record once, and keeps what cannot be taken."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from typing import ClassVar, TypeAlias

from driftline.errors import DriftlineError
from driftline.sources.base import Source, SourceBatch, SourceRecord
from driftline.store.log import MAX_RECORDS, Cursor, Log
from driftline.store.sources import MAX_RAW_BYTES, DeadLetter, SourceBook
from driftline.support.failpoints import reach

Refused: TypeAlias = tuple[SourceRecord, str, DriftlineError]
"""A record that cannot be taken, the id that it, or its part, goes by, and why."""


async def _nowhere(why: str) -> None:
    return None


class Intake(ABC):
    """Takes the batches of one source. The position moves when all of a batch is safe; what cannot be taken is kept before
    that, each record once by its place, so that a crash in between loses and doubles nothing.

    Args:
        log: that of the model, which holds the positions of its sources.
        source: what is read.
        name: what it goes by among the sources of the model.
        key: what its position is stored under.
        configured: how it is stored among them; empty where it comes from the setting. The position moves while that stands.
    """

    max_count: ClassVar[int] = MAX_RECORDS
    """Most records of one batch."""

    def __init__(self, log: Log, source: Source, name: str, key: str, configured: bytes = b"") -> None:
        self.log = log
        self.source = source
        self.name = name
        self.key = key
        self.configured = configured
        self.book = SourceBook(log.connection, log.uid)
        self.on_wait: Callable[[str], Awaitable[None]] = _nowhere
        """Told why reading waits."""
        self.retry_seconds = 1.0
        """Seconds until what is full is tried again, where it does not say."""
        self.taken = 0
        self.refused = 0
        self.waiting = 0

    async def position(self) -> str:
        """The position that the source has been read to; empty at first."""
        return await self.book.position(self.key)

    async def begin(self) -> None:
        """Takes over the position that a former release stored under another name."""
        former = self.source.former_identity
        if former and not await self.position() and (position := await self.book.position(former)):
            await self.move("", position)
            await self.book.forget_position(former)

    @abstractmethod
    async def take(self, batch: SourceBatch, before: str) -> None:
        """Takes the records of a batch and moves the position, at once or not at all.

        Raises:
            Conflict: ``source_moved``: the position is not ``before``: another reader has read on. ``source_changed``: the
                source is configured otherwise by now, or removed.
            Unavailable: the store does not answer; the same batch may be taken again.
        """

    async def tend(self) -> None:
        """Does what is due by itself; called after each read, which takes about a second where nothing comes."""
        return None

    async def move(self, before: str, after: str) -> None:
        """Moves the position; :class:`Conflict` where it is not ``before``."""
        await self.log.append([], cursor=self.cursor(before, after))

    def cursor(self, before: str, after: str) -> Cursor:
        """What moves the position."""
        return Cursor(self.key, before, after, self.name, self.configured)

    async def close(self) -> None:
        """Ends its connections."""
        return None

    async def bury(self, wrong: Sequence[Refused]) -> None:
        """Keeps what cannot be taken."""
        if not wrong:
            return
        now = self.log.connection.now()
        await self.book.bury(
            DeadLetter(
                id=identifier.removeprefix("s:"),
                source=self.name,
                place=record.place,
                reason=error.message[:500],
                raw=record.raw[:MAX_RAW_BYTES],
                format=record.format,
                time=now,
                is_cut=len(record.raw) > MAX_RAW_BYTES,
            )
            for record, identifier, error in wrong
        )
        reach("source.buried")
