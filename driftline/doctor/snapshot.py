"""The state of one model in the store, read in one transaction, so that its parts can be compared."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from driftline.spec import Trigger
from driftline.store.catalog import count_waiting
from driftline.store.commits import Head, Version, parse_head
from driftline.store.connection import RedisConnection, store_errors
from driftline.store.watermarks import Backlog
from driftline.store.workers import Workers

Entries = list[tuple[bytes, dict[bytes, bytes]]]


@dataclass(frozen=True)
class StreamInfo:
    """A densely numbered stream: its first and last number (0 while it is empty), and the count of its entries."""

    key: str
    first: int
    last: int
    count: int


@dataclass(frozen=True)
class Bundle:
    """A version, with its number, or a checkpoint, with its step."""

    kind: Literal["live version", "checkpoint", "version"]
    number: int
    manifest: str

    def __str__(self) -> str:
        return (
            f"the checkpoint of step {self.number}" if self.kind == "checkpoint" else f"the {self.kind} {self.number}"
        )


@dataclass(frozen=True)
class StoreSnapshot:
    """One model. ``last`` is the number of the newest record, ``pending`` those of waiting commands; times are in seconds.
    ``device`` is what its spec names.
    """

    name: str
    uid: str
    head: Head
    versions: list[Version]
    log: StreamInfo
    steps: StreamInfo
    last: int
    pending: list[int]
    waiting: int
    waited: float
    backlog: Backlog
    now: float
    is_paused: bool
    is_owned: bool
    trigger: Trigger
    device: str | None
    drifts: list[dict[str, Any]]
    alarms: list[dict[str, Any]]

    @property
    def bundles(self) -> dict[str, Bundle]:
        """Every bundle that the store names, by its manifest; one that is named twice counts as the more important one."""
        places = [place for place in (self.head.checkpoint, self.head.older_checkpoint) if place is not None]
        found = [
            Bundle("live version", self.head.version, self.head.manifest),
            *(Bundle("checkpoint", place.step, place.manifest) for place in places),
            *(Bundle("version", version.version, version.manifest) for version in self.versions),
        ]
        return {bundle.manifest: bundle for bundle in reversed(found)}

    @property
    def recovers_from(self) -> tuple[int, int]:
        """Step and offset of the newest checkpoint, where a recovery begins."""
        place = self.head.checkpoint
        return (place.step, place.offset) if place else (0, 0)

    @property
    def kept_from(self) -> tuple[int, int]:
        """Step and offset of the previous checkpoint: what comes after it is never trimmed."""
        place = self.head.older_checkpoint
        return (place.step, place.offset) if place else (0, 0)


async def read(connection: RedisConnection, name: str, uid: str) -> StoreSnapshot | None:
    """Reads a model; None if it has just been deleted."""
    keys, workers = connection.keys.of(uid), await Workers(connection).alive()
    now = await connection.time()
    with store_errors():
        async with connection.redis.pipeline(transaction=True) as pipe:
            pipe.hgetall(keys.meta)
            pipe.hgetall(keys.head)
            pipe.hvals(keys.versions)
            pipe.get(keys.last)
            pipe.zrange(keys.pending, 0, -1)
            pipe.zrange(keys.commands, 0, -1)
            pipe.get(keys.lease)
            pipe.get(keys.metrics)
            pipe.hvals(keys.alarms)
            for key in (keys.log, keys.steps):
                pipe.xrange(key, "-", "+", 1)
                pipe.xrevrange(key, "+", "-", 1)
                pipe.xlen(key)
            found = await pipe.execute()
        if not found[0] and await connection.redis.hget(connection.keys.names, name) != uid.encode():
            return None
        oldest = await connection.redis.xrange(keys.log, f"({int(found[1].get(b'offset', 0))}-0", "+", 1)
    is_owned = (found[6] or b"").decode() in workers
    return _snapshot(name, uid, (keys.log, keys.steps), found, oldest, is_owned, now)


def _snapshot(
    name: str,
    uid: str,
    streams: tuple[str, str],
    found: list[Any],
    oldest: Entries,
    is_owned: bool,
    now: float,
) -> StoreSnapshot:
    meta, fields, versions, last, pending, commands, _, metrics, alarms = found[:9]
    head, newest = parse_head(fields), int(last or 0)
    waiting = count_waiting(newest, head.offset, commands)
    waited = max(0.0, now - int(oldest[0][1][b"t"]) / 1000) if oldest and waiting > 0 else 0.0
    spec = json.loads(meta[b"spec"])
    bytes_there = int(found[10][0][1].get(b"b", 0)) if found[10] else 0
    bytes_learned = int(fields.get(b"bytes", 0))
    return StoreSnapshot(
        name=name,
        uid=uid,
        head=head,
        versions=[msgspec.json.decode(version, type=Version) for version in versions],
        log=_stream(streams[0], *found[9:12]),
        steps=_stream(streams[1], *found[12:15]),
        last=newest,
        pending=[int(n) for n in pending],
        waiting=max(0, waiting),
        waited=waited,
        backlog=Backlog(max(0, newest - head.offset), max(0, bytes_there - bytes_learned), waited),
        now=now,
        is_paused=meta.get(b"paused") == b"1",
        is_owned=is_owned,
        trigger=Trigger.model_validate(spec.get("recipe", {}).get("trigger", {})),
        device=spec.get("device"),
        drifts=json.loads(metrics or b"{}").get("alarms", []),
        alarms=[json.loads(alarm) for alarm in alarms],
    )


def _stream(key: str, first: Entries, last: Entries, count: int) -> StreamInfo:
    return StreamInfo(key, number(first[0]) if first else 0, number(last[0]) if last else 0, count)


def number(entry: tuple[bytes, Any]) -> int:
    """The number n of the entry ``n-0``."""
    return int(entry[0].partition(b"-")[0])
