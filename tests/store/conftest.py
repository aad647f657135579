from __future__ import annotations

import time

import pytest

from driftline.records import Item
from driftline.store.catalog import Catalog
from driftline.store.commits import Version
from driftline.store.connection import RedisConnection
from driftline.store.events import INSTANCE
from driftline.store.log import Log
from driftline.store.redis_keys import new_uid
from driftline.store.watermarks import Cap

SPEC = {"name": "weather", "task": "classification", "inputs": {"shape": [2]}, "classes": [0, 1]}


@pytest.fixture
def store_url(redis_url: str) -> str:
    return redis_url


@pytest.fixture
async def uid(connection: RedisConnection) -> str:
    """A model that has just been created."""
    uid = new_uid()
    await Catalog(connection).create(uid, SPEC, first_version())
    return uid


@pytest.fixture
def log(connection: RedisConnection, uid: str) -> Log:
    return Log(connection, uid, cap=Cap(1000), receipt_seconds=3600)


def first_version() -> Version:
    return Version(1, "0" * 64, None, 0, 0, time.time(), "created")


async def stored_keys(connection: RedisConnection, uid: str = "") -> list[str]:
    """Every key in Redis but the events of the instance; of one model, if it is named."""
    pattern = f"{connection.keys.prefix}{f'{{{uid}}}:' if uid else ''}*"
    keys = [key.decode() async for key in connection.redis.scan_iter(pattern)]
    return [key for key in keys if f"{{{INSTANCE}}}" not in key]


def item(identifier: str, label: int = 1) -> Item:
    return Item(identifier, {"inputs": b"\0" * 8}, label)
