"""The other workers, as this one sees them."""

from __future__ import annotations

import time
from dataclasses import dataclass

from driftline.store.workers import Heartbeat, Workers


@dataclass
class _Seen:
    heartbeat: Heartbeat
    silent_seconds: float = 0.0


class Peers:
    """Tells which workers live: those whose heartbeats go on.

    How long one is silent is measured by what this process has seen, not by a clock that can be set; and the time in which it
    saw nothing itself, because the store did not answer or its process was held up, does not count.

    Args:
        workers: the heartbeats.
        owner: this worker, which is no peer of its own.
        longest_look: the longest time between two looks that counts as seen, in seconds.
    """

    def __init__(self, workers: Workers, owner: str, longest_look: float) -> None:
        self.workers = workers
        self.owner = owner
        self.longest_look = longest_look
        self._seen: dict[str, _Seen] = {}
        self._looked_at = time.monotonic()

    async def alive(self) -> dict[str, Heartbeat]:
        """The newest heartbeat of each peer that lives, by worker.

        Raises:
            Unavailable: the store does not answer.
        """
        heartbeats = await self.workers.read()
        now = time.monotonic()
        passed, self._looked_at = now - self._looked_at, now
        seen = {}
        for heartbeat in heartbeats:
            if heartbeat.id != self.owner:
                seen[heartbeat.id] = self._look(heartbeat, passed if passed <= self.longest_look else 0.0)
        self._seen = seen
        return {
            identifier: each.heartbeat
            for identifier, each in seen.items()
            if each.silent_seconds <= each.heartbeat.lease_seconds
        }

    def _look(self, heartbeat: Heartbeat, passed: float) -> _Seen:
        before = self._seen.get(heartbeat.id)
        if before is None:
            # What was before this process only the clock can tell.
            return _Seen(heartbeat, max(0.0, self.workers.connection.now() - heartbeat.time))
        is_new = heartbeat.time != before.heartbeat.time
        return _Seen(heartbeat, 0.0 if is_new else before.silent_seconds + passed)
