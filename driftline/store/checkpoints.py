"""Former checkpoints: where learning can go back to, when labels are to be unlearned."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import msgspec

from driftline.store.commits import Checkpoint, Head
from driftline.store.connection import RedisConnection, store_errors
from driftline.store.log import Log

MAX_FORMER = 16
"""How many are kept, about: one of each so many parts of the log."""


class FormerCheckpoints:
    """Those of the model ``uid`` that came before the two from which a recovery begins; ``checkpoint.lua`` adds them."""

    def __init__(self, connection: RedisConnection, uid: str) -> None:
        self.connection = connection
        self.key = connection.keys.of(uid).checkpoints

    async def all(self) -> list[Checkpoint]:
        """All of them, oldest first."""
        with store_errors():
            found = await self.connection.redis.zrange(self.key, 0, -1)
        return sorted((msgspec.json.decode(text, type=Checkpoint) for text in found), key=lambda each: each.step)

    async def drop(self, manifests: Collection[str]) -> None:
        """Takes some off the list; their files can then be deleted."""
        if not manifests:
            return
        with store_errors():
            found = await self.connection.redis.zrange(self.key, 0, -1)
            gone = [text for text in found if msgspec.json.decode(text, type=Checkpoint).manifest in manifests]
            if gone:
                await self.connection.redis.zrem(self.key, *gone)


def spread(checkpoints: Iterable[Checkpoint], first: int, records: int) -> list[Checkpoint]:
    """Of checkpoints, rising, those that are worth keeping: the earliest of each part of a log.

    How far apart they are is counted in records and not in time, since what is unlearned from one costs the records after it.

    Args:
        first: the number of the first record that the log still holds: what came before cannot be learned again.
        records: how many learned records the log holds; a part of it is a :data:`MAX_FORMER` th.
    """
    found: dict[int, Checkpoint] = {}
    for checkpoint in checkpoints if records else ():
        if checkpoint.offset + 1 >= first:
            found.setdefault(checkpoint.offset * MAX_FORMER // records, checkpoint)
    return list(found.values())


async def places_before(log: Log, head: Head, first: int) -> list[Checkpoint | None]:
    """Where learning can begin again so that record ``first`` is not learned, the nearest first; None is the very beginning."""
    oldest = await log.since(1, 1)
    held_from = oldest[0].n if oldest else head.offset + 1
    former = await FormerCheckpoints(log.connection, log.uid).all()
    known = [*former, *(place for place in (head.older_checkpoint, head.checkpoint) if place is not None)]
    usable = [place for place in known if held_from <= place.offset + 1 <= first]
    found: list[Checkpoint | None] = [*sorted(usable, key=lambda place: -place.step)]
    return [*found, None] if held_from == 1 else found
