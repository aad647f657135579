"""What the events and the scores of a model must be, whatever has died meanwhile."""

from __future__ import annotations

from driftline.store.connection import RedisConnection
from driftline.store.events import BEGINNING, EventLog, StoredEvent
from driftline.store.scores import WIDTHS, ScoreBuckets


async def events_of(connection: RedisConnection, uid: str) -> list[StoredEvent]:
    """All events of a model, oldest first; they are numbered without a gap."""
    log, found = EventLog(connection, uid), list[StoredEvent]()
    while page := await log.after(found[-1].cursor if found else BEGINNING):
        found += page
    assert [stored.cursor.n for stored in found] == list(range(1, len(found) + 1))
    assert [stored.cursor.ms for stored in found] == sorted(stored.cursor.ms for stored in found)
    return found


async def check_versions(connection: RedisConnection, uid: str, newest: int) -> None:
    """Each version has been told of once, with the one that it came of and the records that are new in it."""
    made = [stored.event for stored in await events_of(connection, uid) if stored.event.version is not None]
    made = [event for event in made if event.kind != "job"]
    assert [event.version for event in made] == list(range(1, newest + 1))
    assert [event.parent for event in made] == [None, *range(1, newest)]
    ends = [0]
    for event in made[1:]:
        assert event.records is None or event.records[0] == ends[-1] + 1
        ends.append(event.records[1] if event.records is not None else ends[-1])


async def check_scores(connection: RedisConnection, uid: str, scored: int) -> None:
    """Each scored label is in one bucket of each width."""
    for noun in WIDTHS:
        buckets = await ScoreBuckets(connection, uid).read(noun, 0, 2**40)
        assert sum(bucket.total.count for bucket in buckets) == scored
        assert len({bucket.time for bucket in buckets}) == len(buckets)
