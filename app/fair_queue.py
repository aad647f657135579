"""Requests that wait, in turns: what one caller has queued does not keep those of others waiting.

Self-clocked fair queueing (Golestani, 1994): each request has a place by its rows and those that its caller has queued before
it, and the one with the lowest place is next. Those of a single caller are answered in their order.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar


class Queued(Protocol):
    """What waits: how many rows it has, and who asks; empty: nobody in particular."""

    count: int
    asker: str


Q = TypeVar("Q", bound=Queued)


class FairQueue(Generic[Q]):
    """Requests by their places. ``rows`` counts the rows of all."""

    def __init__(self) -> None:
        self.rows = 0
        self._places: list[tuple[int, int, Q]] = []
        self._rows: dict[str, int] = {}
        self._last: dict[str, int] = {}
        self._now = 0
        self._number = 0

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[Q]:
        return (request for _, _, request in self._places)

    @property
    def next(self) -> Q:
        """The one whose turn it is."""
        return self._places[0][2]

    def append(self, request: Q) -> None:
        """Lets a request wait."""
        asker, count = request.asker, request.count
        place = self._last[asker] = max(self._now, self._last.get(asker, 0)) + count
        self._number += 1
        heapq.heappush(self._places, (place, self._number, request))
        self._count(asker, count)

    def take(self) -> Q:
        """The one whose turn it is, which waits no longer."""
        self._now, _, request = heapq.heappop(self._places)
        self._count(request.asker, -request.count)
        if self._last.get(request.asker, 0) <= self._now:
            self._last.pop(request.asker, None)
        return request

    def give_way(self, asker: str, count: int) -> Q | None:
        """The request that has to go where there is no room for one of so many rows: the last of whoever has most rows here.

        None where the asker would then have as many. What is given waits no longer.
        """
        most = max(self._rows, key=lambda each: self._rows[each], default=asker)
        if most == asker or self._rows[most] <= self._rows.get(asker, 0) + count:
            return None
        last = max(each for each in self._places if each[2].asker == most)
        self._places.remove(last)
        heapq.heapify(self._places)
        request = last[2]
        self._count(most, -request.count)
        self._last[most] = last[0] - request.count
        return request

    def _count(self, asker: str, rows: int) -> None:
        self.rows += rows
        left = self._rows.get(asker, 0) + rows
        if left:
            self._rows[asker] = left
        else:
            self._rows.pop(asker, None)
