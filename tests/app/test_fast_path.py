"""A call that a connection makes itself and one that goes through uvicorn and ASGI: the same answers, in the same order."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from tests.app.conftest import connected
from tests.services import Instance, emptied, spec

pytestmark = pytest.mark.slow

ROW = [0.5] * 8
PREDICT = "/v1/models/weather/predict"


@pytest.fixture(scope="module")
def instance(shared_instance: Instance) -> Iterator[Instance]:
    with emptied(shared_instance) as instance:
        instance.client.create_model(spec(serving={"record": "none"}))
        instance.client.create_model(spec("tight", serving={"max_queue": 1}))
        for model in ("weather", "tight"):
            instance.client.predict(model, [ROW])
        yield instance


def request(path: str, body: bytes, *headers: str, version: str = "1.1", length: bool = True) -> bytes:
    lines = [f"POST {path} HTTP/{version}", "Host: localhost", "Content-Type: application/json", *headers]
    if length:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def rows(*values: Any) -> bytes:
    return json.dumps({"inputs": list(values)}).encode()


class Reader:
    """Takes answers off a connection, one after the other."""

    def __init__(self, client: socket.socket) -> None:
        self.file = client.makefile("rb")

    def answer(self) -> tuple[int, dict[str, str], Any]:
        status = int(self.file.readline().split()[1])
        headers = {}
        while (line := self.file.readline().strip()) != b"":
            name, _, value = line.decode().partition(": ")
            headers[name.lower()] = value
        return status, headers, json.loads(self.file.read(int(headers["content-length"])))


CHUNKED = "Transfer-Encoding: chunked"


def ways(path: str, body: bytes) -> dict[str, bytes]:
    """The same call, made directly and in ways that only uvicorn takes."""
    return {
        "direct": request(path, body),
        "escaped": request(path.replace("predict", "predi%63t"), body),
        "chunked": request(path, b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body), CHUNKED, length=False),
        "http/1.0": request(path, body, version="1.0"),
    }


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (rows(ROW, ROW), 200),
        (rows(ROW[:7]), 422),
        (b"{", 422),
        (b'{"inputs": [], "x": 1}', 422),
    ],
)
def test_every_way_gives_the_same_answer(instance: Instance, body: bytes, status: int) -> None:
    answers = {}
    for name, sent in ways(PREDICT, body).items():
        with connected(instance) as client:
            client.sendall(sent)
            answers[name] = Reader(client).answer()
    assert {answer[0] for answer in answers.values()} == {status}
    assert all(answer[2] == answers["direct"][2] for answer in answers.values()), answers
    kinds = {name: answer[1]["content-type"] for name, answer in answers.items()}
    assert set(kinds.values()) == {"application/json"}


@pytest.mark.parametrize(
    ("path", "body", "headers", "status"),
    [
        ("/v1/models/wether/predict", rows(ROW), (), 404),
        (PREDICT + "?version=1", rows(ROW), (), 200),
        (PREDICT + "?version=7", rows(ROW), (), 404),
        ("/v1/models/tight/predict", rows(ROW, ROW), (), 413),
        (PREDICT, rows(ROW), ("Origin: https://evil.example",), 403),
        (PREDICT, rows(ROW), ("Content-Encoding: gzip",), 415),
        (PREDICT, rows(*[ROW] * 40_000), (), 413),
    ],
)
def test_what_is_refused_or_cannot_be_direct_is_answered_all_the_same(
    instance: Instance, path: str, body: bytes, headers: tuple[str, ...], status: int
) -> None:
    with connected(instance) as client:
        reader = Reader(client)
        client.sendall(request(path, body, *headers))
        found = reader.answer()
        assert found[0] == status, found
        assert ("retry-after" in found[1]) == (status == 429)
        client.sendall(request(PREDICT, rows(ROW)))
        assert reader.answer()[0] == 200, "the connection goes on"


def test_calls_in_one_packet_are_answered_in_their_order(instance: Instance) -> None:
    with connected(instance) as client:
        reader = Reader(client)
        health = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
        for _ in range(20):
            client.sendall(
                request(PREDICT, rows(ROW)) + health + request(PREDICT, rows(ROW, ROW)) + request(PREDICT, b"{")
            )
            assert len(reader.answer()[2]["predictions"]) == 1
            assert reader.answer()[2] == {"status": "alive"}
            assert len(reader.answer()[2]["predictions"]) == 2
            assert reader.answer()[0] == 422


def test_a_connection_that_is_to_be_closed_is_closed_after_its_answer(instance: Instance) -> None:
    with connected(instance) as client:
        client.sendall(request(PREDICT, rows(ROW), "Connection: close"))
        reader = Reader(client)
        status, headers, _ = reader.answer()
        assert (status, headers["connection"]) == (200, "close")
        assert reader.file.read() == b""


def test_a_client_that_asks_whether_to_go_on_is_told(instance: Instance) -> None:
    with connected(instance) as client:
        body = rows(ROW)
        sent = request(PREDICT, body, "Expect: 100-continue")
        client.sendall(sent[: -len(body)])
        assert client.recv(100).startswith(b"HTTP/1.1 100")
        client.sendall(body)
        assert Reader(client).answer()[0] == 200


def test_a_body_in_pieces_is_one_body(instance: Instance) -> None:
    with connected(instance) as client:
        sent = request(PREDICT, rows(ROW))
        for start in range(0, len(sent), 7):
            client.sendall(sent[start : start + 7])
        assert Reader(client).answer()[0] == 200
