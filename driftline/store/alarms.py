"""The alarms of one model: the newest of each kind, with its state. Each change is an event, written with it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from driftline.errors import NotFound
from driftline.store.connection import RedisConnection, store_errors
from driftline.store.events import EventRecord

TOUCHED = ("meta", "head", "alarms", "over", "acknowledged", "events", "routine")
"""What the scripts about alarms touch, in their order."""
PARTS = ("alarms", "over", "acknowledged")
"""The keys that :func:`states` reads."""


class Alarms:
    """Raises and ends the alarms of the model ``uid`` outside of steps."""

    def __init__(self, connection: RedisConnection, uid: str, name: str = "") -> None:
        self.connection = connection
        self.uid = uid
        self.name = name or uid
        self.keys = connection.keys.of(uid)

    async def raise_alarm(self, kind: str, message: str, **details: Any) -> None:
        """Raises an alarm, which takes the place of one of its kind; an event where none stands that nobody has seen.

        ``details`` are told beside the message.
        """
        alarm = {"kind": kind, "message": message, "time": self.connection.now(), **details}
        event = raised(kind, message, **details)
        if await self._run("alarm", kind, json.dumps(alarm), event.stored[1]):
            event.log(self.name)

    async def end(self, *kinds: str) -> None:
        """Ends those of these kinds that stand."""
        ended = await self._run("alarms_over", *(text for kind in kinds for text in (kind, over(kind).stored[1])))
        for kind in ended:
            over(kind.decode()).log(self.name)

    async def newest(self, kind: str) -> dict[str, Any] | None:
        """The newest alarm of a kind, with its state; None where there was none."""
        with store_errors():
            async with self.connection.redis.pipeline(transaction=False) as pipe:
                for noun in PARTS:
                    pipe.hget(getattr(self.keys, noun), kind)
                found = await pipe.execute()
        known = states(*({kind.encode(): text} if text else {} for text in found))
        return known[0] if known else None

    async def acknowledge(self, kind: str, actor: str, reason: str) -> str:
        """Notes that somebody has seen the alarm of a kind; who was the first to. :class:`NotFound` if none stands."""
        who = json.dumps({"by": actor, "time": self.connection.now(), "reason": reason})
        event = EventRecord(
            "alarm_acknowledged", f"{actor} has acknowledged the alarm {kind}", actor, reason, alarm=kind
        )
        found = await self._run("acknowledge", kind, who, event.stored[1])
        if found is None:
            raise NotFound(f"no alarm {kind!r} stands", code="unknown_alarm", field="kind", value=kind)
        event.log(self.name)
        return str(json.loads(found)["by"])

    async def _run(self, script: str, *arguments: str) -> Any:
        keys = [getattr(self.keys, noun) for noun in TOUCHED]
        return await self.connection.scripts.run(script, keys, [self.connection.keys.hints, self.uid, *arguments])


def raised(kind: str, message: str, actor: str = "worker", **details: Any) -> EventRecord:
    """The event of an alarm."""
    return EventRecord("alarm", message, actor, alarm=kind, details=details)


def over(kind: str, actor: str = "worker") -> EventRecord:
    """The event of an alarm's end."""
    return EventRecord("alarm_over", f"the alarm {kind} is over", actor, alarm=kind)


def states(
    standing: Mapping[bytes, bytes], over: Mapping[bytes, bytes], acknowledged: Mapping[bytes, bytes]
) -> list[dict[str, Any]]:
    """The newest alarm of each kind, with its state: those that stand first, then by time, the newest first."""
    found = [_state(json.loads(text), acknowledged.get(kind)) for kind, text in standing.items()]
    for text in over.values():
        ended = json.loads(text)
        seen = ended.get("acknowledged")
        found.append({**ended["alarm"], "state": "over", "ended": ended["ended"]} | _by(seen))
    return sorted(found, key=lambda alarm: (alarm["state"] == "over", -alarm.get("time", 0.0)))


def _state(alarm: dict[str, Any], acknowledged: bytes | None) -> dict[str, Any]:
    if acknowledged is None:
        return {**alarm, "state": "standing"}
    return {**alarm, "state": "acknowledged"} | _by(json.loads(acknowledged))


def _by(acknowledged: dict[str, Any] | None) -> dict[str, Any]:
    return {} if acknowledged is None else {"acknowledged_by": acknowledged["by"]}
