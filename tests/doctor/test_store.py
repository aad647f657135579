"""What a store says of itself, and what it hides."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from driftline.doctor import examine, store
from driftline.doctor.finding import Finding
from driftline.processes.embedded import EmbeddedServer
from driftline.processes.supervisor import Guard
from driftline.settings import Settings
from driftline.store.connection import RedisConnection
from tests.doctor.conftest import only, worse
from tests.ports import free_port


@pytest.fixture(scope="module")
def url(guard: Guard, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server whose configuration these tests may spoil."""
    server = EmbeddedServer(tmp_path_factory.mktemp("spoiled"), guard)
    server.start()
    yield server.url
    server.stop()


def findings_of(url: str, user: str = "") -> list[Finding]:
    async def ask() -> list[Finding]:
        connection = RedisConnection(url + user, "x:")
        try:
            return await store.check(connection, url + user)
        finally:
            await connection.close()

    return asyncio.run(ask())


@pytest.mark.parametrize(
    ("name", "value", "check", "level", "words"),
    [
        ("maxmemory-policy", "allkeys-lru", "eviction", "error", "allkeys-lru"),
        ("appendfsync", "everysec", "durability", "warning", "the last second"),
        ("appendfsync", "no", "durability", "error", "every label"),
        ("appendonly", "no", "durability", "error", "every label"),
        ("maxmemory", "1", "memory", "error", "its maxmemory"),
    ],
)
def test_a_setting_that_costs_labels_is_told(
    url: str, name: str, value: str, check: str, level: str, words: str
) -> None:
    assert worse(findings_of(url)) == []
    client = Redis.from_url(url, decode_responses=True)
    before = str(client.config_get(name)[name])
    client.config_set(name, value)
    try:
        found = only(findings_of(url), check, level)
    finally:
        client.config_set(name, before)
    assert words in found.message


def test_what_is_hidden_is_called_unverified(url: str) -> None:
    Redis.from_url(url).acl_setuser(
        "limited", enabled=True, nopass=True, keys=["*"], categories=["+@all"], commands=["-config", "-info"]
    )
    found = worse(findings_of(url, "?username=limited&password=x"))
    assert [(finding.check, finding.level) for finding in found] == [
        ("store", "warning"),
        ("durability", "warning"),
        ("eviction", "warning"),
    ]
    assert all("unverified" in finding.message and finding.advice for finding in found)


def test_a_replica_and_an_old_server_are_refused() -> None:
    assert store.check_version({"role": "slave", "redis_version": "7.2.4"}, "redis://a").level == "error"
    assert store.check_version({"role": "master", "redis_version": "6.2.14"}, "redis://a").level == "error"
    assert store.check_version({"role": "master", "redis_version": "7.0.0"}, "redis://a").level == "ok"


def test_a_store_that_cannot_write_its_files_is_told() -> None:
    (found,) = store.check_writes({"aof_last_write_status": "err", "rdb_last_bgsave_status": "ok"})
    assert found.level == "error" and "aof_last_write_status" in found.message


def test_a_store_that_does_not_answer_is_named_without_its_password(tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    found = only(examine(Settings(redis_url=f"redis://me:secret@{address}/0", data_dir=tmp_path)), "store", "error")
    assert f"redis://{address}/0" in found.message
    assert "secret" not in found.message


def test_a_password_that_is_wrong_is_told(url: str, tmp_path: Path) -> None:
    wrong = f"{url}?username=nobody&password=secret"
    found = only(examine(Settings(redis_url=wrong, data_dir=tmp_path)), "store", "error")
    assert "username-password" in found.message and "secret" not in found.message


def test_an_address_that_is_none_is_told(tmp_path: Path) -> None:
    found = only(examine(Settings(redis_url="localhost:6379", data_dir=tmp_path)), "store", "error")
    assert "redis://HOST:PORT" in str(found.advice)
