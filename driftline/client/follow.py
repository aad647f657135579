"""Events as they happen: a stream that is taken up again where it broke off."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx
import orjson

from driftline.api import endpoints
from driftline.api.endpoint import EVENT_STREAM
from driftline.client.requests import Call

if TYPE_CHECKING:
    from driftline.api.events import Event

SILENCE_SECONDS = 45.0
"""The server says something at least every 15 seconds; after so long without a word the connection is taken to be dead."""
MAX_REMEMBERED = 20_000


class FollowedEvents:
    """Which events have come, over all connections of one stream."""

    def __init__(self, after: str | None) -> None:
        self.last = after
        self.is_over = False
        self.is_answered = False
        """Whether the present connection has brought something."""
        self._order: deque[str] = deque()
        self._ids: set[str] = set()

    def is_new(self, identifier: str) -> bool:
        """Notes an event; whether it has not come before, as one may that is repeated after a break."""
        self.last = identifier
        if identifier in self._ids:
            return False
        self._ids.add(identifier)
        self._order.append(identifier)
        if len(self._order) > MAX_REMEMBERED:
            self._ids.discard(self._order.popleft())
        return True


@dataclass(frozen=True)
class FollowCall(Call["Event"]):
    """One connection of a stream of events."""

    seen: FollowedEvents = field(default_factory=lambda: FollowedEvents(None))

    def request(self, client: httpx.Client | httpx.AsyncClient, timeout: float) -> httpx.Request:
        self.seen.is_answered = False
        request = super().request(client, max(timeout, SILENCE_SECONDS))
        request.headers["accept"] = EVENT_STREAM
        if self.seen.last is not None:
            request.headers["last-event-id"] = self.seen.last
        return request

    def line(self, data: bytes, index: int) -> Any:
        self.seen.is_answered = True
        if not data.startswith(b"data:"):
            return None
        event: Event = orjson.loads(data.removeprefix(b"data:"))
        self.seen.is_over |= event["kind"] == "deleted" and "model" in self.parts
        return event if self.seen.is_new(event["id"]) else None

    @property
    def goes_on(self) -> bool:
        return self.seen.is_answered


def follow_calls(model: str | None, query: Mapping[str, object], after: str | None) -> Iterator[FollowCall]:
    """The connections of a stream, each for as long as it lasts."""
    seen = FollowedEvents(after)
    endpoint = endpoints.LIST_ALL_EVENTS if model is None else endpoints.LIST_EVENTS
    parts = {} if model is None else {"model": model}
    while not seen.is_over:
        yield FollowCall(endpoint, parts, query, is_safe=True, seen=seen)
