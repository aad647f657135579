"""Brokers, tables and files that a drill feeds, kills and starts again."""

from __future__ import annotations

import asyncio
import json
import random
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from confluent_kafka import Producer

from driftline.processes.supervisor import Guard
from tests.brokers import PostgresServer, RabbitMqServer, start_mosquitto, start_nats
from tests.conftest import OwnRedis
from tests.ports import free_port
from tests.waiting import SECONDS, until
from tests.worker.test_broker_sources import send, to_rabbit

COLUMNS = {"n": "bigint", "row": "double precision[]", "label": "bigint"}
NEW_COLUMNS = {"outcome": "bigint", "colour": "text"}


class Broker:
    """A broker of one kind: what its source is, how it is fed, and how it dies and comes back."""

    source: Mapping[str, Any]

    def produce(self, found: list[bytes]) -> None:
        raise NotImplementedError

    def kill(self) -> None:
        """kill -9, and a new start."""

    def close(self) -> None:
        """Ends it."""


class RedisBroker(Broker):
    def __init__(self, own_redis: OwnRedis, folder: Path) -> None:
        self.folder, self.port, self.own_redis = folder, free_port(), own_redis
        self.source = {"type": "redis_stream", "url": f"redis://127.0.0.1:{self.port}", "stream": "s", "data": "d"}
        self.running = self.own_redis(self.folder, self.port)
        self.running.__enter__()

    def produce(self, found: list[bytes]) -> None:
        from redis import Redis

        with Redis(port=self.port) as redis, redis.pipeline(transaction=False) as pipe:
            for each in found:
                pipe.xadd("s", {"d": each})
            pipe.execute()

    def kill(self) -> None:
        self.running.__exit__(None, None, None)  # It ends by SIGKILL.
        self.running = self.own_redis(self.folder, self.port)
        self.running.__enter__()

    def close(self) -> None:
        self.running.__exit__(None, None, None)


class KafkaBroker(Broker):
    def __init__(self, kafka: tuple[Producer, str]) -> None:
        self.producer, servers = kafka
        self.source = {"type": "kafka", "servers": servers, "topic": f"kills-{random.randrange(10**9)}"}

    def produce(self, found: list[bytes]) -> None:
        for each in found:
            self.producer.produce(self.source["topic"], each, partition=0)
            self.producer.poll(0)
        self.producer.flush()


class NatsBroker(Broker):
    def __init__(self, guard: Guard, folder: Path) -> None:
        self.guard, self.folder, self.port = guard, folder, free_port()
        self.source = {"type": "nats", "url": f"nats://127.0.0.1:{self.port}", "stream": "s"}
        self.process = start_nats(guard, folder, self.port)

    def produce(self, found: list[bytes]) -> None:
        asyncio.run(self._publish(found))

    async def _publish(self, found: list[bytes]) -> None:
        import nats

        connection = await nats.connect(self.source["url"])
        stream = connection.jetstream()
        await stream.add_stream(name="s", subjects=["s.>"])
        for first in range(0, len(found), 500):
            await asyncio.gather(*(stream.publish("s.a", each, timeout=SECONDS) for each in found[first : first + 500]))
        await connection.close()

    def kill(self) -> None:
        self.close()
        self.process = start_nats(self.guard, self.folder, self.port)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


class RabbitBroker(Broker):
    def __init__(self, guard: Guard, folder: Path) -> None:
        self.server = RabbitMqServer(guard, folder, free_port())
        self.source = {"type": "rabbitmq", "url": self.server.url, "queue": "s"}
        self.server.start()

    def produce(self, found: list[bytes]) -> None:
        asyncio.run(to_rabbit(self.server.url, "s", found))

    def kill(self) -> None:
        self.server.kill()
        self.server.start()

    def close(self) -> None:
        self.server.close()


class MqttBroker(Broker):
    """It writes its sessions when it is asked to end: what a kill -9 costs them is between it and who publishes."""

    def __init__(self, guard: Guard, folder: Path) -> None:
        self.guard, self.folder, self.port = guard, folder, free_port()
        self.source = {"type": "mqtt", "host": "127.0.0.1", "port": self.port, "topic": "s"}
        self.process = start_mosquitto(guard, folder, self.port)

    def produce(self, found: list[bytes]) -> None:
        send(self.port, "s", found)

    def kill(self) -> None:
        self.close()
        self.process = start_mosquitto(self.guard, self.folder, self.port)

    def close(self) -> None:
        self.process.terminate()
        self.process.wait()


def _object(record: bytes) -> dict[str, Any]:
    """What a record says, where it is one; nothing, where what holds it holds objects alone."""
    try:
        return dict(json.loads(record))
    except ValueError:
        return {}


class PostgresBroker(Broker):
    """A table, which has more columns once the records are written otherwise."""

    def __init__(self, guard: Guard) -> None:
        self.server = PostgresServer(guard, free_port())
        self.source = {"type": "sql", "url": self.server.url, "table": "labels", "cursor": "id", "poll_seconds": 0.1}
        self.server.start()

    def produce(self, found: list[bytes]) -> None:
        rows = [_object(each) for each in found]
        until(lambda: self._inserted(rows))

    def _inserted(self, rows: list[dict[str, Any]]) -> bool:
        """Whether they are in the table; one that has just started takes none, nor a part of them."""
        import psycopg

        columns = COLUMNS | (NEW_COLUMNS if any("outcome" in row for row in rows) else {})
        described = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())
        try:
            with psycopg.connect(self.server.url.replace("+psycopg", "")) as connection, connection.cursor() as cursor:
                cursor.execute(f"CREATE TABLE IF NOT EXISTS labels (id bigserial PRIMARY KEY, {described})")
                for name, kind in columns.items():
                    cursor.execute(f"ALTER TABLE labels ADD COLUMN IF NOT EXISTS {name} {kind}")
                with cursor.copy(f"COPY labels ({', '.join(columns)}) FROM STDIN") as copy:
                    for row in rows:
                        copy.write_row([row.get(name) for name in columns])
        except psycopg.OperationalError:
            return False
        return True

    def kill(self) -> None:
        self.server.kill()
        self.server.start()

    def close(self) -> None:
        self.server.close()


class HttpService(Broker):
    """A service that answers pages of what there is; it ends with its connections, and another one takes its port."""

    PAGE = 500

    def __init__(self) -> None:
        self.port, self.found = free_port(), list[dict[str, Any]]()
        url = f"http://127.0.0.1:{self.port}/labels"
        self.source = {"type": "http", "url": url, "cursor": "at", "records": "page", "poll_seconds": 0.1}
        self._start()

    def _start(self) -> None:
        found = self.found

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                after = int(parse_qs(urlsplit(self.path).query).get("after", ["-1"])[0])
                body = json.dumps({"page": found[after + 1 : after + 1 + HttpService.PAGE]}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *arguments: Any) -> None:
                return None

        self.server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def produce(self, found: list[bytes]) -> None:
        for each in found:
            self.found.append(_object(each) | {"at": len(self.found)})

    def kill(self) -> None:
        self.close()
        self._start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


class RotatedFiles(Broker):
    """A file that is added to, also by halves of a line; in place of a kill it is renamed, and another one begun."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.path, self.rotated = folder / "labels.ndjson", 0
        self.source = {"type": "files", "path": f"{self.path}*"}

    def produce(self, found: list[bytes]) -> None:
        text = b"".join(each + b"\n" for each in found)
        middle = len(text) // 2
        for part in (text[:middle], text[middle:]):
            with self.path.open("ab") as file:
                file.write(part)

    def kill(self) -> None:
        self.rotated += 1
        self.path.rename(f"{self.path}.{self.rotated}")
        self.path.touch()
