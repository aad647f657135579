"""Batches, limits and swaps: who is computed together, who is turned away, and by which version."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import httpx
import numpy as np
import pytest

from app.engine import ModelQueue
from driftline.rows.rows import Rows
from driftline.spec import ModelSpec, parse
from driftline.store.artifacts import Artifacts
from driftline.store.connection import RedisConnection
from tests.app.conftest import AppClient, Start
from tests.app.slow import GATE
from tests.services import spec
from tests.versions import Versions
from tests.waiting import SECONDS, until_async

pytestmark = pytest.mark.anyio

FACTORY = "tests.app.slow:network"
ROW = [0.0] * 8


def slow(seconds: float, **serving: Any) -> dict[str, Any]:
    return spec(network={"factory": FACTORY, "arguments": {"seconds": seconds}}, serving=serving)


async def create(client: AppClient, body: dict[str, Any]) -> None:
    answer = await client.post("/v1/models", json=body)
    assert answer.status_code == 201, answer.text


async def predict(client: AppClient, rows: int = 1, model: str = "weather", query: str = "") -> httpx.Response:
    return await client.post(f"/v1/models/{model}/predict{query}", json={"inputs": [ROW] * rows})


def loaded(client: AppClient, name: str = "weather") -> ModelQueue:
    model = client.services.version_watcher.loaded(name)
    assert model is not None
    return model


async def computed(client: AppClient) -> list[int]:
    """How many rows each batch had, without those of the warm-up."""
    model = loaded(client)
    rows: list[int] = model.snapshot.module.network.rows  # type: ignore[assignment]
    return rows


async def warmed(client: AppClient) -> list[int]:
    await predict(client)
    rows = await computed(client)
    rows.clear()
    return rows


async def test_what_is_queued_while_a_batch_runs_is_the_next_batch(start: Start) -> None:
    client = await start(factories=[FACTORY])
    await create(client, slow(0.0))
    rows = await warmed(client)
    with GATE.held():
        first = asyncio.create_task(predict(client))
        await until_async(GATE.has_begun.is_set)
        later = [asyncio.create_task(predict(client, 2)) for _ in range(5)]
        await until_async(lambda: loaded(client).queued_rows == 10)
    answers = await asyncio.gather(first, *later)
    assert {answer.status_code for answer in answers} == {200}
    assert rows == [1, 10]


async def test_a_batch_is_no_larger_than_its_limit(start: Start) -> None:
    client = await start(factories=[FACTORY])
    await create(client, slow(0.0, max_batch=4))
    rows = await warmed(client)
    with GATE.held():
        first = asyncio.create_task(predict(client))
        await until_async(GATE.has_begun.is_set)
        later = [asyncio.create_task(predict(client, count)) for count in (*[1] * 9, 6)]
        await until_async(lambda: loaded(client).queued_rows == 15)
    await asyncio.gather(first, *later)
    assert sum(rows) == 16 and sorted(rows)[-2:] == [4, 6], "one request is never torn"


async def test_a_batch_waits_for_more_where_the_model_says_so(start: Start) -> None:
    client = await start(factories=[FACTORY])
    await create(client, slow(0.0, max_wait=0.05, max_batch=5))
    rows = await warmed(client)
    await predict(client)
    assert rows == [1], "not for ever"
    model = loaded(client)
    patient = replace(model.snapshot.limits, max_wait=3600, deadline=3600)
    model.snapshot = replace(model.snapshot, limits=patient)
    waiting = [asyncio.create_task(predict(client)) for _ in range(4)]
    await until_async(lambda: model.queued_rows == 4)
    assert rows == [1]
    async with asyncio.timeout(SECONDS):
        await asyncio.gather(*waiting, predict(client))
    assert rows == [1, 5], "a full batch does not wait"


async def test_a_missed_deadline_is_answered_while_the_batch_still_runs(start: Start) -> None:
    client = await start(factories=[FACTORY])
    await create(client, slow(0.0, deadline=1))
    rows = await warmed(client)
    with GATE.held():
        running = asyncio.create_task(predict(client))
        await until_async(lambda: GATE.has_begun.is_set() or running.done())
        for answer in await asyncio.gather(running, predict(client)):
            assert (answer.status_code, answer.json()["error"]["code"]) == (504, "late")
        assert rows == []
    assert 'driftline_predictions_late_total{model="weather"} 2.0' in (await client.get("/metrics")).text


class Caller:
    def __init__(self, disconnected: bool) -> None:
        self.disconnected = disconnected


async def test_a_client_that_went_away_is_not_computed(start: Start) -> None:
    client = await start(factories=[FACTORY])
    await create(client, slow(0.0))
    rows = await warmed(client)
    engine, model = client.services.engine, loaded(client)
    inputs = Rows({"inputs": np.zeros((1, 8), np.float32)})
    here, gone = Caller(False), Caller(False)
    with GATE.held():
        first = engine.submit(model, inputs, here)
        await until_async(GATE.has_begun.is_set)
        second = engine.submit(model, inputs, gone)
        third = engine.submit(model, inputs, here)
        gone.disconnected = True
    await first
    await third
    assert rows == [1, 1]
    assert second.cancelled()


async def test_a_busy_model_delays_another_by_a_batch_at_most(start: Start) -> None:
    client = await start(factories=[FACTORY])
    await create(client, slow(0.0, max_batch=1, max_queue=1000))
    await create(client, spec("quick"))
    await predict(client)
    await predict(client, model="quick")
    with GATE.held():
        busy = [asyncio.create_task(predict(client)) for _ in range(10)]
        await until_async(GATE.has_begun.is_set)
        quick = asyncio.create_task(predict(client, model="quick"))
        await until_async(lambda: loaded(client, "quick").running is not None)
        GATE.release(3)
        assert (await quick).status_code == 200
        assert sum(task.done() for task in busy) <= 3
    await asyncio.gather(*busy)


async def test_a_network_that_raises_fails_its_requests_and_no_more(start: Start) -> None:
    client = await start(factories=[FACTORY])
    await create(client, slow(0.0))
    await warmed(client)
    network = loaded(client).snapshot.module.network
    network.seconds = "no number"  # type: ignore[assignment]
    answer = await predict(client)
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "network_failed")
    network.seconds = 0.0  # type: ignore[assignment]
    assert (await predict(client)).status_code == 200


@pytest.fixture
async def versions(connection: RedisConnection, client: AppClient) -> Versions:
    await create(client, spec())
    found = Versions(connection, Artifacts(client.services.settings.data_dir / "artifacts"))
    await found.take("weather")
    return found


async def served_version(client: AppClient, version: int) -> dict[str, Any]:
    async def answer() -> dict[str, Any] | None:
        found: dict[str, Any] = (await predict(client)).json()
        return found if found["version"] == version else None

    found = await until_async(answer)
    assert found is not None
    return found


async def test_a_swap_is_answered_by_one_version_or_the_other(client: AppClient, versions: Versions) -> None:
    wrong: list[Any] = []
    over = asyncio.Event()

    async def ask() -> None:
        newest = 0
        while not over.is_set():
            answer = (await predict(client, 3)).json()
            constants = {round(row["probabilities"][1], 3) for row in answer["predictions"]}
            if answer["version"] > 1 and constants != {0.1 if answer["version"] % 2 else 0.9}:
                wrong.append(answer)
            if answer["version"] < newest:
                wrong.append((newest, answer))
            newest = answer["version"]

    asking = [asyncio.create_task(ask()) for _ in range(8)]
    for number in range(2, 60):
        assert await versions.publish(versions.constant(0.1 if number % 2 else 0.9)) == number
    await served_version(client, 59)
    over.set()
    await asyncio.gather(*asking)
    assert not wrong


async def test_a_swap_reuses_the_memory_of_the_version_before_the_last(client: AppClient, versions: Versions) -> None:
    modules = []
    for number in range(2, 8):
        await versions.publish(versions.constant(0.3))
        await served_version(client, number)
        modules.append(id(loaded(client).snapshot.module))
    assert len(set(modules[1:])) == 2


async def test_a_swap_may_bring_another_structure_and_more_classes(client: AppClient, versions: Versions) -> None:
    larger = parse(ModelSpec, spec(classes=[0, 1, 2], network={"preset": "mlp", "hidden": [5]}))
    await served_version(client, 1)
    await versions.publish(versions.constant(0.9, larger))
    answer = await served_version(client, 2)
    assert answer["classes"] == [0, 1, 2]
    assert answer["predictions"][0]["label"] == 2


async def test_a_damaged_version_is_not_served_and_the_next_one_is(
    client: AppClient, versions: Versions, caplog: pytest.LogCaptureFixture
) -> None:
    await served_version(client, 1)
    put = versions.artifacts.put

    def damage(uid: str, data: bytes) -> str:
        digest = put(uid, data)
        (versions.artifacts.root / uid / digest).write_bytes(data[:-1])
        return digest

    versions.version_files.artifacts.put = damage  # type: ignore[method-assign]
    await versions.publish(versions.constant(0.9))
    await until_async(lambda: "stays at its version" in caplog.text)
    assert (await predict(client)).json()["version"] == 1
    versions.version_files.artifacts.put = put  # type: ignore[method-assign]
    await versions.publish(versions.constant(0.9))
    await served_version(client, 3)


async def test_a_pinned_version_answers_whatever_is_live(client: AppClient, versions: Versions) -> None:
    for probability in (0.2, 0.7):
        await versions.publish(versions.constant(probability))
    await served_version(client, 3)
    pinned = (await predict(client, query="?version=2")).json()
    assert pinned["version"] == 2
    assert pinned["predictions"][0]["probabilities"][1] == pytest.approx(0.2, abs=1e-3)
    for number, status in (("9", 404), ("x", 422), ("", 422), ("-1", 422)):
        assert (await predict(client, query=f"?version={number}")).status_code == status
    assert (await predict(client, query="?versoin=2")).status_code == 422
    identifier = pinned["predictions"][0]["id"]
    item = {"prediction_id": identifier, "label": 1}
    assert (await client.post("/v1/models/weather/feedback", json={"items": [item]})).status_code == 202
    (entry,) = await client.services.log(versions.uid).read(0, 10)
    assert entry.record.route == "pinned"  # type: ignore[union-attr]


@pytest.mark.parametrize(("record", "share", "kept"), [("all", None, 40), ("none", None, 0), ("sample", 0.5, None)])
async def test_what_is_recorded_has_an_id_and_can_be_joined(
    client: AppClient, record: str, share: float | None, kept: int | None
) -> None:
    await create(client, spec(serving={"record": record, "record_share": share}))
    ids = [(await predict(client)).json()["predictions"][0]["id"] for _ in range(40)]
    known = [identifier for identifier in ids if identifier is not None]
    assert len(known) == kept if kept is not None else 5 < len(known) < 35
    for identifier in known[:3]:
        item = {"prediction_id": identifier, "label": 1}
        assert (await client.post("/v1/models/weather/feedback", json={"items": [item]})).status_code == 202


async def test_a_canary_answers_its_share_and_says_so(client: AppClient, versions: Versions) -> None:
    canary = await versions.publish(versions.constant(0.9), share=0.5)

    async def answers() -> list[httpx.Response]:
        return [await predict(client) for _ in range(40)]

    async def has_begun() -> bool:
        return canary in {answer.json()["version"] for answer in await answers()}

    async def is_over() -> bool:
        return {answer.json()["version"] for answer in await answers()} == {1}

    await until_async(has_begun)
    found = await answers()
    by_canary = [answer.json() for answer in found if answer.json()["version"] == canary]
    assert 5 < len(by_canary) < 35 and {answer.json()["version"] for answer in found} == {1, canary}
    assert all(answer["predictions"][0]["probabilities"][1] == pytest.approx(0.9) for answer in by_canary)
    label = {"prediction_id": by_canary[0]["predictions"][0]["id"], "label": 1}
    answer = await client.post("/v1/models/weather/feedback", json={"items": [label]})
    assert answer.status_code == 202, answer.text
    (entry,) = await client.services.log(versions.uid).read(0, 1)
    assert entry.record.route == "canary" and entry.record.answer.version == canary  # type: ignore[union-attr]
    await versions.end_canary()
    await until_async(is_over)


@pytest.mark.parametrize("is_own", [False, True])
async def test_a_quick_model_is_computed_on_the_loop_and_a_network_of_ones_own_never(
    start: Start, is_own: bool
) -> None:
    client = await start(factories=[FACTORY])
    await create(client, slow(0.0) if is_own else spec())
    await predict(client)
    cost = loaded(client).cost
    cost.most_seconds = cost.far_too_long = SECONDS
    for _ in range(cost.measured):
        assert (await predict(client)).status_code == 200
    ran, run = [], client.services.engine.thread.run

    async def watched(*arguments: Any) -> Any:
        ran.append(arguments)
        return await run(*arguments)

    client.services.engine.thread.run = watched  # type: ignore[assignment]
    assert (await predict(client)).status_code == 200
    assert len(ran) == is_own
    # What of this size was never measured is not taken to be quick.
    assert (await predict(client, rows=4)).status_code == 200
    assert len(ran) == is_own + 1
