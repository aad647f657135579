"""One model's head and steps: what is committed, and the one way to commit more.

The step is the unit of commit. ``commit.lua`` appends it and moves the head in one script, so that after any crash the store
holds either all of a step or nothing of it. What the script relies on:

- Files first: the manifest that a commit or a checkpoint names was synced to disk before the script runs.
- The epoch fences: only the newest taker of the lease commits. The one before may still compute, and finds out here.
- The token makes it idempotent: the client resends a write whose answer was lost, and the script knows it again.
- Steps are dense: ``step`` and ``from`` must follow the head, so that no step is lost or counted twice.
- Records and steps that a recovery needs outlive it: ``checkpoint.lua`` trims up to the older of two checkpoints.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from driftline.errors import CorruptData, Fenced, NotFound
from driftline.records import Plan
from driftline.store.connection import RedisConnection, store_errors
from driftline.store.events import EventRecord
from driftline.store.rejected import MAX_REJECTED, RejectedRecord
from driftline.store.replacement import Replacement
from driftline.store.scores import Bucket


class Checkpoint(msgspec.Struct, frozen=True):
    """A checkpoint: its manifest, and the step and offset at which it was written."""

    manifest: str
    step: int
    offset: int


class CanaryVersion(msgspec.Struct, frozen=True):
    """A version that answers a ``share`` of the traffic beside the live one."""

    version: int
    manifest: str
    share: float


class Head(msgspec.Struct, frozen=True):
    """The live version, and the progress of the learner. ``learned`` counts items, ``offset`` is the number of a record.

    ``newest`` is the highest version number so far: the live version's, unless there was a canary since.
    """

    version: int
    manifest: str
    step: int
    offset: int
    learned: int
    checkpoint: Checkpoint | None
    older_checkpoint: Checkpoint | None
    newest: int
    canary: CanaryVersion | None = None


class Version(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is known of a version without reading its files. ``created`` is in seconds since 1970.

    ``report`` is that of the retrain job that made it. ``contexts`` are of traces whose labels it has learned.
    """

    version: int
    manifest: str
    parent: int | None
    step: int
    offset: int
    created: float
    reason: str
    scores: dict[str, float] = {}
    report: dict[str, Any] | None = None
    contexts: list[str] = []


class JobRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """A job, a retrain or a comparison, as its users see it; ``asked_by`` is who has asked for it, and ``reason`` why."""

    id: str
    state: str
    progress: float = 0.0
    promoted: bool | None = None
    version: int | None = None
    report: dict[str, Any] | None = None
    reason: str = ""
    asked_by: str = ""


class JobProgress(msgspec.Struct, frozen=True, omit_defaults=True):
    """How far a job has come, and what is to be told of it so far: how its race stands."""

    share: float
    report: dict[str, Any] | None = None


class Step(msgspec.Struct, frozen=True, omit_defaults=True):
    """One committed advance over the log, from offset ``start`` to ``end``: enough to repeat it and to verify the result."""

    k: int
    start: int
    end: int
    plan: Plan
    digest: str
    version: int | None = None
    decision: dict[str, Any] | None = None


class Commit(msgspec.Struct, frozen=True):
    """A step, with everything that changes atomically with it.

    ``version`` goes live; with a ``share`` it becomes the canary instead. ``rejected`` labels were not learned;
    ``released`` ones are after all: ids by log number. ``alarms`` are raised, by kind, and those of the kinds ``over`` end;
    ``buckets`` take the place of what is kept of the same time. ``replacement``: its learner is another one.
    """

    step: Step
    epoch: int
    token: str
    learned: int
    version: Version | None = None
    share: float | None = None
    ends_canary: bool = False
    spec: dict[str, Any] | None = None
    rejected: Sequence[RejectedRecord] = ()
    released: Mapping[int, str] = {}
    jobs: list[JobRecord] = []
    paused: bool | None = None
    metrics: dict[str, Any] | None = None
    events: Sequence[EventRecord] = ()
    alarms: Mapping[str, dict[str, Any]] = {}
    over: Sequence[str] = ()
    buckets: Mapping[str, Sequence[Bucket]] = {}
    replacement: Replacement | None = None


COMMITTED = [
    "meta",
    "epoch",
    "head",
    "steps",
    "versions",
    "coverage",
    "pending",
    "jobs",
    "ended",
    "progress",
    "metrics",
    "log",
    "events",
    "routine",
    "alarms",
    "over",
    "acknowledged",
    "minutes",
    "hours",
    "rejected",
    "checkpoints",
]
"""What a commit touches, in the order of ``commit.lua``."""
CHECKPOINTED = ("epoch", "head", "log", "steps", "commands", "pending", "last", "checkpoints")
"""The same of a checkpoint."""


class CommitLog:
    """Reads and moves the head of the model ``uid``.

    Args:
        keep_jobs: how many ended jobs can be asked for; older ones are forgotten.
    """

    def __init__(self, connection: RedisConnection, uid: str, keep_jobs: int = 1000) -> None:
        self.keep_jobs = keep_jobs
        self.connection = connection
        self.uid = uid
        self.keys = connection.keys.of(uid)

    async def head(self) -> Head:
        """The head; :class:`NotFound` when the model is gone."""
        with store_errors():
            fields = await self.connection.redis.hgetall(self.keys.head)
        return parse_head(fields)

    async def commit(self, commit: Commit) -> None:
        """Commits a step. Sending it twice is harmless.

        Raises:
            Fenced: another worker owns the model now.
            CorruptData: the head is not where this owner left it.
            NotFound: the model is gone.
        """
        keys = self.keys
        ids = [*(label.id for label in commit.rejected), *commit.released.values()]
        answer = await self.connection.scripts.run(
            "commit",
            [getattr(keys, noun) for noun in COMMITTED] + [keys.item(identifier) for identifier in ids],
            [_arguments(commit), self.connection.keys.hints, self.uid, self.keep_jobs, MAX_REJECTED],
        )
        _raise_for(answer, commit.step.k)

    async def checkpoint(self, checkpoint: Checkpoint, epoch: int, log_keep: int) -> None:
        """Names the newest checkpoint, and trims log and steps up to the one before it; the one before that is a former one.

        Raises:
            Fenced: another worker owns the model now.
            CorruptData: the head is missing, or behind the checkpoint.
        """
        keys = self.keys
        answer = await self.connection.scripts.run(
            "checkpoint",
            [getattr(keys, noun) for noun in CHECKPOINTED],
            [epoch, checkpoint.manifest, checkpoint.step, checkpoint.offset, log_keep],
        )
        _raise_for(answer, checkpoint.step)

    async def steps(self, after: int, count: int = 500) -> list[Step]:
        """Committed steps after step ``after``; :class:`CorruptData` where one is missing."""
        with store_errors():
            found = await self.connection.redis.xrange(self.keys.steps, f"({after}-0", "+", count)
        steps = [msgspec.json.decode(fields[b"s"], type=Step) for _, fields in found]
        for expected, step in enumerate(steps, start=after + 1):
            if step.k != expected:
                raise CorruptData(f"step {expected} is missing", code="step_gap", after=expected - 1)
        return steps

    async def versions(self) -> list[Version]:
        """Every stored version, oldest first."""
        with store_errors():
            found = await self.connection.redis.hvals(self.keys.versions)
        return sorted(
            (msgspec.json.decode(value, type=Version) for value in found), key=lambda version: version.version
        )

    async def version(self, number: int) -> Version:
        """One stored version; :class:`NotFound` if there is none."""
        with store_errors():
            found = await self.connection.redis.hget(self.keys.versions, str(number))
        if found is None:
            message = f"there is no version {number}, or it is no longer kept"
            raise NotFound(message, code="unknown_version", field="version", value=number)
        return msgspec.json.decode(found, type=Version)

    async def retire(self, versions: list[int]) -> None:
        """Removes versions; their files can then be deleted."""
        if versions:
            with store_errors():
                await self.connection.redis.hdel(self.keys.versions, *map(str, versions))

    async def covering(self, n: int) -> int | None:
        """The first version that has learned log number ``n``, if there is one."""
        with store_errors():
            found = await self.connection.redis.zrange(self.keys.coverage, n, "+inf", byscore=True, offset=0, num=1)
        return int(found[0]) if found else None

    async def coverage(self) -> list[tuple[int, int]]:
        """Up to which log number each version is the first to have learned, rising: ``(number, version)``."""
        with store_errors():
            found = await self.connection.redis.zrange(self.keys.coverage, 0, -1, withscores=True)
        return [(int(number), int(version)) for version, number in found]

    async def job(self, identifier: str) -> JobRecord | None:
        """A job that has started, with its progress; None before that."""
        with store_errors():
            async with self.connection.redis.pipeline(transaction=False) as pipe:
                pipe.hget(self.keys.jobs, identifier)
                pipe.hget(self.keys.progress, identifier)
                found, progress = await pipe.execute()
        if found is None:
            return None
        return with_progress(msgspec.json.decode(found, type=JobRecord), progress)

    async def running_jobs(self) -> list[JobRecord]:
        """The jobs that have started and not ended."""
        with store_errors():
            found = await self.connection.redis.hvals(self.keys.jobs)
        jobs = [msgspec.json.decode(value, type=JobRecord) for value in found]
        return [job for job in jobs if job.state == "running"]

    async def report_progress(self, identifier: str, share: float, report: dict[str, Any] | None = None) -> None:
        """Stores the progress of a job, and its report so far, for display only: its committed state is what counts."""
        await self.note("progress", identifier, _text(JobProgress(round(share, 3), report or None)))

    async def note(self, noun: str, field: str, value: str) -> None:
        """Sets one field of the hash ``noun`` outside of a step; does nothing if the model was deleted."""
        await self.connection.scripts.run("note", [self.keys.meta, getattr(self.keys, noun)], [field, value])


def with_progress(job: JobRecord, progress: bytes | None) -> JobRecord:
    """A job with the progress that is stored of it; a former release has stored the share alone."""
    if not progress:
        return job
    found = msgspec.json.decode(progress, type=JobProgress | float)
    if isinstance(found, float):
        return msgspec.structs.replace(job, progress=found)
    return msgspec.structs.replace(job, progress=found.share, report=found.report or job.report)


def parse_head(fields: dict[bytes, bytes]) -> Head:
    """Parses the head from its hash."""
    if b"manifest" not in fields:
        raise NotFound("the model has been deleted", code="unknown_model")
    return Head(
        version=int(fields[b"version"]),
        manifest=fields[b"manifest"].decode(),
        step=int(fields[b"step"]),
        offset=int(fields[b"offset"]),
        learned=int(fields[b"learned"]),
        checkpoint=_checkpoint(fields, b"checkpoint", b"checkpoint_"),
        older_checkpoint=_checkpoint(fields, b"older_checkpoint", b"older_"),
        newest=int(fields.get(b"newest", fields[b"version"])),
        canary=_canary(fields),
    )


def _canary(fields: dict[bytes, bytes]) -> CanaryVersion | None:
    if b"canary" not in fields:
        return None
    return CanaryVersion(int(fields[b"canary"]), fields[b"canary_manifest"].decode(), float(fields[b"share"]))


def apply_commit(head: Head, commit: Commit) -> Head:
    """The head after a commit, as ``commit.lua`` leaves it."""
    version, share = commit.version, commit.share
    is_live = version is not None and share is None
    canary = None if commit.ends_canary or is_live else head.canary
    if version is not None and share is not None:
        canary = CanaryVersion(version.version, version.manifest, share)
    replacement = commit.replacement
    place = Checkpoint(replacement.checkpoint, commit.step.k, commit.step.end) if replacement else head.checkpoint
    return msgspec.structs.replace(
        head,
        checkpoint=place,
        older_checkpoint=None if replacement else head.older_checkpoint,
        version=version.version if version is not None and is_live else head.version,
        manifest=version.manifest if version is not None and is_live else head.manifest,
        step=commit.step.k,
        offset=commit.step.end,
        learned=head.learned + commit.learned,
        newest=version.version if version is not None else head.newest,
        canary=canary,
    )


def _checkpoint(fields: dict[bytes, bytes], name: bytes, prefix: bytes) -> Checkpoint | None:
    if not fields.get(name):
        return None
    return Checkpoint(fields[name].decode(), int(fields[prefix + b"step"]), int(fields[prefix + b"offset"]))


def _arguments(commit: Commit) -> bytes:
    step, version = commit.step, commit.version
    arguments: dict[str, Any] = {
        "epoch": str(commit.epoch),
        "token": commit.token,
        "step": step.k,
        "from": step.start,
        "to": step.end,
        "record": _text(step),
        "learned": commit.learned,
        "jobs": {job.id: _text(job) for job in commit.jobs},
        "events": [event.stored for event in commit.events],
        "alarms": [[kind, json.dumps(alarm)] for kind, alarm in commit.alarms.items()],
        "over": list(commit.over),
        "rejected": [[label.n, f"{label.state}:{label.reason}", _text(label)] for label in commit.rejected],
        "released": [*commit.released],
        "buckets": [[noun, bucket.time, bucket.stored] for noun, each in commit.buckets.items() for bucket in each],
    }
    if version is not None:
        arguments |= {"version": version.version, "manifest": version.manifest, "summary": _text(version)}
        arguments |= {"covers": version.offset} | ({} if commit.share is None else {"share": commit.share})
    if commit.ends_canary:
        arguments["ends_canary"] = True
    if commit.replacement is not None:
        arguments["replacement"] = msgspec.structs.asdict(commit.replacement)
    if step.plan.command is not None:
        arguments["command"] = step.plan.command
    if commit.spec is not None:
        arguments["spec"] = json.dumps(commit.spec)
    if commit.paused is not None:
        arguments["paused"] = int(commit.paused)
    if commit.metrics is not None:
        arguments["metrics"] = json.dumps(commit.metrics)
    return msgspec.json.encode(arguments)


def _text(value: msgspec.Struct) -> str:
    return msgspec.json.encode(value).decode()


def _raise_for(answer: bytes, k: int) -> None:
    if answer == b"fenced":
        raise Fenced("another worker owns the model now")
    if answer == b"gone":
        raise NotFound("the model has been deleted", code="unknown_model")
    if answer != b"ok":
        raise CorruptData(f"step {k} is not the next one", code="out_of_order", step=k)
