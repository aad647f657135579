"""The log: one order, densely numbered, each record once."""

from __future__ import annotations

import asyncio

import pytest

from driftline.errors import Busy, Conflict, CorruptData, NotFound, Unavailable
from driftline.records import Command, Plan, encode
from driftline.store.catalog import Catalog
from driftline.store.commits import Checkpoint, Commit, CommitLog, Step
from driftline.store.connection import HighWatermarks, RedisConnection
from driftline.store.lease import Lease
from driftline.store.log import Cursor, Log
from driftline.store.watermarks import Backlog, Cap
from tests.store.conftest import item, stored_keys

pytestmark = pytest.mark.anyio


async def test_records_are_numbered_densely_in_the_order_of_their_append(log: Log) -> None:
    await asyncio.gather(*(log.append([item(f"{batch}-{row}") for row in range(7)]) for batch in range(20)))
    entries = await log.read(0, 1000)
    assert [entry.n for entry in entries] == list(range(1, 141))
    for batch in range(20):
        rows = [entry.record.id for entry in entries if entry.record.id.startswith(f"{batch}-")]
        assert rows == [f"{batch}-{row}" for row in range(7)]


async def test_a_record_that_is_sent_again_is_the_same_record(log: Log) -> None:
    first = await log.append([item("a"), item("b")])
    again = await log.append([item("a"), item("c")])
    assert [(receipt.status, receipt.n) for receipt in first] == [("queued", 1), ("queued", 2)]
    assert [(receipt.status, receipt.n) for receipt in again] == [("duplicate", 1), ("queued", 3)]


async def test_an_id_with_another_content_is_a_conflict_and_changes_nothing(log: Log) -> None:
    await log.append([item("a", label=0)])
    (receipt,) = await log.append([item("a", label=1)])
    assert receipt.status == "conflict"
    assert [entry.record.label for entry in await log.read(0, 10)] == [0]  # type: ignore[union-attr]


async def test_a_batch_larger_than_a_script_keeps_its_order(log: Log, connection: RedisConnection, uid: str) -> None:
    large = Log(connection, uid, cap=Cap(100_000), receipt_seconds=60)
    receipts = await large.append([item(str(index)) for index in range(1201)])
    assert [receipt.n for receipt in receipts] == list(range(1, 1202))


async def test_a_full_log_refuses_new_items_but_takes_resends_and_commands(
    connection: RedisConnection, uid: str
) -> None:
    log = Log(connection, uid, cap=Cap(3), receipt_seconds=60)
    await log.append([item("a"), item("b"), item("c")])
    with pytest.raises(Busy) as refused:
        await log.append([item("d")])
    assert refused.value.retry_after
    assert [receipt.status for receipt in await log.append([item("a"), item("b")])] == ["duplicate", "duplicate"]
    assert [receipt.status for receipt in await log.append([Command("x", "pause")])] == ["queued"]


async def test_a_log_is_full_by_its_bytes_too(connection: RedisConnection, uid: str) -> None:
    size = len(encode(item("0")))
    log = Log(connection, uid, cap=Cap(1000, bytes=10 * size), receipt_seconds=60)
    await log.append([item(str(n)) for n in range(10)])
    with pytest.raises(Busy) as refused:
        await log.append([item("x")])
    assert f"10 records of {10 * size} bytes wait" in refused.value.message
    lease, commit_log = Lease(connection, uid, "me"), CommitLog(connection, uid)
    assert await lease.acquire()
    await commit_log.commit(Commit(Step(1, 0, 4, Plan(updates=1), "digest"), lease.epoch, "t", learned=4))
    await log.append([item(name) for name in "abcd"])
    with pytest.raises(Busy):
        await log.append([item("e")])
    (measured,) = await Catalog(connection).measured([await Catalog(connection).get("weather")])
    backlog = measured.backlog
    assert (backlog.records, backlog.bytes, backlog.fullness(log.cap)) == (10, 10 * size, 1.0)


async def test_a_log_is_full_by_the_age_of_its_oldest_record_too(connection: RedisConnection, uid: str) -> None:
    unhurried = Log(connection, uid, cap=Cap(1000), receipt_seconds=60)
    for name in "ab":
        await unhurried.append([item(name)])
    log = Log(connection, uid, cap=Cap(1000, seconds=0.05), receipt_seconds=60)
    await asyncio.sleep(0.1)
    with pytest.raises(Busy) as refused:
        await log.append([item("c")])
    assert "2 records" in refused.value.message
    await connection.redis.hset(log.keys.head, "offset", 2)
    assert [receipt.n for receipt in await log.append([item("c")])] == [3], "an old record that is learned is no matter"


def test_the_alarm_comes_before_the_cap_and_names_the_numbers() -> None:
    cap = Cap(1000, bytes=2**20, seconds=3600)
    assert Backlog(790, 2**19, 60).alarms(cap) == {}
    for backlog, share in (
        (Backlog(800, 0, 0), "80%"),
        (Backlog(1, int(0.9 * 2**20), 0), "90%"),
        (Backlog(1, 0, 3600), "100%"),
    ):
        (message,) = backlog.alarms(cap).values()
        assert share in message and f"{backlog.records:,} records of" in message and "DRIFTLINE_LOG_CAP" in message


async def refused(log: Log) -> Unavailable:
    with pytest.raises(Unavailable) as found:
        await log.append([item("later")])
    with pytest.raises(Unavailable):
        await log.append([Command("c:later", "pause")])
    return found.value


async def test_without_its_head_a_log_takes_nothing_and_no_head_is_made_up(
    log: Log, connection: RedisConnection, uid: str
) -> None:
    await log.append([item("a")])
    lease, commit_log = Lease(connection, uid, "me"), CommitLog(connection, uid)
    assert await lease.acquire()
    await connection.redis.delete(log.keys.head)
    assert (await refused(log)).code == "store_lost"
    for act in (
        commit_log.commit(Commit(Step(1, 0, 1, Plan(updates=1), "digest"), lease.epoch, "t", learned=1)),
        commit_log.checkpoint(Checkpoint("0" * 64, 0, 0), lease.epoch, log_keep=0),
    ):
        with pytest.raises(CorruptData):
            await act
    assert not await connection.redis.exists(log.keys.head)


@pytest.mark.parametrize("gone", ["2-0", "5-0"])
async def test_a_log_that_lacks_the_next_or_the_newest_record_takes_nothing(
    log: Log, connection: RedisConnection, gone: str
) -> None:
    await log.append([item(str(n)) for n in range(5)])
    await connection.redis.hset(log.keys.head, "offset", 1)
    await connection.redis.xdel(log.keys.log, gone)
    error = await refused(log)
    assert error.code == "log_gap" and f"record {gone[0]}" in error.message and "restore" in error.message
    assert await connection.redis.get(log.keys.last) == b"5"


async def test_a_log_that_ends_before_its_head_takes_nothing(log: Log, connection: RedisConnection) -> None:
    await log.append([item("a")])
    await connection.redis.hset(log.keys.head, "offset", 7)
    error = await refused(log)
    assert error.code == "store_lost" and "record 1" in error.message and "record 7" in error.message


async def test_what_the_worker_finds_missing_stops_feedback_until_it_takes_it_back(
    log: Log, connection: RedisConnection
) -> None:
    await connection.redis.hset(log.keys.alarms, "log_gap", '{"kind": "log_gap", "message": "record 9 is missing"}')
    assert (await refused(log)).message == "record 9 is missing"
    await connection.redis.hdel(log.keys.alarms, "log_gap")
    assert [receipt.n for receipt in await log.append([item("later")])] == [1]


async def set_back(log: Log, connection: RedisConnection, more: int) -> None:
    """Appends so many records, and then puts the copy of the store back that was made before."""
    names = [log.keys.log, log.keys.last, log.keys.head]
    copies = [await connection.redis.dump(name) for name in names]
    await log.append([item(f"lost{n}") for n in range(more)])
    for name, copy in zip(names, copies, strict=True):
        await connection.redis.restore(name, 0, copy, replace=True)


async def test_an_older_copy_of_the_store_is_noticed_and_takes_nothing(log: Log, connection: RedisConnection) -> None:
    connection.ends.unsettled_seconds = 0.0
    await connection.server.state()
    await log.append([item("a")])
    await set_back(log, connection, more=3)
    error = await refused(log)
    assert error.code == "store_lost" and "record 1," in error.message and "record 4 was" in error.message
    with pytest.raises(Unavailable):
        await log.newest()
    connection.ends = HighWatermarks(connection.server)  # As in a process that has just started.
    assert [receipt.n for receipt in await log.append([item("b")])] == [2]


async def test_a_store_may_lose_the_last_moments_and_goes_on(log: Log, connection: RedisConnection) -> None:
    await connection.server.state()
    await log.append([item("a")])
    await set_back(log, connection, more=3)
    assert [receipt.n for receipt in await log.append([item("b")])] == [2]


async def test_a_model_that_is_gone_is_forgotten(log: Log, connection: RedisConnection) -> None:
    connection.ends.unsettled_seconds = 0.0
    await connection.server.state()
    await log.append([item("a")])
    assert await Catalog(connection).names() and connection.ends.known(log.uid) == 1
    await Catalog(connection).delete("weather")
    await Catalog(connection).names()
    assert connection.ends.known(log.uid) == 0, "one that is restored under its uid begins again"


async def test_a_missing_record_is_seen_and_not_skipped(log: Log, connection: RedisConnection) -> None:
    await log.append([item(str(index)) for index in range(5)])
    await connection.redis.xdel(log.keys.log, "3-0")
    with pytest.raises(CorruptData) as gap:
        await log.read(0, 10)
    assert gap.value.code == "log_gap"


async def test_numbers_go_on_after_a_log_that_was_trimmed_to_nothing(log: Log, connection: RedisConnection) -> None:
    await log.append([item(str(index)) for index in range(5)])
    await connection.redis.hset(log.keys.head, "offset", 5)
    await connection.redis.xtrim(log.keys.log, maxlen=0, approximate=False)
    (receipt,) = await log.append([item("next")])
    assert receipt.n == 6


async def test_a_source_moves_with_its_items_or_not_at_all(log: Log) -> None:
    await log.append([item("a")], cursor=Cursor("s", "", "1-0"))
    assert await log.append([item("b")], cursor=Cursor("s", "", "1-0")) == [], "a resend is done already"
    with pytest.raises(Conflict):
        await log.append([item("b")], cursor=Cursor("s", "0-7", "2-0"))
    await log.append([item("b")], cursor=Cursor("s", "1-0", "2-0"))
    assert [entry.record.id for entry in await log.read(0, 10)] == ["a", "b"]


@pytest.mark.parametrize("now", [None, '{"as": "it is"}'])
async def test_a_source_is_not_moved_by_whom_its_configuration_has_left_behind(
    log: Log, connection: RedisConnection, now: str | None
) -> None:
    """One who reads it as it was configured does so until it has heard: of a change, of a position that was forgotten."""
    stored, read = b'{"as": "it was"}', Cursor("s", "", "1-0", "labels", b'{"as": "it was"}')
    await connection.redis.hset(log.keys.source_specs, "labels", stored)
    await log.append([item("a")], cursor=read)
    await connection.redis.delete(log.keys.source_specs, log.keys.sources)
    if now is not None:
        await connection.redis.hset(log.keys.source_specs, "labels", now)
    with pytest.raises(Conflict) as refused:
        await log.append([item("b")], cursor=read)
    assert refused.value.code == "source_changed"
    assert [entry.record.id for entry in await log.read(0, 10)] == ["a"]
    assert not await connection.redis.exists(log.keys.sources)


async def test_a_deleted_model_takes_nothing(log: Log, connection: RedisConnection) -> None:
    await Catalog(connection).delete("weather")
    with pytest.raises(NotFound):
        await log.append([item("a")])
    assert await stored_keys(connection) == []


async def test_commands_wait_until_they_are_carried_out(log: Log, connection: RedisConnection) -> None:
    await log.append([item("a"), Command("x", "pause"), item("b")])
    assert await connection.redis.zrange(log.keys.pending, 0, -1) == [b"2"]
    model = await Catalog(connection).get("weather")
    assert (model.last, model.waiting) == (3, 2), "a command is no label"
