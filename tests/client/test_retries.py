"""What a client does by itself when a server is full, away, or late."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from driftline import errors
from driftline.client import retries
from driftline.client.clients import AsyncClient, Client
from tests.client.test_clients import kind, server
from tests.scripted_server import ScriptedServer

__all__ = ["kind", "server"]
FULL = (429, {"error": {"code": "queue_full", "message": "full"}})
AWAY = (503, {"error": {"code": "store_unavailable", "message": "away"}})
LATE = (504, {"error": {"code": "late", "message": "late"}})
ACCEPTED = (202, {"accepted": 1, "items": [{"id": "a", "status": "queued"}]})


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "FIRST_PAUSE", 0.005)


@pytest.fixture
def client(server: ScriptedServer, kind: Any) -> Iterator[Any]:
    with kind(server.url) as client:
        yield client


@pytest.mark.parametrize("answer", [FULL, AWAY, LATE])
@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("predict", ("m", [[1]])),
        ("model", ("m",)),
        ("feedback", ("m", [{"label": 1}])),
        ("retrain_dry_run", ("m",)),
    ],
)
def test_what_is_safe_is_made_again_and_sends_the_same(
    server: ScriptedServer, client: Any, answer: Any, method: str, arguments: Any
) -> None:
    server.answers = [answer, answer, ACCEPTED]
    assert getattr(client, method)(*arguments)["accepted"] == 1
    assert len(server.requests) == 3
    assert len({request.body for request in server.requests}) == 1


@pytest.mark.parametrize(("answer", "count"), [(FULL, 2), (AWAY, 2), (LATE, 1)])
@pytest.mark.parametrize("method", ["retrain", "promote", "create_model", "delete_model"])
def test_what_may_have_begun_is_not_made_again(
    server: ScriptedServer, client: Any, answer: Any, count: int, method: str
) -> None:
    server.answers = [answer, (202, {"job_id": "u-1"})]
    with suppress(errors.Late):
        getattr(client, method)({"name": "m"} if method == "create_model" else "m")
    assert len(server.requests) == count


def test_an_error_of_the_callers_own_is_raised_at_once(server: ScriptedServer, client: Any) -> None:
    server.answers = [(422, {"error": {"code": "wrong_shape", "message": "wrong"}})]
    with pytest.raises(errors.InvalidInput):
        client.predict("m", [[1]])
    assert len(server.requests) == 1


def test_retries_and_seconds_are_limits(server: ScriptedServer, kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    server.answers = [AWAY] * 50
    with kind(server.url, retries=2) as client, pytest.raises(errors.Unavailable):
        client.model("m")
    assert len(server.requests) == 3
    monkeypatch.setattr(retries, "FIRST_PAUSE", 1000.0)
    monkeypatch.setattr(retries, "MAX_PAUSE", 1000.0)
    with kind(server.url, timeout=60.0) as client, pytest.raises(errors.Unavailable):
        client.model("m")
    assert len(server.requests) == 4, "the next pause is longer than what is left"
    with kind(server.url, retries=-1) as client, pytest.raises(errors.ConfigurationError, match="retries: -1"):
        client.model("m")


def test_a_retry_comes_no_earlier_than_the_server_has_asked_for(server: ScriptedServer, client: Any) -> None:
    server.answers = [FULL]
    server.headers = {"retry-after": "1"}
    began = time.monotonic()
    client.model("m")
    assert time.monotonic() - began >= 1.0


def test_pauses_grow_and_differ() -> None:
    pauses = [[retries.pause_before(attempt, None) for _ in range(50)] for attempt in (1, 4, 60)]
    assert max(pauses[0]) < min(pauses[1]) < max(pauses[1]) < min(pauses[2]) <= max(pauses[2]) <= retries.MAX_PAUSE
    assert len(set(pauses[0])) > 1


@contextmanager
def breaking(*endings: Callable[[socket.socket], None]) -> Iterator[tuple[str, list[bytes]]]:
    """A server whose connections end one after the other as they are told to, once a request has come."""
    received: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            for ending in endings:
                connection, _ = listener.accept()
                with connection:
                    received.append(connection.recv(1 << 16))
                    ending(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", received
        thread.join()


def cut(connection: socket.socket) -> None:
    """No answer at all."""


def half(connection: socket.socket) -> None:
    connection.sendall(b'HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{"name"')


def whole(connection: socket.socket) -> None:
    connection.sendall(b'HTTP/1.1 200 OK\r\ncontent-length: 14\r\n\r\n{"accepted":1}')


def test_a_broken_connection_is_made_again_for_what_is_safe(kind: Any) -> None:
    with breaking(cut, half, whole) as (url, received), kind(url) as client:
        assert client.feedback("m", [{"label": 1}])["accepted"] == 1
    assert len(received) == 3


def test_a_command_whose_answer_is_lost_is_not_sent_again(kind: Any) -> None:
    with breaking(cut) as (url, received), kind(url) as client, pytest.raises(errors.Unavailable):
        client.rollback("m", 1)
    assert len(received) == 1


@pytest.mark.parametrize("method", ["retrain", "model"])
def test_a_server_that_starts_late_is_waited_for(kind: Any, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was sent before there was a connection, so that any call may be made again."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    monkeypatch.setattr(retries, "FIRST_PAUSE", 0.2)
    served = threading.Event()

    def start() -> None:
        time.sleep(0.3)
        with socket.create_server(("127.0.0.1", port)) as listener:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1 << 16)
                connection.sendall(b'HTTP/1.1 200 OK\r\ncontent-length: 16\r\n\r\n{"job_id":"u-1"}')
        served.set()

    thread = threading.Thread(target=start)
    thread.start()
    with kind(f"http://127.0.0.1:{port}") as client:
        assert getattr(client, method)("m")
    thread.join()
    assert served.is_set()


def test_a_stream_goes_on_where_it_broke(server: ScriptedServer, client: Any) -> None:
    """The same lines are sent again; what was answered before is not answered twice."""
    first = b'{"id":"0","status":"queued"}\n'
    store = b'{"status":"error","error":{"code":"store_unavailable","message":"away"}}\n'
    again = b'{"id":"0","status":"duplicate"}\n{"id":"1","status":"queued"}\n'
    server.answers = [AWAY, (200, first + store), (200, again)]
    items = [{"id": str(n), "label": n} for n in range(2)]
    found = list(client.feedback_stream("m", items))
    assert [(status["id"], status["status"]) for status in found] == [("0", "queued"), ("1", "queued")]
    assert len({request.body for request in server.requests}) == 1


def test_a_log_that_breaks_off_is_an_error(server: ScriptedServer, client: Any) -> None:
    server.answers = [AWAY, (200, b'{"n":1}\n')]
    assert list(client.log("m")) == [{"n": 1}], "before its first line it may be asked again"

    def broken(connection: socket.socket) -> None:
        connection.sendall(b'HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{"n":1}\n')

    with breaking(broken) as (url, received), Client(url) as own:
        lines = own.log("m")
        assert next(lines)["n"] == 1
        with pytest.raises(errors.Unavailable):
            next(lines)
    assert len(received) == 1


def test_probes_answer_at_once(server: ScriptedServer, client: Any) -> None:
    server.answers = [AWAY, AWAY]
    assert not client.ready()
    assert len(server.requests) == 1


def test_many_async_calls_wait_beside_each_other(server: ScriptedServer) -> None:
    server.answers = [AWAY] * 8

    async def ask() -> None:
        async with AsyncClient(server.url) as client:
            await asyncio.gather(*(client.model("m") for _ in range(8)))

    asyncio.run(ask())
    assert len(server.requests) == 16
