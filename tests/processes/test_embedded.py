"""The embedded server: durable, alone on its data, and gone when its parent is."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from driftline.errors import ConfigurationError
from driftline.processes import embedded
from driftline.processes.embedded import EmbeddedServer
from driftline.processes.supervisor import Guard
from driftline.store.connection import RedisConnection
from tests.waiting import until


@pytest.fixture
def server(guard: Guard, data_dir: Path) -> EmbeddedServer:
    return EmbeddedServer(data_dir, guard)


def client(server: EmbeddedServer) -> Redis:
    return Redis.from_url(server.url)


def test_an_acknowledged_write_survives_a_kill(server: EmbeddedServer) -> None:
    server.start()
    client(server).set("label", "1")
    assert server.process is not None
    server.process.kill()
    server.process.wait()
    server.start()
    assert client(server).get("label") == b"1"
    server.stop()


def test_it_says_that_every_write_is_synced(server: EmbeddedServer) -> None:
    server.start()

    async def ask() -> str:
        connection = RedisConnection(server.url, "x:")
        try:
            return (await connection.server.state()).durability
        finally:
            await connection.close()

    assert asyncio.run(ask()) == "fsync_always"
    server.stop()


def test_two_servers_never_open_one_data_directory(server: EmbeddedServer, guard: Guard, data_dir: Path) -> None:
    server.start()
    other = EmbeddedServer(data_dir, guard, lock_seconds=0.1)
    with pytest.raises(ConfigurationError, match="in use"):
        other.start()
    server.stop()
    other.start()
    other.stop()


def test_it_is_found_by_its_data_directory_while_it_runs(server: EmbeddedServer, guard: Guard, data_dir: Path) -> None:
    assert embedded.running_url(data_dir) is None
    server.start()
    EmbeddedServer(data_dir, guard).stop()  # one that has never started takes nothing away
    assert embedded.running_url(data_dir) == server.url
    assert server.process is not None
    server.process.kill()
    server.process.wait()
    assert embedded.running_url(data_dir) is None, "the file is there, the server is not"
    server.stop()
    assert not (data_dir / "valkey" / "url").exists()


def test_the_socket_of_a_killed_one_is_removed_by_the_next(
    server: EmbeddedServer, guard: Guard, data_dir: Path
) -> None:
    server.start()
    assert server.process is not None and server._lock is not None
    left = Path(server.url.removeprefix("unix://")).parent
    server.process.kill()
    server.process.wait()
    os.close(server._lock)  # As its own process would have been killed.
    assert left.exists()
    other = EmbeddedServer(data_dir, guard)
    other.start()
    assert not left.exists() and client(other).ping()
    other.stop()


def test_a_platform_without_a_binary_is_told_what_to_do(
    server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.system", lambda: "Plan9")
    with pytest.raises(ConfigurationError, match="DRIFTLINE_REDIS_URL"):
        server.start()


def test_it_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    program = textwrap.dedent(
        """
        import sys, time
        from pathlib import Path
        from driftline.processes.supervisor import Guard
        from driftline.processes.embedded import EmbeddedServer
        server = EmbeddedServer(Path(sys.argv[1]), Guard())
        server.start()
        print(server.url, flush=True)
        time.sleep(600)
        """
    )
    parent = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    url = parent.stdout.readline().strip()
    assert Redis.from_url(url).ping()
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    until(lambda: not answers(url))


def answers(url: str) -> bool:
    try:
        return bool(Redis.from_url(url).ping())
    except RedisConnectionError:
        return False
