"""The log: one order, densely numbered, each record once."""

from __future__ import annotations

import asyncio

import pytest

from driftline.errors import Busy, Conflict, CorruptData, NotFound
from driftline.records import Command
from driftline.store.catalog import Catalog
from driftline.store.connection import Connection
from driftline.store.log import Cursor, Log
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


async def test_a_batch_larger_than_a_script_keeps_its_order(log: Log, connection: Connection, uid: str) -> None:
    large = Log(connection, uid, cap=100_000, receipt_seconds=60)
    receipts = await large.append([item(str(index)) for index in range(1201)])
    assert [receipt.n for receipt in receipts] == list(range(1, 1202))


async def test_a_full_log_refuses_new_items_but_takes_resends_and_commands(connection: Connection, uid: str) -> None:
    log = Log(connection, uid, cap=3, receipt_seconds=60)
    await log.append([item("a"), item("b"), item("c")])
    with pytest.raises(Busy) as refused:
        await log.append([item("d")])
    assert refused.value.retry_after
    assert [receipt.status for receipt in await log.append([item("a"), item("b")])] == ["duplicate", "duplicate"]
    assert [receipt.status for receipt in await log.append([Command("x", "pause")])] == ["queued"]


async def test_a_missing_record_is_seen_and_not_skipped(log: Log, connection: Connection) -> None:
    await log.append([item(str(index)) for index in range(5)])
    await connection.redis.xdel(log.keys.log, "3-0")
    with pytest.raises(CorruptData) as gap:
        await log.read(0, 10)
    assert gap.value.code == "log_gap"


async def test_numbers_go_on_behind_a_log_that_was_trimmed_to_nothing(log: Log, connection: Connection) -> None:
    await log.append([item(str(index)) for index in range(5)])
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


async def test_a_deleted_model_takes_nothing(log: Log, connection: Connection) -> None:
    await Catalog(connection).delete("weather")
    with pytest.raises(NotFound):
        await log.append([item("a")])
    assert await stored_keys(connection) == []


async def test_commands_wait_until_they_are_carried_out(log: Log, connection: Connection) -> None:
    await log.append([item("a"), Command("x", "pause"), item("b")])
    assert await connection.redis.zrange(log.keys.pending, 0, -1) == [b"2"]
    model = await Catalog(connection).get("weather")
    assert (model.last, model.waiting) == (3, 2), "a command is no label"
