"""Feedback over HTTP: what an acknowledgement says of how long it lasts, and how it is refused while there is no room."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import httpx
import pytest

from driftline.store.connection import RedisConnection
from driftline.store.redis_keys import ModelKeys
from tests.app.conftest import AppClient, Start, instance_alarms, patient
from tests.services import spec
from tests.waiting import until_async

pytestmark = pytest.mark.anyio


@contextlib.asynccontextmanager
async def configured(connection: RedisConnection, **settings: str) -> AsyncIterator[None]:
    """The shared server with other settings, for as long as the block lasts."""
    names = {name: name.replace("_", "-") for name in settings}
    before = {name: (await connection.redis.config_get(name))[name] for name in names.values()}
    for name, value in settings.items():
        await connection.redis.config_set(names[name], value)
    try:
        yield
    finally:
        for name, value in before.items():
            await connection.redis.config_set(name, value)


@pytest.fixture
async def client(start: Start) -> AppClient:
    """A client of an app that asks the store each time how it is."""
    found = await start(services=partial(patient, watch_seconds=0.02))
    found.services.connection.server.max_age_seconds = 0.0
    return found


async def send(client: httpx.AsyncClient, *ids: str) -> httpx.Response:
    items = [{"id": identifier, "inputs": [0.5] * 8, "label": 1} for identifier in ids]
    return await client.post("/v1/models/weather/feedback", json={"items": items})


async def test_more_callers_than_connections_to_the_store_are_all_answered(start: Start) -> None:
    client = await start(redis_connections=8)
    await client.post("/v1/models", json=spec())
    answers = await asyncio.gather(*(send(client, f"i{n}") for n in range(400)))
    assert {answer.status_code for answer in answers} == {202}


async def keys(client: httpx.AsyncClient, connection: RedisConnection) -> ModelKeys:
    await client.post("/v1/models", json=spec())
    uid = await connection.redis.hget(connection.keys.names, "weather")
    return connection.keys.of(uid.decode())


async def alarms(client: httpx.AsyncClient) -> dict[str, str]:
    found = (await client.get("/v1/models/weather/metrics")).json()["alarms"]
    return {alarm["kind"]: alarm["message"] for alarm in found}


async def test_a_store_that_evicts_is_named_in_every_acknowledgement_and_by_readyz(
    client: httpx.AsyncClient, connection: RedisConnection
) -> None:
    await client.post("/v1/models", json=spec())
    assert "warning" not in (await send(client, "a")).json()
    async with configured(connection, maxmemory_policy="allkeys-lru"):
        said: dict[str, Any] = (await send(client, "b")).json()
        assert said["durability"] == "fsync_always"
        assert "maxmemory-policy allkeys-lru" in said["warning"]
        lines = await client.post(
            "/v1/models/weather/feedback/stream",
            content=b'{"inputs": [0,0,0,0,0,0,0,0], "label": 1}\n',
            headers={"content-type": "application/x-ndjson"},
        )
        assert lines.json()["warning"] == said["warning"]
        (alarm,) = await instance_alarms(client)
        assert alarm == {"kind": "store_evicts", "state": "standing", "message": said["warning"]}
        assert 'driftline_alarms{kind="store_evicts",model=""} 1.0' in (await client.get("/metrics")).text
    assert await instance_alarms(client) == []
    assert "warning" not in (await send(client, "c")).json()


async def test_a_store_without_an_append_only_file_is_named_too(
    client: httpx.AsyncClient, connection: RedisConnection
) -> None:
    await client.post("/v1/models", json=spec())
    async with configured(connection, appendonly="no"):
        said = (await send(client, "b")).json()
    assert said["durability"] == "none" and "no append-only file" in said["warning"]


async def test_the_process_says_what_is_wrong_with_its_store_and_when_it_is_over(
    connection: RedisConnection, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    async with configured(connection, maxmemory_policy="allkeys-lru"):
        await start()
        await until_async(lambda: "The store evicts (maxmemory-policy allkeys-lru)" in caplog.text)
    await until_async(lambda: "it is over: The store evicts" in caplog.text)
    assert caplog.text.count("The store evicts") == 2, "each is said once"


async def test_a_full_memory_is_429_before_the_store_fails(
    client: httpx.AsyncClient, connection: RedisConnection
) -> None:
    await client.post("/v1/models", json=spec())
    used = (await connection.redis.info("memory"))["used_memory"]
    async with configured(connection, maxmemory=str(used)):
        await client.get("/readyz")
        refused = await send(client, "a")
        measured = (await client.get("/metrics")).text
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "store_full")
    assert refused.headers["retry-after"] == "5"
    (limit,) = re.findall(r"^driftline_store_memory_limit_bytes (\S+)", measured, re.MULTILINE)
    assert float(limit) == used
    assert 'driftline_alarms{kind="store_memory",model=""} 1.0' in measured
    await client.get("/readyz")
    assert (await send(client, "a")).status_code == 202


async def test_a_filling_log_is_an_alarm_before_it_is_429_and_the_alarm_ends(
    start: Start, connection: RedisConnection
) -> None:
    client = await start(log_cap=1000)
    model = await keys(client, connection)
    await send(client, *(f"a{n}" for n in range(799)))
    assert await alarms(client) == {}
    await send(client, "more")
    assert "80% of its cap" in (await alarms(client))["log_filling"]
    assert 'driftline_log_fullness_ratio{model="weather"} 0.8' in (await client.get("/metrics")).text
    await send(client, *(f"b{n}" for n in range(200)))
    refused = await send(client, "beyond")
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "log_full")
    assert "1,000 records" in refused.json()["error"]["message"] and refused.headers["retry-after"] == "2"
    assert (await send(client, "more")).json()["items"][0]["status"] == "duplicate"
    await connection.redis.hset(model.head, "offset", 900)  # As if a worker had learned them.
    assert await alarms(client) == {}
    assert (await send(client, "beyond")).status_code == 202


async def test_a_log_with_a_gap_takes_no_feedback_and_predictions_go_on(
    client: httpx.AsyncClient, connection: RedisConnection
) -> None:
    model = await keys(client, connection)
    await send(client, "a", "b")
    await connection.redis.xdel(model.log, "1-0")
    refused = await send(client, "c")
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "log_gap")
    assert "restore the store from a backup" in refused.json()["error"]["message"]
    assert "record 1" in (await alarms(client))["log_gap"]
    answer = await client.post("/v1/models/weather/predict", json={"inputs": [[0.5] * 8]})
    assert answer.status_code == 200


@pytest.mark.parametrize("lost", ["head", "meta"])
async def test_a_lost_head_is_not_a_deleted_model(
    client: httpx.AsyncClient, connection: RedisConnection, lost: str
) -> None:
    model = await keys(client, connection)
    await client.post("/v1/models", json=spec("other"))
    row = {"inputs": [[0.5] * 8]}
    assert (await client.post("/v1/models/weather/predict", json=row)).status_code == 200
    await connection.redis.delete(getattr(model, lost))
    for refused in (await send(client, "a"), await client.get("/v1/models/weather")):
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "store_lost")
    assert (await client.post("/v1/models/weather/predict", json=row)).status_code == 200, "what is loaded is served"
    assert [found["name"] for found in (await client.get("/v1/models")).json()["models"]] == ["other"]
    assert not await connection.redis.exists(getattr(model, lost))
