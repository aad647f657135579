"""A client follows events over any break, and gets each once."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from driftline import AsyncClient, Client
from driftline.errors import NotFound
from tests.scripted_server import ScriptedServer, scripted_server
from tests.services import spec, up


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with scripted_server() as server:
        server.headers = {"content-type": "text/event-stream"}
        yield server


def event(n: int, kind: str = "pause") -> dict[str, Any]:
    return {"id": f"{n:013d}-{n:08d}-u", "n": n, "model": "m", "kind": kind}


def stream(*events: dict[str, Any], end: bytes = b"") -> bytes:
    messages = [f"id: {found['id']}\nevent: {found['kind']}\ndata: {json.dumps(found)}\n\n" for found in events]
    return b": still here\n\n" + "".join(messages).encode() + end


def scripts(server: ScriptedServer) -> None:
    """Each connection breaks; the second repeats an event, as one of all models may, and is cut off within another."""
    cut = b'id: 0000000000004-00000004-u\nevent: pause\ndata: {"id": "0000000000004-000'
    server.answers = [(200, stream(event(1), event(2))), (200, stream(event(2), event(3)) + cut[:40])]
    server.answers += [(503, {"error": {"code": "store_unavailable", "message": "down"}})]
    server.answers += [(200, stream(event(4), event(5, "deleted")))]


def test_a_stream_is_taken_up_where_it_broke_off_and_ends_with_the_model(server: ScriptedServer) -> None:
    scripts(server)
    with Client(server.url) as client:
        assert [found["n"] for found in client.follow("m", kind=["pause", "deleted"])] == [1, 2, 3, 4, 5]
    assert {request.path for request in server.requests} == {"/v1/models/m/events?kind=pause%2Cdeleted"}
    assert {request.headers["accept"] for request in server.requests} == {"text/event-stream"}
    after = [request.headers.get("last-event-id") for request in server.requests]
    assert after == [None, event(2)["id"], event(3)["id"], event(3)["id"]]


def test_an_awaited_stream_is_the_same(server: ScriptedServer) -> None:
    scripts(server)

    async def followed() -> list[int]:
        async with AsyncClient(server.url) as client:
            return [found["n"] async for found in client.follow("m", after=event(9)["id"])]

    assert asyncio.run(followed()) == [1, 2, 3, 4, 5]
    assert server.requests[0].headers["last-event-id"] == event(9)["id"]


def test_a_stream_of_no_model_is_refused(server: ScriptedServer) -> None:
    server.answers = [(404, {"error": {"code": "unknown_model", "message": "there is no model 'm'"}})]
    with Client(server.url) as client, pytest.raises(NotFound, match="there is no model"):
        next(client.follow("m"))


@pytest.mark.slow
def test_events_are_followed_while_the_server_is_killed(tmp_path: Path) -> None:
    with up(tmp_path / "up") as instance, Client(instance.url) as client:
        client.create_model(spec())
        created = client.events("weather", kind="created")["events"][0]["id"]
        found: list[Any] = []

        def follow() -> None:
            with Client(instance.url) as own:
                # Also that a worker has taken the model is an event, whenever that is.
                found.extend(islice(own.follow("weather", kind=["pause", "resume"], after=created), 6))

        following = threading.Thread(target=follow)
        following.start()
        for number in range(3):
            client.pause("weather", reason=f"no. {number}")
            client.resume("weather")
            instance.kill("app")
        following.join()
    assert [event["kind"] for event in found] == ["pause", "resume"] * 3
    assert [event["reason"] for event in found][::2] == ["no. 0", "no. 1", "no. 2"]
