"""Messages of queues that have no positions: each is taken once, also where its broker sends it again."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec


class QueuePosition(msgspec.Struct, omit_defaults=True):
    """How many messages were taken, and the digests of those of the last read, which the broker may send again."""

    count: int = 0
    last: list[str] = []

    @classmethod
    def parsed(cls, text: str) -> QueuePosition:
        """The position that :meth:`text` gives; the beginning where there is none."""
        return msgspec.json.decode(text, type=cls) if text else cls()

    def text(self) -> str:
        """It as it is stored."""
        return msgspec.json.encode(self).decode()

    def after(self, messages: Iterable[tuple[str, bool]]) -> tuple[list[int], QueuePosition]:
        """Which of some messages are new, and the position after them; each is its digest, and whether it came before.

        >>> QueuePosition(2, ["a", "b"]).after([("b", True), ("c", True), ("a", False)])
        ([1, 2], QueuePosition(count=4, last=['c', 'a', 'a']))
        """
        known, new, digests, is_again = [*self.last], list[int](), list[str](), False
        for place, (digest, came_before) in enumerate(messages):
            is_again = is_again or came_before
            if came_before and digest in known:
                known.remove(digest)  # It was stored, and the broker has not learned of it.
            else:
                new.append(place)
                digests.append(digest)
        # Where some come again, others of those that were stored may come later.
        return new, QueuePosition(self.count + len(new), digests + (known if is_again else []))


class Unacknowledged:
    """Messages that were read, and of which the broker is told once they are stored.

    >>> reads = Unacknowledged()
    >>> reads.add("0", "1", ["a"]), reads.add("1", "2", ["b", "c"]), reads.add("2", "2", ["a, again"])
    ([], [], [])
    >>> reads.stored("1"), reads.stored("2"), reads.add("2", "2", ["c, again"])
    (['a'], ['b', 'c', 'a, again'], ['c, again'])
    """

    def __init__(self) -> None:
        self._reads: deque[tuple[str, Sequence[Any]]] = deque()
        self._stored: str | None = None

    def add(self, before: str, after: str, messages: Sequence[Any]) -> list[Any]:
        """Notes the messages of a read from one position to another; those that may be acknowledged at once: where it has not
        moved they came before, and are stored if it is."""
        if self._stored is None:
            self._stored = before  # Reading begins where all is stored.
        self._reads.append((after, messages))
        return self.stored(after) if after == self._stored else []

    def stored(self, position: str) -> list[Any]:
        """Those that may be acknowledged when all up to a position is stored, in their order."""
        self._stored, found = position, list[Any]()
        while any(at == position for at, _ in self._reads):
            found += self._reads.popleft()[1]
        return found
