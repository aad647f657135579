"""The connection: scripts that no server must have, hints that arrive, and failures in Driftline's words."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvloop

from driftline.errors import Unavailable
from driftline.store.catalog import Catalog
from driftline.store.connection import RedisConnection, connect, store_errors
from driftline.store.log import Log
from driftline.store.redis_health import RedisHealth
from driftline.store.watermarks import Cap
from tests.ports import free_port
from tests.store.conftest import item
from tests.waiting import SECONDS

pytestmark = pytest.mark.anyio


async def test_a_server_that_has_forgotten_the_scripts_runs_them(connection: RedisConnection, log: Log) -> None:
    await log.append([item("a")])
    await connection.redis.script_flush()
    assert [receipt.n for receipt in await log.append([item("b")])] == [2]


async def test_whoever_listens_hears_which_model_has_changed(connection: RedisConnection, uid: str, log: Log) -> None:
    hints = connection.hints()
    assert await within(hints) is None, "now it listens"
    await log.append([item("a")])
    assert await within(hints) == uid
    await Catalog(connection).hint("other")
    assert await within(hints) == "other"
    await hints.aclose()  # type: ignore[attr-defined]


async def test_more_calls_than_connections_wait_for_one(redis_url: str, prefix: str, uid: str, log: Log) -> None:
    connection = RedisConnection(redis_url, prefix, connections=4)
    appending = Log(connection, uid, cap=Cap(10_000), receipt_seconds=60)
    receipts = await asyncio.gather(*(appending.append([item(f"i{n}")]) for n in range(400)))
    assert sorted(receipt.n for (receipt,) in receipts) == list(range(1, 401))
    await connection.close()


async def test_a_cluster_that_is_busy_for_too_long_does_not_answer(redis_cluster: str) -> None:
    redis = connect(redis_cluster, connections=1, wait_seconds=0.05)
    async with redis, asyncio.TaskGroup() as group:
        await redis.initialize()
        blocked = group.create_task(redis.execute_command("BLPOP", "nothing", 0))
        await asyncio.sleep(0)
        with pytest.raises(Unavailable, match="no connection is free"), store_errors():
            await redis.get("key")
        blocked.cancel()


def test_a_writer_that_is_gone_is_a_store_that_does_not_answer() -> None:
    writer: Any = None
    with pytest.raises(Unavailable, match="connection lost"), store_errors():
        writer.writelines([b"PING\r\n"])
    with pytest.raises(AttributeError), store_errors():
        "text".writelines  # type: ignore[attr-defined]  # noqa: B018


async def test_a_connection_that_brings_no_hints_and_no_answer_is_made_anew(embedded: str, prefix: str) -> None:
    connection = RedisConnection(embedded, prefix, silent_seconds=0.05)
    hints = connection.hints()
    assert await within(hints) is None and connection.hears
    waiting = asyncio.ensure_future(anext(hints))
    await asyncio.sleep(0.3)
    assert not waiting.done() and connection.hears, "it is quiet, and answers when it is asked"
    await connection.redis.client_kill_filter(_type="pubsub")
    assert await asyncio.wait_for(waiting, SECONDS) is None
    await hints.aclose()  # type: ignore[attr-defined]
    assert not connection.hears
    await connection.close()


async def within(hints: AsyncIterator[str | None], seconds: float = SECONDS) -> str | None:
    return await asyncio.wait_for(anext(hints), seconds)


def test_a_connection_that_is_reset_ahead_of_a_write_is_a_store_that_does_not_answer(embedded: str) -> None:
    async def write() -> None:
        _, writer = await asyncio.open_unix_connection(embedded.removeprefix("unix://"))
        writer.transport.abort()
        await asyncio.sleep(0.05)
        with store_errors():
            writer.writelines([b"PING\r\n"])

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner, pytest.raises(Unavailable) as refused:
        runner.run(write())
    assert refused.value.code == "store_unavailable"


@pytest.mark.parametrize("scheme", ["redis", "redis+cluster"])
async def test_a_store_that_is_not_there_is_unavailable(scheme: str, prefix: str) -> None:
    connection = RedisConnection(f"{scheme}://127.0.0.1:{free_port()}", prefix)
    with pytest.raises(Unavailable):
        await connection.until_available(0.1)
    with pytest.raises(Unavailable):
        await Catalog(connection).names()
    assert (await connection.server.state()).durability == "unverified"
    await connection.close()


async def test_a_cluster_is_as_durable_as_its_least_durable_node(redis_cluster: str, prefix: str) -> None:
    connection = RedisConnection(redis_cluster, prefix)
    assert (await connection.server.state()).durability == "everysec"
    first, *_ = connection.redis.get_primaries()
    await connection.redis.config_set("appendonly", "no", target_nodes=first)
    try:
        assert (await RedisHealth(connection.redis).state()).durability == "none"
    finally:
        await connection.redis.config_set("appendonly", "yes", target_nodes=first)
        await connection.close()
