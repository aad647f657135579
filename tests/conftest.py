"""Real servers for the tests: the embedded one, and a Redis and a Redis Cluster of the machine's own."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import random
import secrets
import shutil
import subprocess
import sys
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import hypothesis
import numpy as np
import pytest
from redis import Redis

from driftline.processes.embedded import EmbeddedServer
from driftline.processes.supervisor import Guard
from driftline.store.connection import RedisConnection
from tests import forked
from tests.brokers import kafka as kafka
from tests.brokers import mosquitto as mosquitto
from tests.brokers import nats_server as nats_server
from tests.brokers import postgres as postgres
from tests.brokers import rabbitmq as rabbitmq
from tests.ports import free_port, free_ports, missing, wait_for_port
from tests.services import Instance, emptied, up
from tests.waiting import until

# As a worker has it, in every process of a test and before torch is loaded: where many share the machine, threads of one
# computation spend most of their time waiting for each other, and wait busily.
os.environ["OMP_NUM_THREADS"] = "1"
# A machine that is busy makes examples slow, and no property wrong; and the same code gives the same result, always. New
# examples find new faults: they are drawn where somebody looks for these, not where a change waits for its tests.
hypothesis.settings.register_profile(
    "same examples",
    deadline=None,
    derandomize=True,
    max_examples=40,
    suppress_health_check=[hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.function_scoped_fixture],
)
hypothesis.settings.register_profile(
    "new examples", hypothesis.settings.get_profile("same examples"), derandomize=False, max_examples=100
)
IS_EXPLORING = bool(os.environ.get("DRIFTLINE_TEST_EXPLORE"))
hypothesis.settings.load_profile("new examples" if IS_EXPLORING else "same examples")

# Starts a server with a folder of its own on a port.
OwnRedis = Callable[[Path, int], contextlib.AbstractContextManager[None]]
# Fixtures that need a program of the machine's own.
OF_TOOLS = {
    "browser",
    "kubectl",
    "mosquitto",
    "mount",
    "nats_server",
    "postgres",
    "rabbitmq",
    "prometheus",
    "promtool",
    "redis_binary",
    "redis_cli",
    "redis_cluster",
    "system_redis",
}


def pytest_configure() -> None:
    forked.shared_folder()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Twice as many as there are cores: many tests wait for processes, and somebody works meanwhile."""
    return 2 * (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """What is made while tests are collected stays: nobody looks whether it is garbage, then or later."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks what needs a program that pip does not bring, before tests are chosen by their marks.

    What takes longest is begun first, so that no core waits for another at the end.
    """
    for item in items:
        if OF_TOOLS & {*getattr(item, "fixturenames", ()), *_parameters(item)}:
            item.add_marker("tools")
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def _parameters(item: pytest.Item) -> list[str]:
    """The values of a test's parameters that are names, as of fixtures."""
    called = getattr(item, "callspec", None)
    return [value for value in called.params.values() if isinstance(value, str)] if called else []


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Each test draws numbers of its own, the same ones each time, whichever ran before it in its process."""
    if IS_EXPLORING:
        return
    seed = zlib.crc32(item.nodeid.encode())
    random.seed(seed)
    np.random.seed(seed)
    if torch := sys.modules.get("torch"):
        torch.manual_seed(seed)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def guard() -> Iterator[Guard]:
    with Guard() as guard:
        yield guard


def _tool(name: str) -> str:
    return shutil.which(name) or missing(name)


@pytest.fixture(scope="session")
def redis_binary() -> str:
    return _tool("redis-server")


@pytest.fixture(scope="session")
def redis_cli() -> str:
    return _tool("redis-cli")


@pytest.fixture(scope="session")
def promtool() -> str:
    return _tool("promtool")


@pytest.fixture(scope="session")
def kubectl() -> str:
    """One that knows components, as those since 2023 do."""
    found = _tool("kubectl")
    told = subprocess.run([found, "version", "--client", "--output=json"], capture_output=True, text=True, check=True)
    version = json.loads(told.stdout)["clientVersion"]
    if (int(version["major"]), int(version["minor"].rstrip("+"))) < (1, 27):
        pytest.skip("kubectl is older than 1.27")
    return found


@pytest.fixture(scope="session")
def moto_server() -> str:
    """An S3 of this machine: ``pip install moto flask flask-cors``, in an environment of its own."""
    return _tool("moto_server")


@pytest.fixture(scope="session")
def prometheus() -> str:
    return _tool("prometheus")


@pytest.fixture(scope="session")
def mount() -> str:
    if os.geteuid() != 0:
        missing("a disk that a test may mount (it needs root)")
    return _tool("mount")


@pytest.fixture(scope="session")
def embedded(guard: Guard, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of an embedded server."""
    server = EmbeddedServer(tmp_path_factory.mktemp("embedded"), guard)
    server.start()
    yield server.url
    server.stop()


@pytest.fixture(scope="session")
def system_redis(guard: Guard, redis_binary: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a Redis that is installed on the machine."""
    port = free_port()
    with redis_server(guard, redis_binary, tmp_path_factory.mktemp("redis"), port):
        yield f"redis://127.0.0.1:{port}/0"


@pytest.fixture(scope="session")
def redis_cluster(guard: Guard, redis_binary: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a cluster of three nodes, each with a third of the slots."""
    free = free_ports(6)
    ports, buses = free[:3], free[3:]
    with contextlib.ExitStack() as stack:
        for port, bus in zip(ports, buses, strict=True):
            folder = tmp_path_factory.mktemp("node")
            stack.enter_context(
                redis_server(guard, redis_binary, folder, port, "--cluster-enabled", "yes", "--cluster-port", str(bus))
            )
        nodes = [stack.enter_context(Redis(port=port, decode_responses=True)) for port in ports]
        join(nodes, ports, buses)
        yield f"redis+cluster://127.0.0.1:{ports[0]}"


@contextlib.contextmanager
def redis_server(guard: Guard, binary: str, folder: Path, port: int, *options: str) -> Iterator[None]:
    """A server from the binary that is installed on the machine."""
    own = ["--port", str(port), "--dir", str(folder), "--appendonly", "yes", "--save", "", "--bind", "127.0.0.1"]
    process = guard.spawn([binary, *own, *options], stdout=subprocess.DEVNULL)
    try:
        wait_for_port(port)
        yield
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="session")
def own_redis(redis_binary: str) -> OwnRedis:
    """Starts servers that a test may kill and start again: nothing that one has acknowledged is lost."""

    @contextlib.contextmanager
    def start(folder: Path, port: int) -> Iterator[None]:
        folder.mkdir(exist_ok=True)
        with Guard() as guard, redis_server(guard, redis_binary, folder, port, "--appendfsync", "always"):
            yield

    return start


def join(nodes: list[Redis], ports: list[int], buses: list[int]) -> None:
    """Gives each node its share of the 16384 slots, and waits until every node knows of all."""
    share = -(-16384 // len(nodes))
    for index, node in enumerate(nodes):
        node.execute_command("CLUSTER SET-CONFIG-EPOCH", index + 1)
        node.execute_command("CLUSTER ADDSLOTSRANGE", share * index, min(share * (index + 1), 16384) - 1)
        if index:
            nodes[0].execute_command("CLUSTER MEET", "127.0.0.1", ports[index], buses[index])
    until(lambda: all(node.execute_command("CLUSTER INFO")["cluster_state"] == "ok" for node in nodes))


@pytest.fixture(params=["embedded", "system_redis", "redis_cluster"])
def redis_url(request: pytest.FixtureRequest) -> str:
    """Every store the tests must hold on."""
    url: str = request.getfixturevalue(request.param)
    return url


@pytest.fixture
def prefix() -> str:
    """A prefix of its own for each test: they share the servers."""
    return f"test-{secrets.token_hex(4)}:"


@pytest.fixture
def store_url(embedded: str) -> str:
    """The store that a test connects to."""
    return embedded


@pytest.fixture
async def connection(store_url: str, prefix: str) -> AsyncIterator[RedisConnection]:
    """The store, for what a test does in it or beside others."""
    connection = RedisConnection(store_url, prefix)
    yield connection
    await connection.close()


@pytest.fixture
def thread() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as thread:
        yield thread


@pytest.fixture(scope="session")
def shared_instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """A ``driftline up`` with the settings that everyone has, for all tests that neither stop it nor set anything.

    Who kills a process of it waits until the next one does its work.
    """
    with up(tmp_path_factory.mktemp("up")) as instance:
        yield instance


@pytest.fixture
def empty_instance(shared_instance: Instance) -> Iterator[Instance]:
    """The same, for one test, which finds it without models."""
    with emptied(shared_instance) as instance:
        yield instance


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"
