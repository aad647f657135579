"""Users' own names of predictions: the newest prediction under each, for as long as it can be joined with its label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from driftline.store.connection import RedisConnection, store_errors
from driftline.store.owners import ANY_OWNER, EVERYTHING, Access, stored_name

MAX_NOTED = 1000
"""How many keys one script notes."""
ENTRY_BYTES = 160
"""What Redis takes for a key and its place, beside the key's own text, about."""


class StoredPlace(NamedTuple):
    """Where a prediction is stored: the replica that answered, the id of the entry in its stream, and the row."""

    nonce: str
    entry: bytes
    row: int


def place_text(nonce: str, entry: str, row: int) -> str:
    """A place as ``index.lua`` takes it."""
    return f"{entry}:{nonce}:{row}"


class PredictionKeys:
    """Those of the model ``uid``."""

    def __init__(self, connection: RedisConnection, uid: str) -> None:
        self.connection = connection
        self.keys = connection.keys.of(uid)

    async def note(self, places: Mapping[str, str], seconds: float) -> None:
        """Notes places by key for so many seconds, where no later prediction has the key."""
        noted = list(places.items())
        for start in range(0, len(noted), MAX_NOTED):
            part = noted[start : start + MAX_NOTED]
            names = [self.keys.key(key) for key, _ in part]
            await self.connection.scripts.run("index", names, [int(seconds * 1000), *(place for _, place in part)])

    async def find(self, keys: Sequence[str], access: Access = EVERYTHING) -> dict[str, StoredPlace | None]:
        """Where the newest prediction under each key is stored, of those that the caller sees; None where there is none."""
        if not keys:
            return {}
        owners = ("", ANY_OWNER) if access.sees_all else (access.owner,)
        with store_errors():
            found = await self.connection.redis.mget(
                [self.keys.key(stored_name(key, owner)) for owner in owners for key in keys]
            )
        places = [None if text is None else _place(text) for text in found]
        each = (places[place :: len(keys)] for place in range(len(keys)))
        return {
            key: max((it for it in some if it), key=_age, default=None) for key, some in zip(keys, each, strict=True)
        }


def _age(place: StoredPlace) -> tuple[int, int]:
    ms, _, seq = place.entry.partition(b"-")
    return int(ms), int(seq)


def _place(text: bytes) -> StoredPlace:
    entry, nonce, row = text.split(b":")
    return StoredPlace(nonce.decode(), entry, int(row))
