"""Which labels are to be forgotten, and which records of a log they are."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from driftline.records import Item
from driftline.store.facts import KEY, Known, fact_of
from driftline.store.log import Log, LogEntry
from driftline.store.owners import Owners, shown_name, stored_name
from driftline.store.prediction_ids import PredictionId

MAX_PAGE = 500
"""Most records that are read at once."""


@dataclass(frozen=True)
class Selection:
    """What is asked for: the facts of some keys and ids, or those labelled by a source, or in a time, or both.

    ``since`` and ``until``, exclusive, are times of labels as the log shows them. An id is that of an item or a prediction.
    Keys and ids are those of every owner that calls something so.
    """

    keys: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    source: str | None = None
    since: float | None = None
    until: float | None = None

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> Selection:
        """The one that a command's arguments say."""
        keys, ids = (tuple(arguments.get(name) or ()) for name in ("keys", "ids"))
        return cls(keys, ids, *(arguments.get(name) for name in ("source", "since", "until")))

    @property
    def asked(self) -> dict[str, frozenset[str]]:
        """The names of the items and facts that each key and id may stand for, as their owners know them."""
        ids = {each: PredictionId.parse(each) for each in self.ids}
        facts = {each: frozenset({each, *([] if found is None else [found.fact])}) for each, found in ids.items()}
        return {key: frozenset({KEY + key}) for key in self.keys} | facts

    def unknown(self, known: Collection[str]) -> list[str]:
        """The keys and ids of which there is nothing among the names of items and facts that are ``known``."""
        shown = {shown_name(each) for each in known}
        return [each for each, names in self.asked.items() if names.isdisjoint(shown)]

    def takes(self, time: float, source: str | None) -> bool:
        """Whether a label is one of those, by its time and its source."""
        if self.source is None and self.since is None and self.until is None:
            return False
        is_within = (self.since is None or time >= self.since) and (self.until is None or time < self.until)
        return is_within and self.source in (None, source)


@dataclass
class ErasedRecords:
    """Records that are to be erased, and what they are about.

    ``numbers`` are those of records and of the rows that they were learned under; ``facts`` the names under which no record may
    be left, ``known`` the names of items and facts of which there is a record. ``labels`` counts the records of them that the
    log holds, and ``learned`` those of these that are learned.
    """

    numbers: set[int] = field(default_factory=set)
    facts: set[str] = field(default_factory=set)
    known: set[str] = field(default_factory=set)
    labels: int = 0
    learned: int = 0

    @property
    def first(self) -> int:
        """The lowest number; beyond all numbers where there is none."""
        return min(self.numbers, default=sys.maxsize)

    def has(self, n: int, item: Item) -> bool:
        """Whether a record is one of them, or a later one about the same fact."""
        return n in self.numbers or fact_of(item) in self.facts

    def is_kept(self, item: Item) -> bool:
        """Whether an item of the log is about none of the facts."""
        return fact_of(item) not in self.facts

    def add(self, n: int, item: Item, offset: int) -> None:
        """Takes a record in, and with it its fact."""
        self.numbers.add(n)
        if item.revises is not None:
            self.numbers |= {item.revises.n, item.revises.row}
        self.facts.add(fact_of(item))
        self.known |= {item.id, fact_of(item)}
        self.labels += 1
        self.learned += n <= offset


async def find(log: Log, selection: Selection, before: int, offset: int) -> ErasedRecords:
    """The records that a selection asks for; those of a fact go together, whichever of its labels was asked for.

    Args:
        before: it was asked for before this record was there: labels of a source or a time that came later are not meant.
        offset: up to which number records are learned.
    """
    found, owners = ErasedRecords(), await Owners(log.connection, log.uid).everyone()
    plain = sorted(frozenset[str]().union(*selection.asked.values()))
    names = [stored_name(name, owner) for name in plain for owner in owners]
    found.facts |= {*names}
    for name, known in zip(names, await log.find_all(names) if names else [], strict=True):
        if known is not None:
            found.known.add(name)
            _take(found, known)
    async for entry, item in _items(log):
        time = entry.time if item.time is None else item.time
        if item.id in found.facts or (entry.n < before and selection.takes(time, item.source)):
            found.facts.add(fact_of(item))
    async for entry, item in _items(log):
        if found.has(entry.n, item):
            found.add(entry.n, item, offset)
    return found


def _take(found: ErasedRecords, known: Known) -> None:
    found.numbers.add(known.n)
    if known.said is not None:
        found.numbers |= {n for n in (known.said.revises, known.said.first) if n}


async def _items(log: Log) -> AsyncIterator[tuple[LogEntry, Item]]:
    start = 1
    while entries := await log.since(start, MAX_PAGE):
        for entry in entries:
            if isinstance(entry.record, Item):
                yield entry, entry.record
        start = entries[-1].n + 1
