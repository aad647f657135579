"""The map from names to models, and what is asked of many models at once, on whichever node each lies."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from driftline.errors import Conflict, NotFound, Unavailable
from driftline.records import Command
from driftline.store.catalog import Catalog, LogEnd
from driftline.store.connection import RedisConnection
from driftline.store.log import Log
from driftline.store.redis_keys import new_uid
from driftline.store.watermarks import Cap
from tests.store.conftest import SPEC, first_version, item, stored_keys

pytestmark = pytest.mark.anyio


class Killed(BaseException):
    """What a process meets instead of a SIGKILL."""


async def create(connection: RedisConnection, name: str) -> str:
    uid = new_uid()
    await Catalog(connection).create(uid, SPEC | {"name": name}, first_version())
    return uid


async def test_many_models_are_asked_at_once(connection: RedisConnection) -> None:
    catalog = Catalog(connection)
    uids = [await create(connection, f"model{index:02}") for index in range(20)]
    for index, uid in enumerate(uids):
        log = Log(connection, uid, cap=Cap(1000), receipt_seconds=60)
        await log.append([*(item(str(row)) for row in range(index)), Command("x", "pause")])
    assert [model.uid for model in await catalog.models()] == uids
    assert [model.waiting for model in await catalog.models()] == list(range(20))
    assert await catalog.live_versions([*uids, "gone"]) == dict.fromkeys(uids, (1, None)) | {"gone": (None, None)}
    assert await catalog.log_ends(uids) == {uid: LogEnd(index + 1, 1, 0) for index, uid in enumerate(uids)}


async def test_a_name_that_is_taken_is_refused_and_nothing_stays(connection: RedisConnection, uid: str) -> None:
    before = sorted(await stored_keys(connection))
    with pytest.raises(Conflict):
        await create(connection, "weather")
    assert sorted(await stored_keys(connection)) == before


async def test_the_age_of_the_oldest_waiting_record_is_known(connection: RedisConnection, uid: str) -> None:
    catalog = Catalog(connection)
    (measured,) = await catalog.measured([await catalog.get("weather")])
    backlog = measured.backlog
    assert backlog.seconds == 0
    await Log(connection, uid, cap=Cap(1000), receipt_seconds=60).append([item("a")])
    await asyncio.sleep(0.05)
    (measured,) = await catalog.measured([await catalog.get("weather")])
    backlog = measured.backlog
    assert 0.04 < backlog.seconds < 60


async def test_a_deleted_model_is_gone_and_its_name_is_free(connection: RedisConnection, uid: str) -> None:
    catalog = Catalog(connection)
    assert await catalog.delete("weather") == uid
    with pytest.raises(NotFound):
        await catalog.get("weather")
    assert await create(connection, "weather") != uid


async def test_what_is_left_of_a_creation_that_was_cut_off_goes(
    connection: RedisConnection, uid: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog, other = Catalog(connection), new_uid()
    before = await stored_keys(connection)

    async def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(connection.redis, "hsetnx", die)
        await catalog.create(other, SPEC | {"name": "other"}, first_version())
    assert await stored_keys(connection, other)
    assert await catalog.remove_unnamed(3600) == [], "it may still be going on"
    assert await catalog.remove_unnamed(-1) == [other]
    assert sorted(await stored_keys(connection)) == sorted(before)
    assert (await catalog.get("weather")).uid == uid


async def test_what_is_left_of_a_removal_that_was_cut_off_goes(
    connection: RedisConnection, uid: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = Catalog(connection)

    async def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(connection.redis, "unlink", die)
        await catalog.delete("weather")
    assert await stored_keys(connection, uid)
    assert await catalog.remove_unnamed(-1) == [uid]
    assert await stored_keys(connection, uid) == []


async def test_a_creation_that_was_named_is_not_taken_for_one_that_was_cut_off(
    connection: RedisConnection, uid: str
) -> None:
    await connection.redis.zadd(connection.keys.unnamed, {uid: 0})
    assert await Catalog(connection).remove_unnamed(-1) == []
    assert (await Catalog(connection).get("weather")).uid == uid
    assert not await connection.redis.exists(connection.keys.unnamed)


@pytest.mark.parametrize("lost", ["head", "meta"])
async def test_a_model_whose_head_is_lost_is_not_taken_for_a_deleted_one(
    connection: RedisConnection, uid: str, lost: str
) -> None:
    catalog = Catalog(connection)
    await catalog.create(new_uid(), SPEC | {"name": "other"}, first_version())
    await connection.redis.delete(getattr(connection.keys.of(uid), lost))
    with pytest.raises(Unavailable) as refused:
        await catalog.get("weather")
    assert refused.value.code == "store_lost"
    assert [model.name for model in await catalog.models()] == ["other"], "the others are there"


async def test_a_new_store_that_gets_its_id_while_it_is_asked_is_not_lost(
    connection: RedisConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two questions at once: the answer of the first is older than the name that the second has given the store."""
    catalog, ask = Catalog(connection), connection.redis.hmget

    async def slow(*arguments: Any) -> Any:
        found = await ask(*arguments)
        await catalog.names()
        return found

    monkeypatch.setattr(connection.redis, "hmget", slow)
    with pytest.raises(NotFound):
        await catalog.uid("weather")
    await connection.redis.delete(connection.keys.names)
    with pytest.raises(Unavailable, match="lost its data"):
        await catalog.names()
