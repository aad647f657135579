"""Calls that were refused, told as events: how many of whom and why, and nothing that a stranger has sent."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections import Counter
from dataclasses import dataclass

from driftline.api_keys import Key
from driftline.errors import Unavailable
from driftline.store.connection import RedisConnection
from driftline.store.events import EventRecord, happen

MAX_KINDS = 1000
"""Refusals of more keys and calls than this, between two tellings, are counted without their calls."""
MAX_CALL = 200


@dataclass(frozen=True)
class RefusedCall:
    """Why a call was refused; the key, where it is known, and what it called."""

    code: str
    key: str = ""
    name: str = ""
    call: str = ""

    def event(self, count: int) -> EventRecord:
        """The event that tells of ``count`` of them."""
        who = (
            f"the key {self.key} ({self.name})" if self.name else f"the key {self.key}" if self.key else "nobody known"
        )
        told = f"{count} call{'s' if count > 1 else ''} of {who} {'were' if count > 1 else 'was'} refused: {self.code}"
        details = {"code": self.code, "count": count, "key": self.key, "call": self.call}
        found = {name: value for name, value in details.items() if value}
        return EventRecord("refused", told, self.name or self.key or "nobody", details=found)


class RefusedCalls:
    """Counts refused calls, and tells of them every ``seconds``: a flood of them is a few events."""

    def __init__(self, seconds: float = 10.0) -> None:
        self.seconds = seconds
        self._counts: Counter[RefusedCall] = Counter()

    def note(self, code: str, key: Key | None = None, call: str = "") -> None:
        """Counts a refusal. ``call`` is the method and path, of a caller whose key is known."""
        found = RefusedCall(code) if key is None else RefusedCall(code, key.id, key.name, call[:MAX_CALL])
        if found not in self._counts and len(self._counts) >= MAX_KINDS:
            found = RefusedCall(code)
        self._counts[found] += 1

    async def tell(self, connection: RedisConnection) -> None:
        """Appends an event for each kind of refusal since the last time; :class:`Unavailable` leaves the rest counted."""
        while self._counts:
            refusal, count = self._counts.popitem()
            event = refusal.event(count)
            try:
                await happen(connection, f"refused:{secrets.token_hex(8)}", event)
            except Unavailable:
                self._counts[refusal] += count
                raise
            event.log("")

    async def run(self, connection: RedisConnection) -> None:
        """Tells of refusals until cancelled."""
        while True:
            await asyncio.sleep(self.seconds)
            with contextlib.suppress(Unavailable):
                await self.tell(connection)
