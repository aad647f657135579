"""What a caller sees of predictions, items and keys is its owner's: what others do changes no answer that it gets."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftline.errors import InvalidInput
from driftline.store.connection import RedisConnection
from driftline.store.erasure import Erasure, facts_of
from driftline.store.facts import KEY, fact_of_key, key_of_fact
from driftline.store.owners import EVERYTHING, SEPARATOR, Access, Owners, owner_of, shown_name, stored_name
from driftline.store.selection import Selection, find
from tests.ingest.test_facts import ROW, Bench, made

pytestmark = pytest.mark.anyio
A, B = Access("a-key", False), Access("b-key", False)
ADMIN = Access("", True)


@pytest.fixture
def store_url(embedded: str) -> str:
    return embedded


@pytest.fixture
async def bench(connection: RedisConnection) -> Bench:
    return await made(connection)


@given(name=st.text(min_size=1), owner=st.sampled_from(["", "a", "key:", "p:x"]))
@settings(max_examples=200)
def test_names_of_different_owners_are_different_and_are_read_back(name: str, owner: str) -> None:
    stored = stored_name(name, owner)
    assert (owner_of(stored), shown_name(stored)) == (owner, name)
    assert key_of_fact(fact_of_key(stored)) == stored
    assert (key_of_fact(stored) is None) != name.startswith(KEY)
    assert stored == name or owner or SEPARATOR in name, "what has no owner is called as ever"


NAMES: list[dict[str, Any]] = [
    {"key": "order"},
    {"key": "order", "inputs": ROW},
    {"id": "mine", "inputs": ROW},
    {"id": "mine", "key": "order"},
    {"id": "mine", "revise": True},
    {"prediction": 0},
    {"prediction": 1},
    {"prediction": 0, "id": "mine"},
]
DEEDS = st.lists(
    st.tuples(st.sampled_from(["a", "b"]), st.sampled_from(NAMES), st.integers(0, 1), st.booleans()),
    min_size=4,
    max_size=9,
)


@given(deeds=DEEDS)
@settings(max_examples=12)
async def test_no_answer_to_one_owner_depends_on_what_another_does(connection: RedisConnection, deeds: Any) -> None:
    """``b`` is told the prediction ids of ``a`` too; where ``a`` does nothing, these are of nothing."""
    both, alone = await made(connection), await made(connection)
    told = [await answers(both, deeds, {"a", "b"}), await answers(alone, deeds, {"b"})]
    assert told[0] == told[1]


async def answers(bench: Bench, deeds: Any, who: set[str]) -> list[Any]:
    """What ``b`` is answered, with the predictions named by their place."""
    (own,) = await bench.predict("order", owner="b-key")
    (other,) = await bench.predict("order", owner="a-key") if "a" in who else (f"{own[:-1]}7",)
    names = {"a": (other, own), "b": (own, other)}
    told: list[Any] = []
    for name, about, label, is_revision in deeds:
        if name not in who:
            continue
        item = {each: value for each, value in about.items() if each != "prediction"} | {"label": label}
        if "prediction" in about:
            item["prediction_id"] = names[name][about["prediction"]]
        access = A if name == "a" else B
        (outcome,) = await bench.send(item | ({"revise": True} if is_revision else {}), access=access)
        if name == "b":
            message = "" if outcome.error is None else outcome.error.message
            told.append(_plain(names["b"], str((outcome.id, outcome.status, message))))
    for asked in ("mine", "key:order", *(f"p:{each}" for each in names["b"])):
        (known,) = await bench.log.find_seen([asked], B)
        if known is not None:
            # Numbers are those of the log, which all share.
            assert known.said is not None
            told.append((known.said.text, known.said.revises is None, known.exception and known.exception[0]))
        else:
            told.append(None)
    return told


def _plain(names: tuple[str, str], text: str) -> str:
    return text.replace(names[0], "OWN").replace(names[1], "OTHER")


async def test_ids_and_keys_of_two_owners_do_not_collide(bench: Bench) -> None:
    await bench.predict("order", owner=A.owner)
    await bench.predict("order", owner=B.owner)
    for access, label in ((A, 1), (B, 0), (ADMIN, 1)):
        item = {"id": "mine", "inputs": ROW, "label": label}
        assert await bench.statuses(item, item, access=access) == ["queued", "duplicate"]
    for access, label in ((A, 1), (B, 0)):
        assert await bench.statuses({"key": "order", "label": label}, access=access) == ["queued"]
    assert [(shown_name(item.id), owner_of(item.id), item.label) for _, item in await bench.records()] == [
        *(("mine", owner, label) for owner, label in (("a-key", 1), ("b-key", 0), ("", 1))),
        *(("key:order", owner, label) for owner, label in (("a-key", 1), ("b-key", 0))),
    ]
    assert await Owners(bench.log.connection, bench.log.uid).everyone() == ["", "a-key", "b-key"]


async def test_an_admin_labels_and_asks_for_what_is_anybodys(bench: Bench) -> None:
    (one,) = await bench.predict("order", owner=A.owner)
    assert await bench.statuses({"prediction_id": one, "label": 1}, access=B) == ["prediction_unknown"]
    assert await bench.statuses({"key": "order", "label": 1}, access=B) == ["key_unknown"]
    assert await bench.statuses({"prediction_id": one, "label": 1}, access=ADMIN) == ["queued"]
    # It is the label of the fact, also for whose it is.
    assert await bench.statuses({"key": "order", "label": 1}, {"key": "order", "label": 0}, access=A) == [
        "duplicate",
        "conflict",
    ]
    (known,) = await bench.log.find_seen(["key:order"], ADMIN)
    assert known is not None and known.n == 1
    # Where the prediction is gone a resend of either is known all the same, and to nobody else.
    redis, keys = bench.log.connection.redis, bench.log.keys
    await redis.delete(keys.predictions(bench.writer.nonce))
    for access, status in ((ADMIN, "duplicate"), (A, "duplicate"), (B, "prediction_not_stored")):
        assert await bench.statuses({"prediction_id": one, "label": 1}, access=access) == [status]


async def test_a_source_of_the_instance_joins_the_newest_prediction_of_any_owner(bench: Bench) -> None:
    await bench.predict("a", owner=A.owner)
    assert await bench.statuses({"key": "a", "label": 1}, access=EVERYTHING) == ["queued"]
    ((_, item),) = await bench.records()
    assert owner_of(item.id) == A.owner
    assert not isinstance((await bench.predictions.find_keys(["b"]))["b"], InvalidInput)
    assert isinstance((await bench.predictions.find_keys(["b"], A))["b"], InvalidInput), "it is nobody's"


async def test_what_is_forgotten_under_a_key_is_forgotten_of_whoever_calls_something_so(bench: Bench) -> None:
    for access in (A, B):
        await bench.predict("order", owner=access.owner)
        assert await bench.statuses({"key": "order", "label": 1}, access=access) == ["queued"]
    (plain,) = await bench.predict(None, owner=A.owner)
    assert await bench.statuses({"prediction_id": plain, "label": 1}, access=A) == ["queued"]
    selection = Selection(keys=("order",), ids=(plain, "never"))
    records = await find(bench.log, selection, 100, 0)
    erasure = Erasure(bench.log.connection, bench.log.uid, 0)
    predicted = facts_of(await erasure.predicted(records))
    assert (records.numbers, len(predicted)) == ({1, 2, 3}, 3)
    assert selection.unknown({*records.known, *predicted}) == ["never"]
    await erasure.receipts(records)
    for access in (A, B):
        assert await bench.statuses({"key": "order", "label": 0, "revise": True}, access=access) == ["forgotten"]
