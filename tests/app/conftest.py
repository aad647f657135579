"""The app in this process, on a real store; without a worker nothing is learned."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.main import create_app
from driftline.settings import Settings

Start = Callable[..., Awaitable[httpx.AsyncClient]]


@pytest.fixture
async def start(embedded: str, prefix: str, tmp_path: Path) -> AsyncIterator[Start]:
    """Starts an app with settings of the test's own, and gives a client for it."""
    async with AsyncExitStack() as stack:

        async def begin(**settings: Any) -> httpx.AsyncClient:
            given = {"redis_url": embedded, "prefix": prefix, "data_dir": tmp_path, "poll_seconds": 0.05} | settings
            app = create_app(Settings(**given))
            await stack.enter_async_context(app.router.lifespan_context(app))
            transport = httpx.ASGITransport(app=app)
            return await stack.enter_async_context(
                httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000")
            )

        yield begin


@pytest.fixture
async def client(start: Start) -> httpx.AsyncClient:
    return await start()
