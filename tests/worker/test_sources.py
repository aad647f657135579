"""The user's own streams: each record learned once, whatever dies in between, and what cannot be taken is kept."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from msgspec.structs import replace

from driftline.errors import ConfigurationError, Conflict, InvalidInput
from driftline.sources.base import Source, SourceBatch
from driftline.sources.registry import parse_source, parse_sources, shown_spec
from driftline.store.sources import SourceBook, StoredSource
from driftline.store.watermarks import Cap
from tests.waiting import SECONDS, until_async
from tests.worker.conftest import Bench
from tests.worker.source_reading import NAME, alarm_of, labels, newest_is, reading, row, told

pytestmark = pytest.mark.anyio

STREAM = "labels"


def source(bench: Bench, **changes: Any) -> Source:
    described = {"type": "redis_stream", "model": "weather", "url": bench.url, "stream": key(bench)} | changes
    (found,), wrong = parse_sources(json.dumps([described]))
    assert not wrong
    return found


def key(bench: Bench) -> str:
    return bench.connection.keys.prefix + STREAM


async def add(bench: Bench, count: int, first: int = 0, **fields: Any) -> None:
    async with bench.connection.redis.pipeline() as pipe:
        for n in range(first, first + count):
            entry = {"inputs": json.dumps(row(n)), "label": int(row(n)[0] > 0)} | fields
            pipe.xadd(key(bench), entry)
        await pipe.execute()


async def make_stream(bench: Bench, count: int, label: int, first: int = 0) -> None:
    """A new stream of so many entries, ``1-0`` and on, in place of the one that there may be."""
    redis = bench.connection.redis
    await redis.delete(key(bench))
    for n in range(1, count + 1):
        await redis.xadd(key(bench), {"inputs": json.dumps(row(n + first)), "label": label}, id=f"{n}-0")


async def test_each_entry_is_learned_once(bench: Bench) -> None:
    store = await bench.model()
    await add(bench, 450)
    async with reading(store, source(bench)):
        await newest_is(store, 450)
        await add(bench, 50, first=450)
        await newest_is(store, 500)
    trainer = await bench.train(store)
    assert trainer.head.learned == 500


async def test_a_reader_that_dies_anywhere_reads_nothing_twice(bench: Bench) -> None:
    store = await bench.model()
    await add(bench, 1000)
    for _ in range(5):
        async with reading(store, source(bench)):
            await asyncio.sleep(0.02)
    async with reading(store, source(bench)):
        await newest_is(store, 1000)
        await told(store, state="running")
    assert await store.log.newest() == 1000
    entries = await store.log.read(0, 1000)
    assert len({entry.record.id for entry in entries}) == 1000


async def test_two_readers_at_once_take_each_entry_once(bench: Bench) -> None:
    store = await bench.model()
    await add(bench, 1000)
    async with reading(store, source(bench)), reading(store, source(bench)):
        await newest_is(store, 1000)
        await add(bench, 1, first=1000)
        await newest_is(store, 1001)
    assert await store.log.newest() == 1001


BAD: dict[str, dict[str, Any]] = {
    "a class that there is not": {"label": 7},
    "a label that no store holds": {"label": 2**64},
    "inputs that are cut off": {"inputs": "[1, 2"},
    "inputs of another shape": {"inputs": "[1, 2]"},
    "a number that is not finite": {"inputs": json.dumps([1e39] + [0.0] * 7)},
    "bytes that are no text": {"label": b"\xff\xfe"},
    "a field that no item has": {"colour": "red"},
    "a prediction that there is not": {"prediction_id": "nothing", "inputs": "null"},
    "a weight that is none": {"weight": "-1"},
    "a time that is none": {"time": "yesterdayish"},
}


async def test_what_does_not_fit_is_kept_and_the_source_goes_on(bench: Bench) -> None:
    store = await bench.model()
    for n, fields in enumerate(BAD.values()):
        await add(bench, 1, first=2 * n)
        await add(bench, 1, first=2 * n + 1, **fields)
    await add(bench, 1, first=100)
    book = SourceBook(store.connection, store.uid)
    async with reading(store, source(bench)):
        await newest_is(store, len(BAD) + 1)
        message = await alarm_of(store, "source_refused")
        state = await told(store, state="running")
    assert f"{len(BAD)} records of sources could not be taken" in message
    assert (state.taken, state.refused) == (len(BAD) + 1, len(BAD))
    letters = await book.dead()
    assert len(letters) == len(BAD)
    assert all(letter.reason and letter.raw and letter.source == NAME for letter in letters)
    assert await book.dead_counts() == {NAME: len(BAD)}
    assert await book.unbury([letter.id for letter in letters]) == 0
    assert await book.dead() == []


async def test_a_label_that_an_open_model_takes_and_no_store_holds_is_kept_too(bench: Bench) -> None:
    store = await bench.model(classes="open")
    for n, label in enumerate((2**64, 1, "red")):
        item = json.dumps({"inputs": row(n), "label": label})
        await bench.connection.redis.xadd(key(bench), {"item": item})
    async with reading(store, source(bench, data="item")):
        await newest_is(store, 2)
    assert await labels(store) == [1, "red"]
    (letter,) = await SourceBook(store.connection, store.uid).dead()
    assert "64 bits" in letter.reason


async def test_an_item_that_no_check_has_met_is_kept_and_the_others_are_taken(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    from driftline.ingest import feedback

    whole = feedback._of_inputs

    def failing(decoder: Any, name: str, sent: Any, *rest: Any) -> Any:
        if sent.source == "broken":
            raise ZeroDivisionError("as no check foresaw")
        return whole(decoder, name, sent, *rest)

    monkeypatch.setattr(feedback, "_of_inputs", failing)
    store = await bench.model()
    await add(bench, 2)
    await add(bench, 1, first=2, source="broken")
    await add(bench, 2, first=3)
    async with reading(store, source(bench)):
        await newest_is(store, 4)
        await told(store, state="running")
    (letter,) = await SourceBook(store.connection, store.uid).dead()
    assert "as no check foresaw" in letter.reason


async def test_an_id_that_comes_again_with_another_content_is_kept_and_the_first_one_stays(bench: Bench) -> None:
    store = await bench.model()
    await add(bench, 1, id="order 1")
    await add(bench, 1, first=1, id="order 2")
    await add(bench, 1, first=2, id="order 1")
    await add(bench, 1, first=1, id="order 2")
    async with reading(store, source(bench)):
        await newest_is(store, 2)
        await told(store, state="running")
    assert [entry.record.id for entry in await store.log.read(0, 10)] == ["order 1", "order 2"]
    (letter,) = await SourceBook(store.connection, store.uid).dead()
    assert "another content" in letter.reason


async def test_a_reader_that_has_not_heard_of_another_configuration_takes_no_more_and_does_not_fail(
    bench: Bench,
) -> None:
    """It goes on taking what it has begun with: the former mapping, and once forgotten, the position again."""
    store = await bench.model()
    spec = {"type": "redis_stream", "name": "s", "url": bench.url, "stream": key(bench)}
    book, specs = SourceBook(store.connection, store.uid), store.keys.source_specs
    stored = StoredSource("s", spec, "s", 1.0)
    await bench.connection.redis.hset(specs, "s", stored.text)
    await add(bench, 2)
    async with reading(store) as sources:
        await sources.apply(await bench.connection.redis.hgetall(specs))
        await told(store, "s", state="running", taken=2)
        await bench.connection.redis.hset(specs, "s", replace(stored, created=2.0).text)
        await book.forget_position("s")
        (running,) = sources.running.values()
        refused: asyncio.Future[Conflict] = asyncio.get_running_loop().create_future()

        async def seen(batch: SourceBatch, before: str) -> None:
            try:
                await type(running.runner.intake).take(running.runner.intake, batch, before)
            except Conflict as error:
                refused.set_result(error)
                raise

        running.runner.intake.take = seen  # type: ignore[method-assign]
        await add(bench, 1, first=2)
        assert (await asyncio.wait_for(refused, SECONDS)).code == "source_changed"
        assert await store.log.newest() == 2 and await book.position("s") == ""
        await sources.apply(await bench.connection.redis.hgetall(specs))
        found = await told(store, "s", state="running", taken=3)
        assert found.reason == "" and sources.troubles.current() == {}
    assert await store.log.newest() == 3


async def test_a_refused_record_is_kept_once_however_often_it_is_read(bench: Bench) -> None:
    store = await bench.model()
    await add(bench, 3, label=7)
    for _ in range(3):
        async with reading(store, source(bench)):
            await until_async(lambda: SourceBook(store.connection, store.uid).dead())
        await store.connection.redis.delete(store.keys.sources)  # As if it had died before the position moved.
    book = SourceBook(store.connection, store.uid)
    assert len(await book.dead()) == 3
    assert await book.dead_counts() == {NAME: 3}


@pytest.mark.parametrize(
    ("classes", "texts", "expected"),
    [
        (["1", "2"], ["1", "2"], ["1", "2"]),
        ([1, 2], ["1", "2"], [1, 2]),
        (["no", "yes"], ["yes", '"no"'], ["yes", "no"]),
        ("open", ["1", "red", "007"], [1, "red", "007"]),
    ],
)
async def test_a_text_is_the_class_that_is_written_so(
    bench: Bench, classes: Any, texts: list[str], expected: list[Any]
) -> None:
    store = await bench.model(classes=classes)
    for n, text in enumerate(texts):
        await add(bench, 1, first=n, label=text)
    async with reading(store, source(bench)):
        await newest_is(store, len(texts))
    assert await labels(store) == expected


async def test_a_stream_that_is_made_again_is_read_and_an_alarm_says_so(bench: Bench) -> None:
    store = await bench.model()
    await make_stream(bench, 5, label=0)
    async with reading(store, source(bench)):
        await newest_is(store, 5)
    await make_stream(bench, 5, label=1, first=10)
    async with reading(store, source(bench)):
        await newest_is(store, 10)
        message = await alarm_of(store, "source_gap")
    assert await labels(store) == [0] * 5 + [1] * 5
    assert "was deleted and made again" in message
    assert "5-0" in message


async def test_a_stream_that_is_made_again_with_more_entries_is_not_taken_for_the_former_one(bench: Bench) -> None:
    store = await bench.model()
    await make_stream(bench, 3, label=0)
    async with reading(store, source(bench)):
        await newest_is(store, 3)
    await make_stream(bench, 8, label=1, first=10)
    async with reading(store, source(bench)):
        await newest_is(store, 11)
        await alarm_of(store, "source_gap")
    assert await labels(store) == [0] * 3 + [1] * 8


async def test_a_stream_that_is_deleted_while_it_is_read_is_an_alarm(bench: Bench) -> None:
    store = await bench.model()
    await add(bench, 3)
    async with reading(store, source(bench)):
        await newest_is(store, 3)
        await bench.connection.redis.delete(key(bench))
        assert "was deleted" in await alarm_of(store, "source_gap")
        await add(bench, 2, first=3)
        await newest_is(store, 5)
    assert await store.log.newest() == 5


async def test_entries_that_were_trimmed_before_they_were_read_are_counted_in_an_alarm(bench: Bench) -> None:
    store = await bench.model()
    redis = bench.connection.redis
    await add(bench, 5)
    async with reading(store, source(bench)):
        await newest_is(store, 5)
    await add(bench, 3000, first=5)
    await redis.xtrim(key(bench), maxlen=50, approximate=False)
    async with reading(store, source(bench)):
        await newest_is(store, 55)
        message = await alarm_of(store, "source_gap")
        state = await told(store, state="running")
    assert "2,950 entries" in message
    (gap,) = state.gaps
    oldest = (await redis.xrange(key(bench), count=1))[0][0].decode()
    assert gap.end == oldest


async def test_what_is_trimmed_or_deleted_after_it_was_read_is_no_gap(bench: Bench) -> None:
    store = await bench.model()
    redis = bench.connection.redis
    await add(bench, 20)
    async with reading(store, source(bench)):
        await newest_is(store, 20)
        await redis.xtrim(key(bench), maxlen=5, approximate=False)
        newest = (await redis.xrevrange(key(bench), count=1))[0][0]
        await redis.xdel(key(bench), newest)
        await add(bench, 10, first=20)
        await newest_is(store, 30)
        await redis.xtrim(key(bench), maxlen=0, approximate=False)
        await add(bench, 10, first=30)
        await newest_is(store, 40)
        state = await told(store, state="running")
    assert not state.gaps
    assert not await redis.hget(store.keys.alarms, "source_gap")


async def test_a_deleted_entry_that_was_not_read_is_a_gap(bench: Bench) -> None:
    store = await bench.model()
    redis = bench.connection.redis
    await add(bench, 2)
    async with reading(store, source(bench)):
        await newest_is(store, 2)
    await add(bench, 3, first=2)
    second = (await redis.xrevrange(key(bench), count=2))[1][0]
    await redis.xdel(key(bench), second)
    async with reading(store, source(bench)):
        await newest_is(store, 4)
        assert second.decode() in await alarm_of(store, "source_gap")


async def test_a_start_at_the_end_stays_where_it_was_first_fixed(bench: Bench) -> None:
    store = await bench.model()
    await add(bench, 10)
    async with reading(store, source(bench, start="$")):
        await told(store, state="running")
    await add(bench, 5, first=10)
    async with reading(store, source(bench, start="$")):
        await newest_is(store, 5)
        await told(store, state="running")
    assert await store.log.newest() == 5


async def test_the_position_of_a_former_release_is_gone_on_from(bench: Bench) -> None:
    store = await bench.model()
    await add(bench, 10)
    fourth = (await bench.connection.redis.xrange(key(bench), count=4))[-1][0]
    await bench.connection.redis.hset(store.keys.sources, f"redis_stream:{key(bench)}", fourth)
    async with reading(store, source(bench)):
        await newest_is(store, 6)
        await told(store, state="running")
    assert await store.log.newest() == 6


async def test_a_stream_that_cannot_be_read_fails_and_the_alarm_ends_when_it_can(bench: Bench) -> None:
    store = await bench.model()
    await bench.connection.redis.set(key(bench), "no stream")
    async with reading(store, source(bench)):
        assert "cannot be read" in await alarm_of(store, "source")
        state = await told(store, state="failing")
        assert "WRONGTYPE" in state.reason
        assert state.lag_records is None  # Nobody knows.
        await bench.connection.redis.delete(key(bench))
        await add(bench, 1)
        await newest_is(store, 1)

        async def is_over() -> bool:
            return not await bench.connection.redis.hget(store.keys.alarms, "source")

        await until_async(is_over)
        await told(store, state="running", reason="")


async def test_a_full_log_makes_a_source_wait_and_loses_nothing(bench: Bench) -> None:
    store = await bench.model()
    store.log.cap = Cap(600)
    await add(bench, 1000)
    async with reading(store, source(bench)):

        async def waits() -> bool:
            state = (await SourceBook(store.connection, store.uid).states()).get(NAME)
            return state is not None and "the log is full" in state.reason

        await until_async(waits)
        assert await store.log.newest() == 500
        store.log.cap = Cap(10_000)
        await newest_is(store, 1000)
    assert await store.log.newest() == 1000


async def test_a_rate_is_kept(bench: Bench) -> None:
    store = await bench.model()
    await add(bench, 60)
    loop = asyncio.get_running_loop()
    begun = loop.time()
    async with reading(store, source(bench, max_rate=200)):
        await newest_is(store, 60)
        assert loop.time() - begun >= 0.2


@pytest.mark.parametrize("text", ["{}", "[", "@/nowhere.json"])
def test_a_setting_that_is_no_list_is_one_sentence(text: str) -> None:
    with pytest.raises(ConfigurationError, match="DRIFTLINE_SOURCES"):
        parse_sources(text)


@pytest.mark.parametrize(
    ("described", "wrong"),
    [
        ({"type": "kafkaesque"}, "kafkaesque"),
        ({"type": "redis_stream", "model": "X"}, "model"),
        ({"type": "redis_stream", "url": "redis://h", "stream": "s"}, "model: it is missing"),
        (7, "source"),
    ],
)
def test_a_source_that_cannot_be_read_is_told_and_the_others_are_read(described: Any, wrong: str) -> None:
    good = {"type": "redis_stream", "model": "weather", "url": "redis://h", "stream": "s"}
    found, messages = parse_sources(json.dumps([described, good]))
    assert [each.name for each in found] == ["environment-2"]
    (message,) = messages
    assert wrong in message


def test_the_identity_of_a_source_is_its_stream_on_its_server_without_the_password() -> None:
    one, other = (
        parse_source({"type": "redis_stream", "url": f"redis://:secret@{host}:7000/2", "stream": "labels"})
        for host in ("a", "b")
    )
    assert one.identity != other.identity
    assert "secret" not in one.identity


@pytest.mark.parametrize("password", ["hunter2", "a#b", "a/b?c", "p@q", "a:b"])
def test_no_part_of_a_password_is_shown(password: str) -> None:
    shown = shown_spec(
        {"type": "redis_stream", "url": f"redis://me:{password}@h:1/0?password={password}", "token": password}
    )
    assert shown["url"].startswith("redis://me:***@h:1/0") or shown["url"].startswith("redis://me:***@")
    assert password not in str(shown)
    with pytest.raises(InvalidInput) as refused:
        parse_source({"type": "redis_stream", "url": f"redis://me:{password}@@/x/", "stream": "s"})
    assert password not in f"{refused.value.message}{refused.value.details}"
