"""Entries of recorded predictions that wait to be written to their streams."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from driftline.store.prediction_ids import EntryId
from driftline.store.prediction_keys import ENTRY_BYTES

PART_ENTRIES, PART_BYTES = 32, 2**17
"""The most entries, and bytes of them, that are written in one go: the event loop is held while they are packed."""


class Unwritten(NamedTuple):
    """An entry that waits to be written to a stream: its bytes, the places of its rows by their keys, whose they are, and
    where sinks are told of them how many of the stream they have been told of with these; -1: nobody knows."""

    uid: str
    stream: str
    entry: EntryId
    data: bytes
    places: dict[str, str]
    owners: frozenset[str] = frozenset()
    told: int = 0

    @property
    def nonce(self) -> str:
        """What the name of its stream ends with."""
        return self.stream.rpartition(":")[2]

    @property
    def size(self) -> int:
        """How many bytes it takes in Redis, about."""
        return len(self.data) + sum(ENTRY_BYTES + len(key) for key in self.places)


def next_part(waiting: deque[Unwritten], most: int) -> list[Unwritten]:
    """Takes the next ones: at most so many, and no more than is written in one go."""
    taken, size = list[Unwritten](), 0
    while waiting and len(taken) < min(most, PART_ENTRIES) and size < PART_BYTES:
        taken.append(waiting.popleft())
        size += taken[-1].size
    return taken
