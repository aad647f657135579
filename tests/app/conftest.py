"""The app in this process, on a real store; without a worker nothing is learned."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from app.main import create_app
from app.services import Services
from driftline.settings import Settings
from tests.services import Instance, spec
from tests.waiting import SECONDS, until_async


class AppClient(httpx.AsyncClient):
    """A client of an app that runs in this process."""

    def __init__(self, app: FastAPI) -> None:
        super().__init__(transport=httpx.ASGITransport(app=app), base_url="http://127.0.0.1:8000")
        self.app = app

    @property
    def services(self) -> Services:
        """What the app answers with."""
        found: Services = self.app.state.services
        return found


def patient(settings: Settings, **options: Any) -> Services:
    """Services whose probes wait for a new look at the store, however busy the machine is."""
    return Services(settings, **{"patience": SECONDS} | options)


Start = Callable[..., Awaitable[AppClient]]


@pytest.fixture
async def start(embedded: str, prefix: str, tmp_path: Path) -> AsyncIterator[Start]:
    """Starts an app with settings of the test's own, and gives a client for it."""
    async with AsyncExitStack() as stack:

        async def begin(services: Callable[[Settings], Services] = patient, **settings: Any) -> AppClient:
            given: dict[str, Any] = {
                "redis_url": embedded,
                "prefix": prefix,
                "data_dir": tmp_path,
                "poll_seconds": 0.05,
            }
            own = Settings(**given | settings)
            app = create_app(own, services=services(own))
            await stack.enter_async_context(app.router.lifespan_context(app))
            return await stack.enter_async_context(AppClient(app))

        yield begin


@pytest.fixture
async def client(start: Start) -> AppClient:
    return await start()


@pytest.fixture
async def weather(client: AppClient) -> AppClient:
    """A client of an app that has a model."""
    await create(client)
    return client


async def source_as(client: AppClient, path: str, **wanted: Any) -> dict[str, Any]:
    """A source of a model, once it is as ``wanted``."""

    async def found() -> dict[str, Any] | None:
        info: dict[str, Any] = (await client.get(path)).json()
        return info if all(info.get(name) == value for name, value in wanted.items()) else None

    return await until_async(found)


async def instance_alarms(client: httpx.AsyncClient) -> list[dict[str, Any]]:
    """What ``/readyz`` finds wrong, but for the worker that no app in a test's own process has."""
    found = (await client.get("/readyz")).json()["alarms"]
    return [alarm for alarm in found if alarm["kind"] != "no_worker"]


async def create(client: httpx.AsyncClient, **changes: Any) -> dict[str, Any]:
    answer = await client.post("/v1/models", json=spec(**changes))
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def predict(client: httpx.AsyncClient, inputs: Any, model: str = "weather") -> dict[str, Any]:
    answer = await client.post(f"/v1/models/{model}/predict", json={"inputs": inputs})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


@contextmanager
def connected(instance: Instance) -> Iterator[socket.socket]:
    host, port = instance.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), SECONDS) as client:
        yield client
