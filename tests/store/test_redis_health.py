"""What the server says of itself becomes a word, a warning, an alarm, and a refusal before it fails."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from driftline.errors import Busy
from driftline.processes.supervisor import Guard
from driftline.records import Command
from driftline.store.catalog import Catalog
from driftline.store.connection import RedisConnection
from driftline.store.log import Log
from driftline.store.prediction_batches import PredictionBatch
from driftline.store.predictions import PredictionWriter
from driftline.store.redis_health import FULL, RedisHealth, RedisState, worst
from driftline.store.redis_keys import new_uid
from driftline.store.watermarks import Cap
from tests.conftest import redis_server
from tests.ports import free_port
from tests.store.conftest import SPEC, first_version, item
from tests.waiting import until_async

pytestmark = pytest.mark.anyio


@pytest.fixture
async def own(guard: Guard, redis_binary: str, tmp_path: Path, prefix: str) -> AsyncIterator[RedisConnection]:
    """A server that a test may set as it likes."""
    port = free_port()
    with redis_server(guard, redis_binary, tmp_path, port, "--appendfsync", "always"):
        connection = RedisConnection(f"redis://127.0.0.1:{port}/0", prefix)
        yield connection
        await connection.close()


async def state(connection: RedisConnection) -> RedisState:
    connection.server = RedisHealth(connection.redis)
    return await connection.server.state()


@pytest.mark.parametrize(
    ("settings", "kind", "words"),
    [
        ({"maxmemory-policy": "allkeys-lru"}, "store_evicts", "maxmemory-policy allkeys-lru"),
        ({"maxmemory-policy": "volatile-ttl"}, "store_evicts", "maxmemory-policy volatile-ttl"),
        ({"appendonly": "no"}, "store_forgets", "no append-only file"),
    ],
)
async def test_a_store_that_drops_what_it_has_acknowledged_is_named(
    own: RedisConnection, settings: dict[str, str], kind: str, words: str
) -> None:
    calm = await state(own)
    assert (calm.durability, calm.alarms, calm.warning) == ("fsync_always", {}, None)
    await own.redis.config_set(*next(iter(settings.items())))
    found = await state(own)
    assert list(found.alarms) == [kind]
    assert found.warning == found.alarms[kind] and words in found.warning


async def test_a_full_memory_refuses_items_before_the_server_fails_and_leaves_room_for_who_frees_it(
    own: RedisConnection,
) -> None:
    uid = new_uid()
    await Catalog(own).create(uid, SPEC, first_version())
    log = Log(own, uid, cap=Cap(1000), receipt_seconds=3600)
    await log.append([item("before")])
    await own.redis.set("others", b"0" * 2**25)
    used = (await state(own)).used_bytes
    await own.redis.config_set("maxmemory", int(used / 0.85))
    near = await state(own)
    assert 0.8 < near.fullness < 0.9 and f"{near.fullness:.0%}" in near.alarms["store_memory"]
    await log.append([item("near")])

    async def is_full() -> bool:
        """The server gives back by and by what its buffers took for the large value."""
        await own.redis.config_set("maxmemory", int((await state(own)).used_bytes / (FULL + 0.01)))
        return (await state(own)).is_full

    await until_async(is_full)
    with pytest.raises(Busy) as refused:
        await log.append([item("full")])
    assert (refused.value.code, refused.value.retry_after) == ("store_full", 5)
    assert "raise maxmemory" in refused.value.message
    assert [receipt.status for receipt in await log.append([item("near")])] == ["duplicate"]
    assert [receipt.status for receipt in await log.append([Command("x", "resume")])] == ["queued"]
    prediction_writer = PredictionWriter(own, horizon=3600, budget=2**20)
    prediction_writer.record(
        uid, prediction_writer.next_entry(), PredictionBatch(1, "live", 1, {"inputs": b""}, b"", [1])
    )
    await prediction_writer.flush()
    assert prediction_writer.dropped == 1, "what is left is not for predictions"
    await own.redis.config_set("maxmemory", 0)
    assert not (await state(own)).alarms, "the alarm is over"
    assert [receipt.status for receipt in await log.append([item("full")])] == ["queued"]


async def test_a_server_that_does_not_answer_is_what_it_was_last(own: RedisConnection) -> None:
    server = RedisHealth(own.redis, max_age_seconds=0.0)
    before = await server.state()
    server.redis = RedisConnection(f"redis://127.0.0.1:{free_port()}", "x:").redis
    assert await server.state() == before


def test_a_cluster_is_what_the_worst_of_its_nodes_is() -> None:
    good = RedisState("fsync_always", "noeviction", 10, 100)
    assert worst([good, RedisState("everysec", "noeviction", 90, 100)]) == RedisState("everysec", "noeviction", 90, 100)
    assert worst([good, RedisState("none", "allkeys-lru", 1, 100)]) == RedisState("none", "allkeys-lru", 10, 100)
