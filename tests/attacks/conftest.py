"""The app that is attacked: in this process, on a real store."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from app.main import create_app
from driftline.settings import Settings
from tests.app.conftest import AppClient, create, patient
from tests.app.conftest import start as start

MODELS: dict[str, dict[str, Any]] = {
    "weather": {"inputs": {"shape": [2]}},
    "open": {"inputs": {"shape": [2]}, "classes": "open"},
    "cube": {"inputs": {"shape": [3, 2]}},
    "rows": {"inputs": {"fields": {"age": "number", "city": "category", "note": "text", "day": "time"}}},
    "named": {"inputs": {"user": {"shape": [2]}, "item": {"shape": [1], "dtype": "int64"}}},
}


@pytest.fixture(scope="module")
async def attacked(embedded: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[AppClient]:
    """A client of an app with a model of each kind of input, for all tests of a module: each sends ids of its own."""
    own = Settings(redis_url=embedded, prefix=f"test-{secrets.token_hex(4)}:", data_dir=folder(tmp_path_factory))
    app = create_app(own, services=patient(own))
    async with app.router.lifespan_context(app), AppClient(app) as client:
        for name, changes in MODELS.items():
            await create(client, name=name, **changes)
        yield client


def folder(factory: pytest.TempPathFactory) -> Path:
    return factory.mktemp("attacked")
