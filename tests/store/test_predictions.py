"""Predictions wait for their labels, and say why when they are not there."""

from __future__ import annotations

import asyncio

import msgspec
import numpy as np
import pytest

from driftline.errors import InvalidInput, Unavailable
from driftline.store.connection import RedisConnection
from driftline.store.predictions import EntryId, PredictionBatch, PredictionId, PredictionReader, PredictionWriter
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
    inputs, answer, route, _ = found
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


async def test_an_unreachable_store_delays_nothing_and_loses_only_the_oldest(
    connection: RedisConnection, stored: PredictionReader, uid: str
) -> None:
    unreachable = RedisConnection("redis://127.0.0.1:1", "x:")
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
