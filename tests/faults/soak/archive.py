"""Keeps what the store says while it says it: records and steps, before they are trimmed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from redis.exceptions import RedisError

from driftline.records import Item, decode
from driftline.store.commits import Step
from driftline.store.redis_keys import Keys, ModelKeys
from tests.faults.soak.events import EventLog, Logged, Stepped
from tests.faults.soak.load import Caller

PAUSE = 0.2
AT_ONCE = 1000


class Archivist(Caller):
    """Reads every log and every history as they grow, on a connection that no fault touches."""

    def __init__(self, redis: Callable[[], Any], models: dict[str, str], events: EventLog) -> None:
        super().__init__(PAUSE)
        self.redis = redis
        self.events = events
        self.keys = {model: Keys("driftline:").of(uid) for model, uid in models.items()}
        self.read = dict.fromkeys(models, 0)
        self.stepped = dict.fromkeys(models, 0)

    def turn(self) -> None:
        try:
            self.catch_up()
        except (RedisError, OSError):
            return

    def catch_up(self) -> None:
        """Reads up to where the store now stands."""
        for model, keys in self.keys.items():
            while self._read_log(model, keys) or self._read_steps(model, keys):
                pass

    def _read_log(self, model: str, keys: ModelKeys) -> bool:
        found = self.redis().xrange(keys.log, f"({self.read[model]}-0", "+", AT_ONCE)
        for place, fields in found:
            record = decode(fields[b"d"])
            self.read[model] = number(place)
            self.events.write(Logged(model, number(place), record.id if isinstance(record, Item) else None))
        return bool(found)

    def _read_steps(self, model: str, keys: ModelKeys) -> bool:
        found = self.redis().xrange(keys.steps, f"({self.stepped[model]}-0", "+", AT_ONCE)
        for place, fields in found:
            step = msgspec.json.decode(fields[b"s"], type=Step)
            self.stepped[model] = number(place)
            self.events.write(Stepped(model, step.k, step.start, step.end, step.digest))
        return bool(found)


def number(place: bytes) -> int:
    """The n of an entry n-0."""
    return int(place.partition(b"-")[0])
