"""Predictions wait for their labels, and say why when they are not there."""

from __future__ import annotations

import asyncio

import msgspec
import numpy as np
import pytest

from driftline.errors import InvalidInput, Unavailable
from driftline.store.connection import RedisConnection
from driftline.store.prediction_batches import PredictionBatch
from driftline.store.prediction_ids import EntryId, PredictionId
from driftline.store.predictions import Found, PredictionReader, PredictionWriter
from driftline.store.unwritten import PART_BYTES, PART_ENTRIES, Unwritten
from tests.waiting import SECONDS

pytestmark = pytest.mark.anyio
TOKEN, OTHER_TOKEN = bytes(range(16)), bytes(range(16, 32))


def batch(rows: int, version: int = 3) -> PredictionBatch:
    inputs = np.arange(2 * rows, dtype=np.float32).reshape(rows, 2)
    outputs = np.full((rows, 2), 0.5, np.float32)
    tokens = {0: TOKEN, 2: OTHER_TOKEN}
    return PredictionBatch(
        version, "live", rows, {"inputs": inputs.tobytes()}, outputs.tobytes(), [1] * rows, tokens=tokens
    )


def ids(writer: PredictionWriter, uid: str, entry: EntryId, token: bytes = TOKEN) -> str:
    """What the ids of a request's rows begin with."""
    return f"{writer.prefix(uid, entry)}{token.hex()}-"


@pytest.fixture
async def prediction_writer(connection: RedisConnection) -> PredictionWriter:
    prediction_writer = PredictionWriter(connection, horizon=3600, budget=2**20)
    await prediction_writer.connection.time()
    return prediction_writer


@pytest.fixture
def stored(connection: RedisConnection, uid: str) -> PredictionReader:
    return PredictionReader(connection, uid, horizon=3600)


async def test_a_row_comes_back_with_its_inputs_and_its_answer(
    prediction_writer: PredictionWriter, stored: PredictionReader, uid: str
) -> None:
    entry = prediction_writer.next_entry()
    prediction_writer.record(uid, entry, batch(3))
    await prediction_writer.flush()
    text = ids(prediction_writer, uid, entry, OTHER_TOKEN) + "2"
    found = (await stored.find([text]))[text]
    assert not isinstance(found, InvalidInput)
    inputs, answer, route, *_ = found
    assert np.frombuffer(inputs["inputs"], np.float32).tolist() == [4, 5]
    assert (answer.version, answer.label, route) == (3, 1, "live")
    assert np.frombuffer(answer.outputs, np.float32).tolist() == [0.5, 0.5]


async def test_of_another_request_no_id_can_be_guessed(
    prediction_writer: PredictionWriter, stored: PredictionReader, uid: str
) -> None:
    entry = prediction_writer.next_entry()
    prediction_writer.record(uid, entry, batch(4))
    await prediction_writer.flush()
    own, other, place = TOKEN.hex(), OTHER_TOKEN.hex(), prediction_writer.prefix(uid, entry)
    expected = {
        **{f"{place}{own}-{row}": row < 2 for row in range(5)},
        **{f"{place}{other}-{row}": row in (2, 3) for row in range(5)},
        **dict.fromkeys(
            [f"{place}0", f"{place}-0", f"{place}{'0' * 32}-0", f"{place}{own[:-1]}-0", f"{place}{own}é-0"], False
        ),
    }
    found = await stored.find(expected)
    assert {text: not isinstance(answer, InvalidInput) for text, answer in found.items()} == expected


async def test_what_a_former_release_has_recorded_is_found_by_its_id(
    prediction_writer: PredictionWriter, stored: PredictionReader, uid: str
) -> None:
    entry = prediction_writer.next_entry()
    former = msgspec.structs.replace(batch(1), tokens={})
    prediction_writer.record(uid, entry, former)
    await prediction_writer.flush()
    text, tokened = f"{prediction_writer.prefix(uid, entry)}0", ids(prediction_writer, uid, entry) + "0"
    found = await stored.find([text, tokened])
    assert not isinstance(found[text], InvalidInput) and isinstance(found[tokened], InvalidInput)


async def note(prediction_writer: PredictionWriter, uid: str, keys: dict[int, str], version: int = 3) -> None:
    entry = prediction_writer.next_entry()
    prediction_writer.record(uid, entry, msgspec.structs.replace(batch(3, version), keys=keys))
    await prediction_writer.flush()


async def test_the_newest_prediction_under_a_key_is_found_whoever_writes_last(
    prediction_writer: PredictionWriter, stored: PredictionReader, uid: str
) -> None:
    """A replica that could not write for a while writes its older predictions after the newer ones of another."""
    other = PredictionWriter(prediction_writer.connection, horizon=3600, budget=2**20)
    entry = prediction_writer.next_entry()
    prediction_writer.record(uid, entry, msgspec.structs.replace(batch(3, 1), keys={0: "a", 2: "b"}))
    other._newest = entry
    await note(other, uid, {1: "a"}, version=2)
    await prediction_writer.flush()
    found = await stored.find_keys(["a", "b"])
    seen = {key: each for key, each in found.items() if isinstance(each, Found)}
    assert {key: each.answer.version for key, each in seen.items()} == {"a": 2, "b": 1}
    assert {key: np.frombuffer(each.inputs["inputs"], np.float32).tolist() for key, each in seen.items()} == {
        "a": [2, 3],
        "b": [4, 5],
    }
    assert {each.fact for each in seen.values()} == {"key:a", "key:b"}
    by_id = (await stored.find([f"{ids(prediction_writer, uid, entry, OTHER_TOKEN)}2"])).popitem()[1]
    assert isinstance(by_id, Found) and by_id.fact == "key:b", (
        "the prediction is the same fact, by its id as by its key"
    )


async def test_a_key_that_nothing_was_predicted_under_is_named_after_a_short_wait(
    prediction_writer: PredictionWriter, stored: PredictionReader, uid: str
) -> None:
    stored.key_seconds = 0.05
    found = await stored.find_keys(["never"])
    assert isinstance(found["never"], InvalidInput)
    assert (found["never"].code, found["never"].details) == ("key_unknown", {"field": "key", "value": "never"})
    stored.key_seconds = SECONDS
    looking = asyncio.create_task(stored.find_keys(["soon"]))
    await note(prediction_writer, uid, {0: "soon"})
    assert isinstance((await looking)["soon"], Found)


async def test_keys_expire_with_their_predictions_and_count_in_their_memory(
    prediction_writer: PredictionWriter, stored: PredictionReader, uid: str
) -> None:
    await note(prediction_writer, uid, {0: "a"})
    redis, key = prediction_writer.connection.redis, stored.keys.key("a")
    assert 0 < await redis.pttl(key) <= 3600_000
    assert prediction_writer._written[-1].size > await redis.memory_usage(key)


async def test_each_absence_has_its_reason(
    prediction_writer: PredictionWriter, stored: PredictionReader, uid: str
) -> None:
    stored.wait_seconds = 0.05
    first, second = prediction_writer.next_entry(), prediction_writer.next_entry()
    for entry in (first, second):
        prediction_writer.record(uid, entry, batch(1))
    await prediction_writer.flush()
    await stored.connection.redis.xtrim(stored.keys.predictions(prediction_writer.nonce), maxlen=1, approximate=False)
    later = prediction_writer.next_entry()
    expected = {
        "nonsense": "prediction_unknown",
        f"{'0' * 12}-{prediction_writer.nonce}-1-0-0": "prediction_unknown",
        ids(prediction_writer, uid, second) + "1": "prediction_unknown",
        ids(prediction_writer, uid, first) + "0": "prediction_expired",
        f"{uid}-{prediction_writer.nonce}-1-0-0": "prediction_expired",
        ids(prediction_writer, uid, later) + "0": "prediction_not_stored",
    }
    found = await stored.find(expected)
    assert {text: getattr(answer, "code", "found") for text, answer in found.items()} == expected


async def test_a_label_that_overtakes_its_prediction_waits_for_it(
    connection: RedisConnection, prediction_writer: PredictionWriter, uid: str
) -> None:
    stored = PredictionReader(connection, uid, horizon=3600, wait_seconds=SECONDS)
    entry = prediction_writer.next_entry()
    text = ids(prediction_writer, uid, entry) + "0"
    finding = asyncio.create_task(stored.find([text]))
    await asyncio.sleep(0.1)
    prediction_writer.record(uid, entry, batch(1))
    await prediction_writer.flush()
    assert not isinstance((await finding)[text], InvalidInput)


async def test_the_oldest_predictions_go_when_the_budget_is_spent(connection: RedisConnection, uid: str) -> None:
    prediction_writer = PredictionWriter(connection, horizon=3600, budget=20_000)
    await prediction_writer.connection.time()
    for _ in range(100):
        newest = prediction_writer.next_entry()
        prediction_writer.record(uid, newest, batch(50))
    await prediction_writer.flush()
    key = connection.keys.of(uid).predictions(prediction_writer.nonce)
    kept = await connection.redis.xrange(key)
    assert 0 < sum(len(fields[b"b"]) for _, fields in kept) <= 20_000
    assert kept[-1][0].decode() == str(newest), "the newest stay"
    assert prediction_writer.join_horizon < 3600


async def test_a_replica_goes_on_in_the_streams_of_one_that_has_ended(connection: RedisConnection, uid: str) -> None:
    budget, texts, nonces = 20_000, [""], list[str]()
    for _ in range(6):
        writer = PredictionWriter(connection, horizon=3600, budget=budget)
        await writer.claim_streams()
        living = PredictionWriter(connection, horizon=3600, budget=budget)
        await living.claim_streams()
        found = await PredictionReader(connection, uid, horizon=3600).find(texts)
        assert texts == [""] or isinstance(found[texts[0]], Found), (
            "what the replica before has answered is still known"
        )
        for _ in range(30):
            entry = writer.next_entry()
            writer.record(uid, entry, batch(50))
            await writer.flush()
        texts = [ids(writer, uid, entry) + "1"]
        nonces += [writer.nonce, living.nonce]
        await writer.end()
        await living.streams.release()
    assert len(set(nonces)) == 2, "two replicas at a time"
    streams = [key async for key in connection.redis.scan_iter(connection.keys.of(uid).predictions("*"))]
    assert sum([await connection.redis.memory_usage(key) for key in streams]) < 3 * budget, (
        "two budgets, and what a stream takes itself"
    )


async def test_streams_of_a_replica_that_is_silent_are_taken_over_and_not_written_by_both(
    connection: RedisConnection, uid: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent, other = (PredictionWriter(connection, horizon=3600, budget=2**20) for _ in range(2))
    await silent.claim_streams()
    nonce = silent.nonce
    silent.record(uid, first := silent.next_entry(), batch(1))
    await silent.flush()
    await silent.claim_streams()
    await other.claim_streams()
    assert silent.nonce == nonce != other.nonce
    monkeypatch.setattr("driftline.store.prediction_streams.CLAIM_SECONDS", -1.0)
    await silent.claim_streams()
    another = PredictionWriter(connection, horizon=3600, budget=2**20)
    monkeypatch.undo()
    await another.claim_streams()
    assert another.nonce == nonce and another.next_entry() > first
    await silent.claim_streams()
    assert silent.nonce not in (nonce, other.nonce)
    mine = [PredictionWriter(connection, horizon=3600, budget=2**20) for _ in range(2)]
    for writer in mine:
        await writer.claim_streams()
    assert len({writer.nonce for writer in (silent, other, another, *mine)}) == 5


async def test_what_has_queued_up_is_written_in_parts_that_hold_the_loop_for_short(
    prediction_writer: PredictionWriter, stored: PredictionReader, uid: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    written, write = list[list[Unwritten]](), prediction_writer._write

    async def noting(part: list[Unwritten]) -> None:
        written.append(part)
        await write(part)

    monkeypatch.setattr(prediction_writer, "_write", noting)
    entries = [prediction_writer.next_entry() for _ in range(80)]
    for number, entry in enumerate(entries):
        prediction_writer.record(uid, entry, batch(2 if number < 70 else 2**13))
    await prediction_writer.flush()
    assert [unwritten.entry for part in written for unwritten in part] == entries
    largest = max(unwritten.size for part in written for unwritten in part)
    assert all(len(part) <= PART_ENTRIES and sum(each.size for each in part) < PART_BYTES + largest for part in written)
    last = ids(prediction_writer, uid, entries[-1]) + "1"
    assert isinstance((await stored.find([last]))[last], Found)


async def test_an_unreachable_store_delays_nothing_and_loses_only_the_oldest(
    connection: RedisConnection, stored: PredictionReader, uid: str
) -> None:
    unreachable = RedisConnection("redis://127.0.0.1:1", connection.keys.prefix)
    prediction_writer = PredictionWriter(unreachable, horizon=3600, budget=2**30, max_unwritten_bytes=2**20)
    entries = [prediction_writer.next_entry() for _ in range(40)]
    for entry in entries:
        prediction_writer.record(uid, entry, batch(10_000))
    with pytest.raises(Unavailable):
        await prediction_writer.flush()
    dropped = prediction_writer.dropped
    assert 30 < dropped < 40
    prediction_writer.connection = connection
    await prediction_writer.flush()
    kept = await connection.redis.xrange(stored.keys.predictions(prediction_writer.nonce))
    assert [identifier.decode() for identifier, _ in kept] == [str(entry) for entry in entries[dropped:]]
    await unreachable.close()


def test_ids_that_no_replica_gave_are_none() -> None:
    for text in ("", "u-n-1-2", "u-n-1-2-3-4", "u-n--1-2-3", "x" * 200, "u-n-1-2-" + "0" * 31 + "-0"):
        assert PredictionId.parse(text) is None


def test_of_a_row_that_is_erased_a_sink_is_told_nothing_more() -> None:
    told = msgspec.structs.replace(batch(3), head=b'{"model":"m",', texts=[b'"a":0}', b'"a":1}', b'"a":2}'])
    assert told.without([1]).texts == [b'"a":0}', b"", b'"a":2}']
