"""What one model's own code or one background task raises concerns nothing else, and is shown."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest
import torch

from app.services import Services
from driftline.learning.learner import Learner
from driftline.store.artifacts import Artifacts
from driftline.store.connection import RedisConnection
from tests.app.conftest import AppClient, Start, instance_alarms
from tests.services import spec
from tests.versions import Versions
from tests.waiting import SECONDS

pytestmark = pytest.mark.anyio

FACTORY = "tests.app.fragile:network"
ROW = [0.0] * 8


def fragile(name: str, kind: str = "error") -> dict[str, Any]:
    network = {"factory": FACTORY, "arguments": {"kind": kind}}
    return spec(name, network=network, recipe={"strategy": "replay"})


async def predict(client: AppClient, model: str, rows: int = 1) -> httpx.Response:
    return await client.post(f"/v1/models/{model}/predict", json={"inputs": [ROW] * rows})


async def until(condition: Callable[[], Awaitable[Any]]) -> Any:
    async with asyncio.timeout(SECONDS):
        while not (found := await condition()):
            await asyncio.sleep(0.02)
    return found


async def serves(client: AppClient, model: str, version: int) -> None:
    async def is_served() -> bool:
        return bool((await predict(client, model)).json()["version"] == version)

    await until(is_served)


async def alarm(client: AppClient, model: str) -> dict[str, Any] | None:
    alarms = (await client.get(f"/v1/models/{model}/metrics")).json()["alarms"]
    return next((found for found in alarms if found["kind"] == "swap_failed"), None)


class Publish:
    """Publishes versions of a model with a fragile network."""

    def __init__(self, versions: Versions) -> None:
        self.versions = versions

    async def __call__(self, fails: bool, share: float | None = None) -> int:
        learner = Learner.create(self.versions.spec, seed=1, factories=[FACTORY])
        with torch.no_grad():
            learner.promotion.champion.network.get_parameter("fails").fill_(float(fails))
        return await self.versions.publish(learner, share)


@pytest.fixture
async def client(start: Start) -> AsyncIterator[AppClient]:
    yield await start(factories=[FACTORY])


@pytest.fixture
async def publish(client: AppClient, connection: RedisConnection) -> Callable[..., Awaitable[Publish]]:
    async def made(body: dict[str, Any]) -> Publish:
        answer = await client.post("/v1/models", json=body)
        assert answer.status_code == 201, answer.text
        versions = Versions(connection, Artifacts(client.services.settings.data_dir / "artifacts"))
        await versions.take(body["name"])
        await serves(client, body["name"], 1)
        return Publish(versions)

    return made


@pytest.mark.parametrize("kind", ["error", "exit"])
@pytest.mark.parametrize("share", [None, 0.5])
async def test_a_network_that_raises_in_warm_up_stops_the_swaps_of_no_other_model(
    client: AppClient, publish: Callable[..., Awaitable[Publish]], kind: str, share: float | None
) -> None:
    bad, good = await publish(fragile("bad", kind)), await publish(fragile("good"))
    refused = await bad(fails=True, share=share)
    why = (await until(lambda: alarm(client, "bad")))["message"]
    assert f"the network of version {refused}, on 8 rows of zeros, failed" in why
    assert await good(fails=False) == 2
    await serves(client, "good", 2)
    assert (await predict(client, "bad", rows=8)).json()["version"] == 1, "it stays at the version that works"
    assert (await client.get("/v1/models/bad")).json()["swap_failure"] == why
    assert "swap_failure" not in (await client.get("/v1/models/good")).json()
    ready = await client.get("/readyz")
    assert ready.status_code == 200
    assert await instance_alarms(client) == [
        {"kind": "swap_failed", "message": why, "state": "standing", "model": "bad"}
    ]
    assert "driftline_swap_failures_total 1.0" in (await client.get("/metrics")).text
    following = await bad(fails=False)
    await serves(client, "bad", following)
    if share is not None:
        await bad.versions.end_canary()

    async def is_over() -> bool:
        return await alarm(client, "bad") is None

    await until(is_over)
    assert await instance_alarms(client) == []


async def test_a_network_that_fails_from_its_first_version_on_serves_what_it_can(
    client: AppClient, publish: Callable[..., Awaitable[Publish]], start: Start
) -> None:
    bad = await publish(fragile("bad"))
    await bad(fails=True)
    other = await start(factories=[FACTORY])
    assert (await predict(other, "bad")).json()["version"] == 2, "nothing else could answer"
    assert (await predict(other, "bad", rows=8)).json()["error"]["code"] == "network_failed"
    assert "8 rows" in (await client.get("/v1/models/bad")).json()["swap_failure"]
    number = await bad(fails=True)
    await serves(other, "bad", number)
    assert (await predict(client, "bad")).json()["version"] == 1


async def test_a_network_that_asks_the_process_to_end_fails_its_requests_and_no_more(
    client: AppClient, publish: Callable[..., Awaitable[Publish]]
) -> None:
    await publish(fragile("bad", "exit"))
    model = client.services.version_watcher.loaded("bad")
    assert model is not None
    model.snapshot.module.network.get_parameter("fails").data.fill_(1.0)
    answer = await predict(client, "bad", rows=8)
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "network_failed")
    assert (await predict(client, "bad")).status_code == 200


async def test_a_background_task_that_dies_is_started_again_and_shown(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_broken = True

    def sample(services: Services) -> None:
        if is_broken:
            raise ZeroDivisionError("nothing to divide by")

    monkeypatch.setattr(Services, "sample", sample)
    client = await start()

    async def answered(status: int) -> httpx.Response | None:
        answer = await client.get("/readyz")
        return answer if answer.status_code == status else None

    error = (await until(lambda: answered(503))).json()["error"]
    assert error["code"] == "background_task_failed"
    assert "'metrics sample'" in error["message"] and "nothing to divide by" in error["message"]
    assert list(error["details"]["tasks"]) == ["metrics sample"]
    assert (await client.get("/v2/health/ready")).status_code == 503
    assert (await client.get("/livez")).status_code == 200
    is_broken = False
    assert (await until(lambda: answered(200))).json()["status"] == "ready"


async def test_the_series_of_a_deleted_model_go(start: Start) -> None:
    client, other = await start(), await start()
    for name in ("gone", "kept"):
        assert (await client.post("/v1/models", json=spec(name))).status_code == 201
        for replica in (client, other):
            assert (await predict(replica, name)).status_code == 200
    assert 'driftline_predictions_total{model="gone"} 1.0' in (await client.get("/metrics")).text
    assert (await client.delete("/v1/models/gone")).status_code == 200
    for replica in (client, other):
        text = (await replica.get("/metrics")).text
        assert '"gone"' not in text
        assert 'driftline_predictions_total{model="kept"} 1.0' in text
    assert (await client.post("/v1/models", json=spec("gone"))).status_code == 201
    await predict(client, "gone")
    assert 'driftline_predictions_total{model="gone"} 1.0' in (await client.get("/metrics")).text, "it begins again"
