"""Labels by key that came before the predictions that they are about: kept until these come, or their time is over."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from driftline.sources.base import SourceRecord
from driftline.sources.items import SourceItem
from driftline.store.prediction_keys import PredictionKeys
from driftline.store.sources import SourceBook, WaitingLabel
from driftline.support.json_text import UNREADABLE

MAX_WAITING = 50_000
"""How many labels of one source wait; while there are more, reading waits."""
AT_ONCE = 500


class _Keyed(msgspec.Struct):
    key: Any = None
    inputs: msgspec.Raw | None = None


_keyed = msgspec.json.Decoder(_Keyed)


class WaitingLabels:
    """Those of one source, in the order in which they came. They stand in the store, and survive whoever reads the source."""

    def __init__(self, book: SourceBook, source: str, seconds: float) -> None:
        self.book = book
        self.source = source
        self.seconds = seconds
        self._keys = PredictionKeys(book.connection, book.uid)
        self._labels: dict[str, WaitingLabel] = {}
        self._of_key: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._labels)

    @property
    def is_full(self) -> bool:
        """Whether no more may come."""
        return len(self._labels) >= MAX_WAITING

    async def load(self) -> None:
        """Learns of those that wait already."""
        self._labels, self._of_key = {}, {}
        for label in sorted(await self.book.waiting(self.source), key=lambda each: (each.until, each.place)):
            self._note(label)

    def _note(self, label: WaitingLabel) -> None:
        if label.id not in self._labels:
            self._labels[label.id] = label
            self._of_key[label.key] = self._of_key.get(label.key, 0) + 1

    def key_of(self, item: SourceItem) -> str | None:
        """The key of an item that must not pass one that waits under the same; None where it may."""
        if not self._of_key:
            return None
        try:
            found = _keyed.decode(item.json)
        except UNREADABLE:
            return None
        is_before = found.inputs is None and isinstance(found.key, str) and found.key in self._of_key
        return found.key if is_before else None

    async def add(self, found: Sequence[tuple[SourceRecord, SourceItem, str]]) -> None:
        """Lets records, each with its item and key, wait from now on."""
        until = self.book.connection.now() + self.seconds
        labels = [
            WaitingLabel(item.id, self.source, key, item.json, until, place, record.place, record.raw, record.format)
            for place, (record, item, key) in enumerate(found)
        ]
        await self.book.wait(labels)
        for label in labels:
            self._note(label)

    async def due(self) -> tuple[list[WaitingLabel], list[WaitingLabel]]:
        """Those whose prediction has come, and those whose time is over."""
        joined, over, now = list[WaitingLabel](), list[WaitingLabel](), self.book.connection.now()
        for part in _parts([*self._labels.values()]):
            places = await self._keys.find([label.key for label in part])
            for label in part:
                if places[label.key] is not None:
                    joined.append(label)
                elif label.until <= now:
                    over.append(label)
        return joined, over

    async def remove(self, labels: Sequence[WaitingLabel]) -> None:
        """These wait no longer."""
        await self.book.wait_no_longer([label.id for label in labels])
        for label in labels:
            del self._labels[label.id]
            self._of_key[label.key] -= 1
            if not self._of_key[label.key]:
                del self._of_key[label.key]


def _parts(labels: list[WaitingLabel]) -> Iterator[list[WaitingLabel]]:
    for first in range(0, len(labels), AT_ONCE):
        yield labels[first : first + AT_ONCE]
