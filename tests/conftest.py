"""Real servers for the tests: the embedded one, and a Redis of the machine's own."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from driftline.processes import Guard
from driftline.store.embedded import EmbeddedServer


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def guard() -> Iterator[Guard]:
    with Guard() as guard:
        yield guard


def missing(what: str) -> None:
    """Skips for want of a tool, or fails where CI has promised to have all of them."""
    if os.environ.get("DRIFTLINE_TEST_REQUIRE_ALL"):
        pytest.fail(f"{what} is missing, and DRIFTLINE_TEST_REQUIRE_ALL is set")
    pytest.skip(f"{what} is not installed")


@pytest.fixture(scope="session")
def embedded(guard: Guard, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of an embedded server."""
    server = EmbeddedServer(tmp_path_factory.mktemp("embedded"), guard)
    server.start()
    yield server.url
    server.stop()


@pytest.fixture(scope="session")
def system_redis(guard: Guard, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a Redis that is installed on the machine."""
    binary = shutil.which("redis-server")
    if binary is None:
        missing("redis-server")
    folder, port = tmp_path_factory.mktemp("redis"), free_port()
    options = ["--port", str(port), "--dir", str(folder), "--appendonly", "yes", "--save", "", "--bind", "127.0.0.1"]
    process = guard.spawn([str(binary), *options], stdout=subprocess.DEVNULL)
    wait_for_port(port)
    yield f"redis://127.0.0.1:{port}/0"
    process.terminate()
    process.wait()


@pytest.fixture(params=["embedded", "system_redis"])
def redis_url(request: pytest.FixtureRequest) -> str:
    """Every store the tests must hold on."""
    url: str = request.getfixturevalue(request.param)
    return url


@pytest.fixture
def prefix() -> str:
    """A prefix of its own for each test: they share the servers."""
    return f"test-{secrets.token_hex(4)}:"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for_port(port: int, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            assert time.monotonic() < deadline, f"nothing listens on port {port}"
            time.sleep(0.02)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"
