"""Brokers and databases of the machine's own, each started once for all tests, on a free port and in a folder that goes."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

import pytest
from confluent_kafka import Producer

from driftline.processes.supervisor import Guard
from tests.ports import free_port, free_ports, missing, wait_for_port
from tests.waiting import SECONDS

Process: TypeAlias = "subprocess.Popen[bytes]"


@pytest.fixture(scope="session")
def kafka() -> Iterator[tuple[Producer, str]]:
    """A producer with a mock cluster of librdkafka, which speaks the protocol; and where its brokers are."""
    producer = Producer({"test.mock.num.brokers": 2, "bootstrap.servers": "unused"})
    brokers = producer.list_topics(timeout=SECONDS).brokers.values()
    yield producer, ",".join(f"{broker.host}:{broker.port}" for broker in brokers)
    producer.flush()


@pytest.fixture(scope="session")
def nats_server(guard: Guard, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a NATS server of the machine's own, with JetStream."""
    port = free_port()
    process = start_nats(guard, tmp_path_factory.mktemp("nats"), port)
    yield f"nats://127.0.0.1:{port}"
    process.kill()
    process.wait()


@pytest.fixture(scope="session")
def postgres(guard: Guard) -> Iterator[str]:
    """The URL of a PostgreSQL of the machine's own, as SQLAlchemy has it."""
    server = PostgresServer(guard, free_port())
    server.start()
    yield server.url
    server.close()


@pytest.fixture(scope="session")
def mosquitto(guard: Guard, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of an MQTT broker of the machine's own."""
    port = free_port()
    process = start_mosquitto(guard, tmp_path_factory.mktemp("mosquitto"), port)
    yield port
    process.kill()
    process.wait()


@pytest.fixture(scope="session")
def rabbitmq(guard: Guard) -> Iterator[str]:
    """The URL of a RabbitMQ of the machine's own."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="driftline-rabbitmq-", ignore_cleanup_errors=True) as folder:
        rabbit = RabbitMqServer(guard, Path(folder), port)
        rabbit.start()
        yield rabbit.url
        rabbit.close()


def start_nats(guard: Guard, folder: Path, port: int) -> Process:
    """A server with JetStream, whose streams stand in ``folder``."""
    binary = shutil.which("nats-server") or missing("nats-server")
    options = ["-js", "-sd", str(folder), "-a", "127.0.0.1", "-p", str(port)]
    return _started(guard, [binary, *options], port)


def start_mosquitto(guard: Guard, folder: Path, port: int) -> Process:
    """An MQTT broker, whose sessions stand in ``folder`` once it has been asked to end."""
    binary = shutil.which("mosquitto") or missing("mosquitto")
    config = folder / "mosquitto.conf"
    kept = f"persistence true\npersistence_location {folder}/\nuser root\n"
    config.write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\nmax_inflight_messages 500\n{kept}"
    )
    return _started(guard, [binary, "-c", str(config)], port)


class RabbitMqServer:
    """A server whose queues stand in ``folder``, and the name server that it needs, which goes with it."""

    def __init__(self, guard: Guard, folder: Path, port: int) -> None:
        self.guard, self.folder, self.port = guard, folder, port
        self.url = f"amqp://guest:guest@127.0.0.1:{port}/"
        self.distribution, names = free_ports(2)
        server, epmd = Path("/usr/lib/rabbitmq/bin/rabbitmq-server"), shutil.which("epmd")
        if not server.exists() or epmd is None:
            missing("rabbitmq-server")
        (folder / "plugins").write_text("[].\n")
        self.argv = [str(server)]
        self.own = {
            "HOME": str(folder),
            "ERL_EPMD_PORT": str(names),
            "RABBITMQ_NODENAME": f"d{secrets.token_hex(4)}@localhost",
            "RABBITMQ_NODE_PORT": str(port),
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_DIST_PORT": str(self.distribution),
            "RABBITMQ_MNESIA_BASE": str(folder),
            "RABBITMQ_LOG_BASE": str(folder),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
        }
        self.names = _started(guard, [epmd, "-port", str(names), "-address", "127.0.0.1"], names)
        self.process: Process | None = None

    def start(self) -> Process:
        """Starts it, also after it was killed."""
        self.process = _started(self.guard, self.argv, self.port, os.environ | self.own)
        return self.process

    def kill(self) -> None:
        """kill -9 of the server itself, which its script has started."""
        pid = int((self.folder / "pid").read_text())
        os.kill(pid, signal.SIGKILL)
        assert self.process is not None
        self.process.wait()

    def close(self) -> None:
        """Ends both."""
        for each in (self.process, self.names):
            assert each is not None
            each.terminate()
            each.wait()


class PostgresServer:
    """A server whose data stand in a folder of its own, outside pytest's, which are for the user alone who runs the tests."""

    def __init__(self, guard: Guard, port: int) -> None:
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
        initdb = str(found[-1]) if found else shutil.which("initdb") or missing("postgresql")
        user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        self.guard, self.port = guard, port
        self.url = f"postgresql+psycopg://driftline@127.0.0.1:{port}/postgres"
        self.folder = tempfile.TemporaryDirectory(prefix="driftline-postgres-", ignore_cleanup_errors=True)
        if user:
            shutil.chown(self.folder.name, "postgres")
        self.data = Path(self.folder.name) / "data"
        made_of = [*user, initdb, "-D", str(self.data), "-A", "trust", "-U", "driftline", "--no-sync"]
        subprocess.run(made_of, check=True, capture_output=True)
        options = ["-D", str(self.data), "-p", str(port), "-h", "127.0.0.1", "-k", self.folder.name, "-F"]
        self.argv = [*user, str(Path(initdb).with_name("postgres")), *options]
        self.process: Process | None = None

    def start(self) -> None:
        """Starts it, also after it was killed."""
        self.process = _started(self.guard, self.argv, self.port)

    def kill(self) -> None:
        """kill -9 of the server itself, and of who works for it, which ``runuser`` has started."""
        pid = int((self.data / "postmaster.pid").read_text().split()[0])
        children = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False).stdout.split()
        for each in (pid, *map(int, children)):
            with suppress(ProcessLookupError):
                os.kill(each, signal.SIGKILL)
        assert self.process is not None
        self.process.wait()

    def close(self) -> None:
        """Ends it, and removes its data."""
        assert self.process is not None
        self.process.terminate()
        self.process.wait()
        self.folder.cleanup()


def _started(guard: Guard, argv: list[str], port: int, env: Mapping[str, str] | None = None) -> Process:
    process = guard.spawn(argv, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for_port(port)
    return process
