"""Whose predictions, items and user's keys are whose: names in the store are those of an owner.

An owner is an API key, or what several keys share. What belongs to another one is not found, so that an answer about it is that
about what never was. What the instance's own admins and sources make, and whatever was made without keys or by those of a
former release, has no owner: their names stand as they are. A record has its names as the store does.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass

from driftline.store.connection import RedisConnection, store_errors

SEPARATOR = "\x1f"
ANY_OWNER = "*"
"""Under it stands what is the newest of all owners; it is the name of none."""
NOTED_SECONDS = 60.0
"""After so long an owner is noted again: the store may have been restored, or have lost it, meanwhile."""
MAX_NOTED = 100_000


@dataclass(frozen=True)
class Access:
    """What a caller may ask about: what is its ``owner``'s, or, as an admin or a source of the instance may, all there is."""

    owner: str = ""
    sees_all: bool = True

    def sees(self, owner: str) -> bool:
        """Whether it may know of what is this owner's."""
        return self.sees_all or owner == self.owner


EVERYTHING = Access()


def stored_name(name: str, owner: str) -> str:
    """An owner's name as the store has it.

    >>> stored_name("order-17", "")
    'order-17'
    """
    return owner + SEPARATOR + name if owner or SEPARATOR in name else name


def shown_name(stored: str) -> str:
    """The name as its owner knows it.

    >>> shown_name(stored_name("order-17", "3f9a"))
    'order-17'
    """
    return stored.partition(SEPARATOR)[2] if SEPARATOR in stored else stored


def owner_of(stored: str) -> str:
    """Whose name it is; empty where it is no owner's."""
    return stored.partition(SEPARATOR)[0] if SEPARATOR in stored else ""


class Owners:
    """Those of whom there are predictions or items of the model ``uid``, by whose names an admin finds everything."""

    def __init__(self, connection: RedisConnection, uid: str) -> None:
        self.connection = connection
        self.uid = uid
        self.key = connection.keys.of(uid).owners

    async def note(self, owners: Iterable[str]) -> None:
        """Remembers owners, before anything of theirs is written: all that there is can be found."""
        known, now = self.connection.owners_noted, time.monotonic()
        new = [each for each in set(owners) if each and now - known.get((self.uid, each), -math.inf) > NOTED_SECONDS]
        if not new:
            return
        with store_errors():
            await self.connection.redis.hset(self.key, mapping=dict.fromkeys(new, 1))
        if len(known) > MAX_NOTED:
            known.clear()
        known.update(((self.uid, each), now) for each in new)

    async def everyone(self) -> list[str]:
        """All owners, and before them none."""
        with store_errors():
            return ["", *sorted(owner.decode() for owner in await self.connection.redis.hkeys(self.key))]

    async def seen(self, access: Access) -> list[str]:
        """The owners whose names a caller sees."""
        return sorted({access.owner, *await self.everyone()}) if access.sees_all else [access.owner]
