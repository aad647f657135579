"""Everything that is stored of one model, for its trainer."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from torch import Tensor

from driftline.records import Record
from driftline.settings import Settings
from driftline.store.alarms import Alarms
from driftline.store.artifacts import Artifacts
from driftline.store.commits import CommitLog, parse_head
from driftline.store.connection import RedisConnection, store_errors
from driftline.store.events import EventLog
from driftline.store.log import Log
from driftline.store.scores import ScoreBuckets
from driftline.store.watermarks import Cap
from driftline.versions import VersionFiles

COUNTS = "counts"
"""Where the counts of steps stand among a model's metrics."""
REFUSED_FILES = ("disk", "object_store", "encryption_key")
"""Why files cannot be read or written for now: codes of :class:`Unavailable`, and alarms."""
CONDITIONS = (*REFUSED_FILES, "log_gap", "store_lost", "trainer_failed")
"""Alarms about what lasts: they are withdrawn when the model is learned again. The others are about what has happened."""


class ModelStore:
    """Log, commits, files and alarms of the model ``uid``."""

    def __init__(self, connection: RedisConnection, artifacts: Artifacts, uid: str, settings: Settings) -> None:
        self.connection = connection
        self.keys = connection.keys.of(uid)
        self.uid = uid
        self.settings = settings
        self.log = Log(connection, uid, cap=Cap.of(settings), receipt_seconds=settings.receipt_seconds)
        self.commit_log = CommitLog(connection, uid)
        self.alarms = Alarms(connection, uid)
        self.events = EventLog(connection, uid)
        self.scores = ScoreBuckets(connection, uid)
        self.version_files = VersionFiles(artifacts, uid)
        self.artifacts = artifacts

    @property
    def seed(self) -> int:
        """The seed of all random draws of the model."""
        return int(self.uid, 16)

    def now(self) -> float:
        """The time by the clock of Redis, in seconds since 1970."""
        return self.connection.now()

    async def pending(self) -> list[int]:
        """The log numbers of the pending commands."""
        with store_errors():
            return [int(n) for n in await self.connection.redis.zrange(self.keys.pending, 0, -1)]

    async def pending_ids(self) -> set[str]:
        """The ids of the pending commands."""
        found = [await self.log.get(n) for n in await self.pending()]
        return {entry.record.id for entry in found if entry is not None}

    async def weights_of(self, versions: Iterable[int]) -> dict[int, dict[str, Tensor]]:
        """The weights of versions, by version and tensor name; :class:`NotFound` where a version was deleted."""
        return await self.version_files.weights_of(self.commit_log, versions)

    async def has_records(self) -> bool:
        """Whether there are records or commands that no step has taken; also where the log ends before what was learned.

        Raises:
            NotFound: the model was deleted.
        """
        with store_errors():
            async with self.connection.redis.pipeline(transaction=False) as pipe:
                pipe.hgetall(self.keys.head)
                pipe.get(self.keys.last)
                pipe.zcard(self.keys.pending)
                head, newest, pending = await pipe.execute()
        return parse_head(head).offset != int(newest or 0) or pending > 0

    async def has_work(self) -> bool:
        """Whether its learner is needed.

        That is so with :meth:`has_records`, steps that no checkpoint has, labels that no version covers, a job that runs, and
        an alarm about a condition that may be over.
        """
        keys = self.keys
        with store_errors():
            async with self.connection.redis.pipeline(transaction=False) as pipe:
                pipe.hmget(keys.head, "step", "checkpoint_step", "offset", "version")
                pipe.hmget(keys.alarms, *CONDITIONS)
                pipe.hlen(keys.jobs)
                pipe.zcard(keys.ended)
                (step, checkpoint_step, offset, version), conditions, jobs, ended = await pipe.execute()
        if any(conditions) or jobs > ended or int(step or 0) != int(checkpoint_step or 0):
            return True
        live = await self.commit_log.version(int(version or 1))
        return live.offset != int(offset or 0) or await self.has_records()

    async def is_paused(self) -> bool:
        with store_errors():
            return bool(await self.connection.redis.hget(self.keys.meta, "paused") == b"1")

    async def counts(self) -> dict[str, int]:
        """What has come of the steps that are committed; see :mod:`.step_counts`."""
        with store_errors():
            metrics = json.loads(await self.connection.redis.get(self.keys.metrics) or "{}")
        found: dict[str, int] = metrics.get(COUNTS, {})
        return found

    async def count_crashes(self, crashes: int) -> None:
        """Stores how many worker processes in a row have died in this model's turn."""
        await self.connection.scripts.run("note", [self.keys.meta, self.keys.meta], ["crashes", crashes])

    async def count_watched(self, rows: int) -> None:
        """Counts predicted rows whose inputs were compared with those before; only the owner of the model does."""
        with store_errors():
            known = await self.connection.redis.hget(self.keys.meta, "watched")
        await self.connection.scripts.run("note", [self.keys.meta, self.keys.meta], ["watched", int(known or 0) + rows])

    async def spec(self) -> dict[str, Any]:
        """The current spec, with its recipe; empty where the model was deleted."""
        with store_errors():
            found: dict[str, Any] = json.loads(await self.connection.redis.hget(self.keys.meta, "spec") or "{}")
        return found

    async def alarm(self, kind: str, message: str) -> None:
        """Raises an alarm; a newer one of the same kind takes its place. One of :data:`CONDITIONS` ends by itself."""
        await self.alarms.raise_alarm(kind, message)

    async def withdraw(self, *kinds: str) -> None:
        """Ends alarms whose cause is over."""
        await self.alarms.end(*kinds)

    async def records(self, start: int, end: int) -> list[tuple[int, Record]]:
        """The records with numbers above ``start`` up to ``end``."""
        found: list[tuple[int, Record]] = []
        while start < end:
            entries = await self.log.read(start, min(1000, end - start))
            if not entries:
                break
            found += [(entry.n, entry.record) for entry in entries]
            start = entries[-1].n
        return found
