"""One live label a fact, however it is named: by its id, its prediction, or its user's own key."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftline.ingest import feedback
from driftline.ingest.feedback import ItemOutcome
from driftline.ingest.feedback_items import FeedbackDecoder
from driftline.records import Item
from driftline.spec import ModelSpec, parse
from driftline.store.catalog import Catalog
from driftline.store.connection import RedisConnection
from driftline.store.facts import fact_of
from driftline.store.log import Cursor, Log
from driftline.store.owners import EVERYTHING, Access, stored_name
from driftline.store.prediction_batches import PredictionBatch
from driftline.store.predictions import PredictionReader, PredictionWriter
from driftline.store.redis_keys import new_uid
from driftline.store.watermarks import Cap
from tests.store.conftest import SPEC, first_version

pytestmark = pytest.mark.anyio
ROW = [0.5, 0.25]


@pytest.fixture
def store_url(embedded: str) -> str:
    return embedded


class Bench:
    """A model of two numbers, whose rows were predicted: the first two under the keys ``a`` and ``b``, the third under none."""

    def __init__(self, connection: RedisConnection, uid: str) -> None:
        self.log = Log(connection, uid, cap=Cap(10_000), receipt_seconds=3600)
        self.predictions = PredictionReader(connection, uid, 3600, 0.01, 0.01)
        self.writer = PredictionWriter(connection, horizon=3600, budget=2**20)
        self.decoder = FeedbackDecoder(parse(ModelSpec, SPEC))
        self.ids: list[str] = []

    async def predict(self, *keys: str | None, owner: str = "") -> list[str]:
        entry, inputs = self.writer.next_entry(), np.array([ROW] * len(keys), np.float32)
        named = {row: stored_name(key, owner) for row, key in enumerate(keys) if key is not None}
        outputs = np.full((len(keys), 2), 0.5, np.float32).tobytes()
        batch = PredictionBatch(1, "live", len(keys), {"inputs": inputs.tobytes()}, outputs, [1] * len(keys))
        self.writer.record(self.log.uid, entry, msgspec.structs.replace(batch, keys=named, owners={0: owner}))
        await self.writer.flush()
        return [f"{self.writer.prefix(self.log.uid, entry)}{row:x}" for row in range(len(keys))]

    async def send(
        self, *items: dict[str, Any], cursor: Cursor | None = None, access: Access = EVERYTHING
    ) -> list[ItemOutcome]:
        raw = [json.dumps(item).encode() for item in items]
        return await feedback.append(
            self.log, self.predictions, self.decoder, raw, None, cursor, caller=access.owner, access=access
        )

    async def statuses(self, *items: dict[str, Any], access: Access = EVERYTHING) -> list[str]:
        outcomes = await self.send(*items, access=access)
        return [outcome.error.code if outcome.error is not None else outcome.status for outcome in outcomes]

    async def records(self) -> list[tuple[int, Item]]:
        entries = await self.log.read(0, 10_000)
        return [(entry.n, entry.record) for entry in entries if isinstance(entry.record, Item)]


@pytest.fixture
async def bench(connection: RedisConnection) -> Bench:
    return await made(connection)


async def made(connection: RedisConnection) -> Bench:
    uid = new_uid()
    await Catalog(connection).create(uid, {**SPEC, "name": f"m{uid}"}, first_version())
    await connection.time()
    bench = Bench(connection, uid)
    bench.ids = await bench.predict("a", "b", None)
    return bench


async def test_a_label_by_key_joins_the_newest_prediction_under_it(bench: Bench) -> None:
    (newest,) = await bench.predict("a")
    assert await bench.statuses({"key": "a", "label": 1}) == ["queued"]
    ((_, item),) = await bench.records()
    assert (item.id, item.fact, item.answer is not None) == ("key:a", "", True)
    assert np.frombuffer(item.inputs["inputs"], np.float32).tolist() == ROW
    assert await bench.statuses({"prediction_id": newest, "label": 1}) == ["duplicate"]


async def test_a_fact_is_learned_once_whatever_it_is_called(bench: Bench) -> None:
    one, two, plain = bench.ids
    names: list[dict[str, Any]] = [{"key": "a"}, {"prediction_id": one}, {"prediction_id": one, "id": "mine"}]
    assert await bench.statuses(*({**name, "label": 1} for name in names)) == ["queued", "duplicate", "duplicate"]
    assert await bench.statuses(*({**name, "label": 0} for name in names)) == ["conflict"] * 3
    twice = [{"prediction_id": plain, "id": identifier, "label": 0} for identifier in ("x", "y")]
    assert await bench.statuses(*twice, {"prediction_id": plain.upper(), "label": 0}) == [
        "queued",
        "duplicate",
        "prediction_unknown",
    ]
    assert await bench.statuses({"prediction_id": two, "label": 1, "weight": 2}) == ["queued"]
    assert await bench.statuses({"key": "b", "label": 1, "weight": 2}) == ["duplicate"]
    assert await bench.statuses({"inputs": ROW, "key": "own", "label": 1, "id": "z"}) == ["queued"]
    assert await bench.statuses({"inputs": ROW, "key": "own", "label": 1}) == ["duplicate"]
    assert len(await bench.records()) == 4
    known = [await bench.log.find(each) for each in ("mine", "y", "key:own", f"p:{one}")]
    assert [each and each.n for each in known] == [1, 2, 4, 1], "whatever was acknowledged has a receipt"


async def test_a_revision_by_the_id_of_a_label_is_of_its_fact(bench: Bench) -> None:
    """It once left two labels of the fact, and a later revision by key was tried for ever."""
    assert await bench.statuses({"id": "mine", "key": "a", "label": 0}) == ["queued"]
    assert await bench.statuses({"id": "mine", "inputs": ROW, "label": 1, "revise": True}) == ["queued"]
    assert await bench.statuses({"key": "a", "label": 1}, {"key": "a", "label": 0, "revise": True}) == [
        "duplicate",
        "queued",
    ]
    assert [(n, item.revises and item.revises.n, fact_of(item)) for n, item in await bench.records()] == [
        (1, None, "key:a"),
        (2, 1, "key:a"),
        (3, 2, "key:a"),
    ]


async def test_an_id_that_stands_for_another_record_does_not_hold_a_revision_up(bench: Bench) -> None:
    """As where the log no longer holds the record of the id, so that its fact is not known."""
    assert await bench.statuses({"id": "mine", "key": "a", "label": 0}) == ["queued"]
    await bench.log.connection.redis.set(bench.log.keys.item("mine"), "7:00ff.01")
    assert await bench.statuses({"key": "a", "label": 1, "revise": True}) == ["queued"]
    assert [item.revises and item.revises.n for _, item in await bench.records()] == [None, 1]


async def test_the_label_keeps_its_type(bench: Bench) -> None:
    decoder = FeedbackDecoder(parse(ModelSpec, {**SPEC, "name": "open", "classes": "open"}))
    bench.decoder = decoder
    assert await bench.statuses({"key": "a", "label": 1}, {"prediction_id": bench.ids[0], "label": "1"}) == [
        "queued",
        "conflict",
    ]


async def test_what_an_item_is_about_is_told_once(bench: Bench) -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"prediction_id": bench.ids[0], "key": "a"}, "key"),
        ({"prediction_id": bench.ids[0], "inputs": ROW}, "inputs"),
        ({}, "one of"),
        ({"id": "x"}, "one of"),
        ({"key": ""}, "key: not between 1 and 200"),
        ({"key": "k" * 201}, "key: not between 1 and 200"),
        ({"inputs": ROW, "id": f"p:{bench.ids[2]}"}, "another prediction"),
        ({"inputs": ROW, "id": "key:a"}, "another key"),
    ]
    for about, message in wrong:
        (outcome,) = await bench.send({**about, "label": 1})
        assert outcome.error is not None and message in outcome.error.message, about
    assert await bench.records() == []


async def test_a_key_that_is_not_known_is_named_and_one_that_was_labelled_is_recognised(bench: Bench) -> None:
    (outcome,) = await bench.send({"key": "never", "label": 1})
    assert outcome.error is not None and outcome.error.code == "key_unknown"
    assert outcome.error.details == {"field": "key", "value": "never"}
    await bench.send({"prediction_id": bench.ids[0], "label": 1, "id": "mine"})
    redis = bench.log.connection.redis
    await redis.delete(bench.log.keys.key("a"), bench.log.keys.predictions(bench.writer.nonce))
    assert await bench.statuses({"key": "a", "label": 1}, {"key": "a", "label": 0}) == ["duplicate", "conflict"]
    by_id = [{"prediction_id": bench.ids[0], "label": 1, "id": each} for each in ("mine", "other")]
    assert (await bench.statuses(*by_id))[0] == "duplicate"


async def test_a_correction_replaces_the_live_label_and_names_it(bench: Bench) -> None:
    await bench.send({"prediction_id": bench.ids[0], "label": 1, "weight": 3})
    assert await bench.statuses({"key": "a", "label": 0, "revise": True}) == ["queued"]
    (_, first), (_, second) = await bench.records()
    assert first.revises is None and second.revises is not None
    assert (second.revises.n, second.revises.label, second.revises.weight) == (1, 1, 3.0)
    assert second.answer == first.answer and fact_of(second) == fact_of(first) == "key:a"
    assert await bench.statuses({"key": "a", "label": 0, "revise": True}) == ["duplicate"]
    assert await bench.statuses({"key": "a", "label": 0}) == ["duplicate"]
    assert await bench.statuses({"key": "a", "label": 1}) == ["conflict"]
    known = [await bench.log.find(each) for each in (f"p:{bench.ids[0]}", "key:a")]
    assert [each and (each.n, each.exception) for each in known] == [(1, ("revised", "2")), (2, None)]
    assert known[1] is not None and known[1].said is not None and known[1].said.revises == 1
    assert [item.label for item in await bench.log.latest(10, 100)] == [0], "a retrain learns the live label alone"


async def test_a_correction_may_name_an_item_by_its_id_alone_while_the_log_holds_it(bench: Bench) -> None:
    await bench.send({"inputs": ROW, "label": 1, "id": "mine"})
    assert await bench.statuses({"id": "mine", "label": 0, "revise": True}) == ["queued"]
    assert await bench.statuses({"id": "nobody", "label": 0, "revise": True}) == ["unknown_item"]
    records = await bench.records()
    assert [item.inputs for _, item in records] == [records[0][1].inputs] * 2
    await bench.log.connection.redis.xtrim(bench.log.keys.log, maxlen=0)


async def test_a_first_label_may_be_sent_as_a_correction(bench: Bench) -> None:
    assert await bench.statuses({"key": "a", "label": 0, "revise": True}) == ["queued"]
    ((_, item),) = await bench.records()
    assert item.revises is None


async def test_of_a_source_corrections_and_what_they_correct_may_come_together(bench: Bench) -> None:
    items = [{"key": "a", "label": label, "revise": True, "id": f"e{n}"} for n, label in enumerate([1, 0, 1])]
    cursor = Cursor("stream", "", "3")
    assert [each.status for each in await bench.send(*items, cursor=cursor)] == ["queued"] * 3
    assert await bench.log.connection.redis.hget(bench.log.keys.sources, "stream") == b"3"
    await bench.send(*items)
    assert [item.revises and item.revises.n for _, item in await bench.records()] == [None, 1, 2]


SENDS = st.lists(
    st.builds(
        lambda name, own, label, revise: {**name, **own, "label": label, **({"revise": True} if revise else {})},
        st.sampled_from([{"key": "a"}, {"key": "b"}, {"of": 0}, {"of": 1}, {"of": 2}, {"inputs": ROW, "key": "c"}]),
        st.sampled_from([{}, {}, {"id": "x"}, {"id": "y"}]),
        st.sampled_from([0, 1]),
        st.booleans(),
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=40)
@given(sends=SENDS, cuts=st.sets(st.integers(1, 11)))
async def test_whatever_is_sent_in_whatever_parts_a_fact_has_one_live_label(
    connection: RedisConnection, sends: Sequence[dict[str, Any]], cuts: set[int]
) -> None:
    bench = await made(connection)
    items = [
        {
            **{name: value for name, value in send.items() if name != "of"},
            **({"prediction_id": bench.ids[send["of"]]} if "of" in send else {}),
        }
        for send in sends
    ]
    ends = [*sorted(cut for cut in cuts if cut < len(items)), len(items)]
    for first, end in zip([0, *ends], ends, strict=False):
        await bench.send(*items[first:end])
    records = await bench.records()
    by_number, live = dict(records), dict[str, int]()
    for n, item in records:
        former = live.get(fact_of(item))
        assert (item.revises.n if item.revises is not None else None) == former, "it takes the place of the live label"
        if item.revises is not None:
            said = by_number[item.revises.n]
            assert (item.revises.label, item.revises.weight) == (said.label, said.weight) != (item.label, item.weight)
        live[fact_of(item)] = n
    for fact, n in live.items():
        found = await bench.log.find_fact(fact)
        assert found is not None and found[1].n == n and found[0] == by_number[n].id
    # What is sent again as it is changes nothing: neither the log, nor which labels are live.
    await bench.send(*(item for item in items if "revise" not in item))
    assert await bench.records() == records
    assert len(await bench.log.latest(len(records), len(records))) == len(live)
