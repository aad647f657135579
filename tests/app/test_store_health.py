"""Probes while the store hangs, is gone, or takes no writes: answered at once, with the age of what they say."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from driftline.processes.supervisor import Guard
from driftline.store.connection import RedisConnection
from tests.app.conftest import AppClient, Start, create, patient, predict
from tests.conftest import redis_server
from tests.faults.parts import Proxy
from tests.ports import free_port
from tests.waiting import until_async

pytestmark = pytest.mark.anyio


@pytest.fixture
def wire(embedded: str) -> Iterator[Proxy]:
    with Proxy(embedded.removeprefix("unix://")) as proxy:
        yield proxy


def value(text: str, name: str) -> float:
    found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
    assert found, f"{name} is not in\n{text}"
    return float(found[1])


def kinds(answer: httpx.Response) -> set[str]:
    return {alarm["kind"] for alarm in answer.json()["alarms"]}


async def test_while_the_store_hangs_probes_answer_from_the_last_look(start: Start, wire: Proxy) -> None:
    client = await start(services=partial(patient, patience=0.05), redis_url=wire.url)
    await create(client)
    services = client.services
    await until_async(lambda: services.learned.last and services.store_health.last)

    async def is_seen() -> bool:
        return 'driftline_live_version{model="weather"}' in (await client.get("/metrics")).text

    await until_async(is_seen)
    await predict(client, [[0.0] * 8])
    wire.is_half_open = True
    before = services.store_health.last
    assert before is not None
    ready = (await client.get("/readyz")).json()
    text = (await client.get("/metrics")).text
    assert services.store_health.last is before, "the look that they asked for still hangs"
    assert ready["status"] == "ready" and ready["age"] > 0
    assert value(text, 'driftline_live_version{model="weather"}') == 1
    assert value(text, "driftline_learning_age_seconds") > 0 and value(text, "driftline_health_age_seconds") > 0

    async def is_down() -> httpx.Response | None:
        answer = await client.get("/readyz")
        return answer if answer.json()["store"] == "unavailable" else None

    answer = await until_async(is_down)
    assert answer.status_code == 200 and kinds(answer) == {"store_unavailable"}, "loaded models are still served"
    assert value((await client.get("/metrics")).text, "driftline_store_up") == 0
    assert (await predict(client, [[0.0] * 8]))["version"] == 1
    wire.heal()

    async def is_over() -> bool:
        return (await client.get("/readyz")).json()["store"] == "available"

    await until_async(is_over)
    assert value((await client.get("/metrics")).text, "driftline_store_up") == 1


@pytest.fixture
async def primary(guard: Guard, redis_binary: str, tmp_path: Path) -> AsyncIterator[str]:
    """A store of the test's own, that may become a replica."""
    port = free_port()
    with redis_server(guard, redis_binary, tmp_path, port):
        yield f"redis://127.0.0.1:{port}/0"


@contextlib.asynccontextmanager
async def turned_replica(url: str) -> AsyncIterator[None]:
    """It takes no writes, and is the replica of a server that is not there."""
    connection = RedisConnection(url, "")
    redis: Any = connection.redis
    await redis.execute_command("CONFIG SET replica-serve-stale-data yes")
    await redis.execute_command("REPLICAOF 127.0.0.1 1")
    try:
        yield
    finally:
        await redis.execute_command("REPLICAOF NO ONE")
        await connection.close()


async def test_a_store_that_was_turned_a_replica_is_told_of(start: Start, primary: str) -> None:
    client = await start(redis_url=primary)
    await create(client)
    await predict(client, [[0.0] * 8])
    assert (await client.get("/readyz")).json()["store"] == "available"
    async with turned_replica(primary):
        answer = await client.get("/readyz")
        assert answer.status_code == 200, "loaded models are still served"
        assert answer.json()["store"] == "read_only" and "store_read_only" in kinds(answer)
        text = (await client.get("/metrics")).text
        assert value(text, "driftline_store_up") == 1 and value(text, "driftline_store_writable") == 0
        assert value(text, 'driftline_alarms{kind="store_read_only",model=""}') == 1
        assert (await predict(client, [[0.0] * 8]))["version"] == 1
        item = {"inputs": [0.0] * 8, "label": 1}
        assert (await client.post("/v1/models/weather/feedback", json={"items": [item]})).status_code == 503
    answer = await client.get("/readyz")
    assert answer.json()["store"] == "available" and "store_read_only" not in kinds(answer)
    text = (await client.get("/metrics")).text
    assert value(text, "driftline_store_writable") == 1 and value(text, "driftline_store_write_seconds") > 0


async def test_an_app_that_has_never_reached_its_store_is_not_ready(start: Start) -> None:
    client: AppClient = await start(redis_url=f"redis://127.0.0.1:{free_port()}/0")
    answer = await client.get("/readyz")
    assert answer.status_code == 503 and answer.json()["error"]["code"] == "store_unavailable"
    assert value((await client.get("/metrics")).text, "driftline_store_up") == 0
