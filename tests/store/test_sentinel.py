"""A store that Sentinel watches: after a failover its client goes on with the new primary."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import ResponseError

from driftline.doctor import store as doctor
from driftline.processes.supervisor import Guard
from driftline.store.catalog import Catalog
from driftline.store.commits import Version
from driftline.store.connection import RedisConnection
from driftline.store.log import Log
from driftline.store.redis_keys import new_uid
from driftline.store.watermarks import Cap
from tests.conftest import redis_server
from tests.ports import free_ports, wait_for_port
from tests.store.conftest import SPEC, item
from tests.waiting import until

pytestmark = [pytest.mark.anyio, pytest.mark.tools]

PATIENCE_MS = 600_000
"""So that no busy machine begins a failover that the test has not asked for."""


@dataclass
class Watched:
    """A primary with a replica, and a Sentinel that watches them."""

    url: str
    primary: Redis
    replica: Redis
    sentinel: Redis

    def fail_over(self) -> None:
        """Makes the replica the primary, and ends the former one."""
        self.primary.wait(1, 0)
        until(self._is_begun)
        until(lambda: self.replica.role()[0] == b"master")
        port = self.replica.connection_pool.connection_kwargs["port"]
        until(lambda: self.sentinel.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main")[1] == b"%d" % port)
        self.primary.shutdown(nosave=True)

    def _is_begun(self) -> bool:
        """Whether Sentinel begins a failover: first it has to hear from the replica that it follows the primary."""
        try:
            return bool(self.sentinel.execute_command("SENTINEL", "FAILOVER", "main"))
        except ResponseError as error:
            return "INPROG" in str(error)


@pytest.fixture
def watched(redis_binary: str, tmp_path: Path) -> Iterator[Watched]:
    port, other, watching = free_ports(3)
    config = tmp_path / "sentinel.conf"
    config.write_text(f"port {watching}\nbind 127.0.0.1\ndir {tmp_path}\nsentinel monitor main 127.0.0.1 {port} 1\n")
    with config.open("a") as file:
        file.write(f"sentinel down-after-milliseconds main {PATIENCE_MS}\n")
    with Guard() as guard, ExitStack() as stack:
        for each, more in ((port, []), (other, ["--replicaof", "127.0.0.1", str(port)])):
            (folder := tmp_path / str(each)).mkdir()
            always = ["--appendfsync", "always", "--repl-diskless-sync-delay", "0"]
            stack.enter_context(redis_server(guard, redis_binary, folder, each, *always, *more))
        process = guard.spawn([redis_binary, str(config), "--sentinel"], stdout=subprocess.DEVNULL)
        stack.callback(process.wait)
        stack.callback(process.kill)
        wait_for_port(watching)
        primary, replica, sentinel = (stack.enter_context(Redis(port=each)) for each in (port, other, watching))
        until(lambda: replica.info()["master_link_status"] == "up")
        until(lambda: sentinel.sentinel_slaves("main"))
        yield Watched(f"redis+sentinel://127.0.0.1:{watching}/main/0", primary, replica, sentinel)


@pytest.fixture
async def connection(watched: Watched) -> AsyncIterator[RedisConnection]:
    connection = RedisConnection(watched.url, "driftline:", connections=8)
    yield connection
    await connection.close()


async def test_after_a_failover_all_goes_on_and_nothing_is_lost(watched: Watched, connection: RedisConnection) -> None:
    findings = await doctor.check(connection, watched.url)
    assert not [finding for finding in findings if finding.level == "error"], findings
    uid = new_uid()
    await Catalog(connection).create(uid, SPEC, Version(1, "0" * 64, None, 0, 0, 0.0, "created"))
    log = Log(connection, uid, cap=Cap(1000), receipt_seconds=3600)
    await log.append([item("before")])
    hints = connection.hints()
    assert await anext(hints) is None
    watched.fail_over()
    await connection.until_available(60)
    (again, after) = await log.append([item("before"), item("after")])
    assert (again.status, after.status) == ("duplicate", "queued"), "the id of before is known"
    assert await log.latest(2, 10) and (await connection.server.state()).durability == "fsync_always"
    assert await anext(hints) is None, "hints come from the new one"
    await Catalog(connection).hint(uid)
    assert await anext(hints) == uid
