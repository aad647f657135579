"""A server and a worker without a common folder, whose artifacts are in an object store, and what its failures cost."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from driftline.store.connection import RedisConnection
from tests.app.conftest import AppClient, Start, create, instance_alarms
from tests.object_store import BUCKET, SLOW_DOWN, FaultyStore, error, object_store, other_bytes
from tests.waiting import until_async
from tests.worker.conftest import Bench
from tests.worker.running import working

pytestmark = [pytest.mark.anyio, pytest.mark.tools]


@pytest.fixture(scope="module")
def store(moto_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultyStore]:
    with object_store(moto_server, tmp_path_factory.mktemp("moto")) as found:
        yield found


@pytest.fixture
def url(store: FaultyStore, tmp_path: Path) -> str:
    return f"s3://{BUCKET}/{tmp_path.name}"


@pytest.fixture
async def client(start: Start, tmp_path: Path, url: str) -> AppClient:
    return await start(data_dir=tmp_path / "server", artifacts=url)


@pytest.fixture
def bench(connection: RedisConnection, embedded: str, thread: ThreadPoolExecutor, tmp_path: Path) -> Bench:
    return Bench(connection, embedded, thread, tmp_path / "worker")


async def send(client: AppClient, first: int, count: int = 64) -> None:
    """Labels that are acknowledged."""
    items = [{"id": f"i{n}", "inputs": [n % 7 - 3.0] * 8, "label": int(n % 7 > 3)} for n in range(first, first + count)]
    answer = await client.post("/v1/models/weather/feedback", json={"items": items})
    assert answer.status_code == 202, answer.text


async def version(client: AppClient) -> int:
    """The version that answers."""
    answer = await client.post("/v1/models/weather/predict", json={"inputs": [[0.5] * 8]})
    assert answer.status_code == 200, answer.text
    return int(answer.json()["version"])


async def newer_than(client: AppClient, served: int) -> int:
    """The version that answers once it is newer than this one."""

    async def newer() -> int:
        found = await version(client)
        return found if found > served else 0

    return int(await until_async(newer))


async def is_served(client: AppClient, identifier: str) -> bool:
    answer = await client.get(f"/v1/models/weather/feedback/{identifier}")
    return answer.status_code == 200 and answer.json()["state"] == "served"


async def alarms(client: AppClient) -> dict[str, str]:
    """The alarms of the model that stand."""
    found: list[dict[str, Any]] = (await client.get("/v1/models/weather/metrics")).json()["alarms"]
    return {alarm["kind"]: alarm["message"] for alarm in found if alarm["state"] != "over"}


async def test_they_share_models_by_the_object_store_alone_and_outlast_its_failures(
    client: AppClient, bench: Bench, store: FaultyStore, url: str, tmp_path: Path
) -> None:
    await create(client)
    async with working(bench, artifacts=url):
        await send(client, 0)
        await until_async(lambda: is_served(client, "i63"))
        served = await newer_than(client, 1)
        assert await instance_alarms(client) == [] and await alarms(client) == {}

        with store.failing(error(503, SLOW_DOWN)):
            await send(client, 64)
            message = (await until_async(lambda: alarms(client)))["object_store"]
            assert f"cannot write {url}/" in message and "SlowDown" in message
            await send(client, 128)
            assert await version(client) == served
        await until_async(lambda: is_served(client, "i191"))
        await newer_than(client, served)

        async def is_over() -> bool:
            return await alarms(client) == {} and await instance_alarms(client) == []

        await until_async(is_over)

    for folder in ("server", "worker"):
        assert not (tmp_path / folder / "artifacts").exists()
    bench.folder = tmp_path / "another worker"
    async with working(bench, artifacts=url):
        await send(client, 192)
        await until_async(lambda: is_served(client, "i255"))
        assert await alarms(client) == {}, "it went on from the checkpoint, of which it had no copy"


async def test_versions_that_come_with_other_bytes_are_not_served_and_named(
    client: AppClient, bench: Bench, store: FaultyStore, url: str
) -> None:
    await create(client)

    def lies(method: str, path: str, ask: Any) -> Any:
        # Only to the server: what the worker reads it has in its cache.
        return other_bytes(method, path, ask) if "/.worker" not in path else ask()

    async with working(bench, artifacts=url):
        await send(client, 0)
        await until_async(lambda: is_served(client, "i63"))
        served = await newer_than(client, 1)
        with store.failing(lies):
            await send(client, 64)

            async def damage() -> str:
                found = await instance_alarms(client)
                return " ".join(alarm["message"] for alarm in found if "damaged" in alarm["message"])

            assert f"the artifact {url}/" in await until_async(damage)
            assert await version(client) == served
        await until_async(lambda: is_served(client, "i127"))
        await newer_than(client, served)
