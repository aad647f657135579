"""Brokers and databases of the machine's own, each started once for all tests, on a free port and in a folder that goes."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer

from driftline.processes.supervisor import Guard
from tests.ports import free_port, free_ports, missing, wait_for_port


@pytest.fixture(scope="session")
def kafka() -> Iterator[tuple[Producer, str]]:
    """A producer with a mock cluster of librdkafka, which speaks the protocol; and where its brokers are."""
    producer = Producer({"test.mock.num.brokers": 2, "bootstrap.servers": "unused"})
    brokers = producer.list_topics(timeout=20).brokers.values()
    yield producer, ",".join(f"{broker.host}:{broker.port}" for broker in brokers)
    producer.flush()


@pytest.fixture(scope="session")
def nats_server(guard: Guard, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a NATS server of the machine's own, with JetStream."""
    binary, port = shutil.which("nats-server") or missing("nats-server"), free_port()
    options = ["-js", "-sd", str(tmp_path_factory.mktemp("nats")), "-a", "127.0.0.1", "-p", str(port)]
    process = guard.spawn([binary, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for_port(port)
    yield f"nats://127.0.0.1:{port}"
    process.kill()
    process.wait()


@pytest.fixture(scope="session")
def postgres(guard: Guard) -> Iterator[str]:
    """The URL of a PostgreSQL of the machine's own, as SQLAlchemy has it."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    initdb = str(found[-1]) if found else shutil.which("initdb") or missing("postgresql")
    user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    # Outside pytest's own folders, which are for the user alone who runs the tests.
    with tempfile.TemporaryDirectory(prefix="driftline-postgres-", ignore_cleanup_errors=True) as name:
        folder, port = Path(name), free_port()
        if user:
            shutil.chown(folder, "postgres")
        data = str(folder / "data")
        made_of = [*user, initdb, "-D", data, "-A", "trust", "-U", "driftline", "--no-sync"]
        subprocess.run(made_of, check=True, capture_output=True)
        options = ["-D", data, "-p", str(port), "-h", "127.0.0.1", "-k", name, "-F"]
        server = str(Path(initdb).with_name("postgres"))
        process = guard.spawn([*user, server, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for_port(port)
        yield f"postgresql+psycopg://driftline@127.0.0.1:{port}/postgres"
        process.terminate()
        process.wait()


@pytest.fixture(scope="session")
def mosquitto(guard: Guard, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of an MQTT broker of the machine's own."""
    binary, port = shutil.which("mosquitto") or missing("mosquitto"), free_port()
    config = tmp_path_factory.mktemp("mosquitto") / "mosquitto.conf"
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n")
    process = guard.spawn([binary, "-c", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for_port(port)
    yield port
    process.kill()
    process.wait()


@pytest.fixture(scope="session")
def rabbitmq(guard: Guard) -> Iterator[str]:
    """The URL of a RabbitMQ of the machine's own, with a name server of its own."""
    server, epmd = Path("/usr/lib/rabbitmq/bin/rabbitmq-server"), shutil.which("epmd")
    if not server.exists() or epmd is None:
        missing("rabbitmq-server")
    port, distribution, names = free_ports(3)
    with tempfile.TemporaryDirectory(prefix="driftline-rabbitmq-", ignore_cleanup_errors=True) as folder:
        (Path(folder) / "plugins").write_text("[].\n")
        own = {
            "HOME": folder,
            "ERL_EPMD_PORT": str(names),
            "RABBITMQ_NODENAME": f"d{secrets.token_hex(4)}@localhost",
            "RABBITMQ_NODE_PORT": str(port),
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_DIST_PORT": str(distribution),
            "RABBITMQ_MNESIA_BASE": folder,
            "RABBITMQ_LOG_BASE": folder,
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{folder}/plugins",
            "RABBITMQ_PID_FILE": f"{folder}/pid",
        }
        nowhere = subprocess.DEVNULL
        named = guard.spawn([epmd, "-port", str(names), "-address", "127.0.0.1"], stdout=nowhere, stderr=nowhere)
        wait_for_port(names)
        process = guard.spawn([str(server)], env=os.environ | own, stdout=nowhere, stderr=nowhere)
        wait_for_port(port)
        yield f"amqp://guest:guest@127.0.0.1:{port}/"
        for each in (process, named):
            each.terminate()
            each.wait()
