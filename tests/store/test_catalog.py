"""The map from names to models, and what is asked of many models at once, on whichever node each lies."""

from __future__ import annotations

import asyncio
import time

import pytest

from driftline.errors import Conflict, NotFound
from driftline.records import Command
from driftline.store.catalog import Catalog
from driftline.store.connection import Connection
from driftline.store.head import Version
from driftline.store.keys import new_uid
from driftline.store.log import Log
from tests.store.conftest import SPEC, item, stored_keys

pytestmark = pytest.mark.anyio


async def create(connection: Connection, name: str) -> str:
    uid = new_uid()
    version = Version(1, "0" * 64, None, 0, 0, time.time(), "created")
    await Catalog(connection).create(uid, SPEC | {"name": name}, version)
    return uid


async def test_many_models_are_asked_at_once(connection: Connection) -> None:
    catalog = Catalog(connection)
    uids = [await create(connection, f"model{index:02}") for index in range(20)]
    for index, uid in enumerate(uids):
        log = Log(connection, uid, cap=1000, receipt_seconds=60)
        await log.append([*(item(str(row)) for row in range(index)), Command("x", "pause")])
    assert [model.uid for model in await catalog.models()] == uids
    assert [model.waiting for model in await catalog.models()] == list(range(20))
    assert await catalog.live_versions([*uids, "gone"]) == dict.fromkeys(uids, 1) | {"gone": None}
    assert await catalog.log_ends(uids) == {uid: (index + 1, 1) for index, uid in enumerate(uids)}


async def test_a_name_that_is_taken_is_refused_and_nothing_stays(connection: Connection, uid: str) -> None:
    before = sorted(await stored_keys(connection))
    with pytest.raises(Conflict):
        await create(connection, "weather")
    assert sorted(await stored_keys(connection)) == before


async def test_the_age_of_the_oldest_waiting_record_is_known(connection: Connection, uid: str) -> None:
    catalog = Catalog(connection)
    _, _, age = await catalog.measured(await catalog.get("weather"))
    assert age == 0
    await Log(connection, uid, cap=1000, receipt_seconds=60).append([item("a")])
    await asyncio.sleep(0.05)
    _, _, age = await catalog.measured(await catalog.get("weather"))
    assert 0.04 < age < 60


async def test_a_deleted_model_is_gone_and_its_name_is_free(connection: Connection, uid: str) -> None:
    catalog = Catalog(connection)
    assert await catalog.delete("weather") == uid
    with pytest.raises(NotFound):
        await catalog.get("weather")
    assert await create(connection, "weather") != uid
