"""Messages of queues that have no positions: each is taken once, also where its broker sends it again."""

from __future__ import annotations

from collections.abc import Iterable

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
