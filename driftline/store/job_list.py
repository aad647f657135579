"""The jobs of a model: what is stored of each, with when it began and ended and who asked for it."""

from __future__ import annotations

import msgspec

from driftline.store.commits import JobRecord, with_progress
from driftline.store.connection import RedisConnection, store_errors
from driftline.store.events import BEGINNING, END, EventLog, StoredEvent

FINAL_STATES = frozenset({"succeeded", "failed", "cancelled"})


class StoredJob(msgspec.Struct):
    """A job: its record, and of its events the kind, the moments (seconds since 1970), who asked for it and why."""

    record: JobRecord
    kind: str | None = None
    began: float | None = None
    ended: float | None = None
    actor: str | None = None
    reason: str | None = None
    message: str | None = None


async def list_jobs(connection: RedisConnection, uid: str, count: int) -> list[StoredJob]:
    """The ``count`` newest jobs of a model, the newest first: as their events tell, and their records where they have begun."""
    keys = connection.keys.of(uid)
    events = await EventLog(connection, uid).newest(BEGINNING, END, 4 * count, {"job"})
    with store_errors():
        async with connection.redis.pipeline(transaction=False) as pipe:
            pipe.hgetall(keys.jobs)
            pipe.hgetall(keys.progress)
            records, progress = await pipe.execute()
    jobs: dict[str, StoredJob] = {}
    for stored in events:
        _take_event(jobs, stored)
    for text in records.values():
        record = msgspec.json.decode(text, type=JobRecord)
        record = with_progress(record, progress.get(record.id.encode()))
        jobs.setdefault(record.id, StoredJob(record)).record = record
    return list(jobs.values())[:count]


def _take_event(jobs: dict[str, StoredJob], stored: StoredEvent) -> None:
    """Takes in an event that is older than all before."""
    event = stored.event
    assert event.job is not None
    state, seconds = str(event.details.get("state", "queued")), stored.cursor.ms / 1000
    job = jobs.setdefault(event.job, StoredJob(JobRecord(event.job, state, version=event.version)))
    if state in FINAL_STATES:
        job.ended = seconds
    else:
        job.began = seconds
    job.kind = event.details.get("kind", job.kind)
    job.message = job.message or event.message
    job.actor, job.reason = event.actor or job.actor, event.reason or job.reason
