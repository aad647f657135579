"""A stop under load, and a Redis that is emptied: what was promised is kept, and nothing pretends to be what it is not."""

from __future__ import annotations

import contextlib
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from redis import Redis

from driftline.client.clients import Client
from driftline.errors import NotFound, Unavailable
from tests.conftest import OwnRedis
from tests.faults.parts import BODY, asking
from tests.feeding import check_all_served_once, feeding
from tests.ports import free_port
from tests.services import Instance, answered_by, is_there, spec, up
from tests.waiting import SECONDS, until

pytestmark = pytest.mark.slow


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A folder for temporary files, short enough for a socket's path."""
    folder = Path(tempfile.mkdtemp(prefix="dl"))
    yield folder
    shutil.rmtree(folder)


@contextlib.contextmanager
def begun(url: str, count: int) -> Iterator[list[socket.socket]]:
    """Connections that have each sent a request but for the last half of its body."""
    address = httpx.URL(url)
    with contextlib.ExitStack() as stack:
        callers = []
        for _ in range(count):
            caller = stack.enter_context(socket.create_connection((address.host, address.port or 80), SECONDS))
            head = f"POST /v1/models/weather/predict HTTP/1.1\r\nhost: {address.host}:{address.port}\r\n"
            head += f"content-type: application/json\r\ncontent-length: {len(BODY)}\r\n\r\n"
            caller.sendall(head.encode() + BODY[:20])
            callers.append(caller)
        yield callers


def answer(caller: socket.socket) -> bytes:
    """What comes until the other side closes."""
    parts = []
    while part := caller.recv(2**16):
        parts.append(part)
    return b"".join(parts)


def test_a_stop_under_load_answers_what_has_begun_and_leaves_nothing_behind(tmp_path: Path, temporary: Path) -> None:
    port = str(free_port())
    with up(tmp_path, "--port", port, TMPDIR=str(temporary)) as instance:
        instance.client.create_model(spec())
        instance.client.predict("weather", [[0.5] * 8])
        pids = [instance.process.pid, *(instance.pid(child) for child in ("valkey", "app", "worker"))]
        with asking(instance.url) as asker, feeding(instance) as feeder, begun(instance.url, 5) as callers:
            until(lambda: len(feeder.acknowledged) > 200)
            instance.process.terminate()
            until(lambda: is_closed_for_new_requests(instance))
            for caller in callers:
                caller.sendall(BODY[20:])
            answers = [answer(caller) for caller in callers]
            assert all(text.startswith(b"HTTP/1.1 200 ") and b'"predictions"' in text for text in answers), answers
            assert instance.process.wait(SECONDS) == 0
            until(lambda: not any(map(is_there, pids)))
            assert list(temporary.glob("driftline-*")) == []
            with up(tmp_path, "--port", port, TMPDIR=str(temporary)) as instance:
                acknowledged, answered = len(feeder.acknowledged), len(asker.versions)
                until(lambda: len(feeder.acknowledged) > acknowledged + 50 and len(asker.versions) > answered + 20)
                feeder.is_over.set()
                asker.is_over.set()
                check_all_served_once(instance, feeder)


def is_closed_for_new_requests(instance: Instance) -> bool:
    """Whether the app no longer answers: a new connection is refused, or waits for one that will."""
    try:
        httpx.get(f"{instance.url}/livez", timeout=0.2)
    except httpx.TransportError:
        return True
    return False


def test_an_emptied_redis_is_noticed_and_nothing_is_made_up_in_its_place(tmp_path: Path, own_redis: OwnRedis) -> None:
    port = free_port()
    environment = {
        "DRIFTLINE_REDIS_URL": f"redis://127.0.0.1:{port}/0",
        "DRIFTLINE_CHECKPOINT_SECONDS": "1",
        "DRIFTLINE_SWEEP_SECONDS": "0.3",
        "DRIFTLINE_ORPHAN_SECONDS": "1",
        "DRIFTLINE_LEASE_SECONDS": "2",
    }
    row = {"inputs": [0.5] * 8, "label": 1}
    with own_redis(tmp_path / "redis", port):
        redis = Redis(port=port, decode_responses=True)
        with up(tmp_path / "up", **environment) as instance:
            client = instance.client
            until(lambda: created(client))
            with feeding(instance) as feeder:
                until(lambda: client.model("weather")["version"] > 2)
            check_all_served_once(instance, feeder)
            files = until(lambda: blobs(tmp_path))
            answered_by(client, "weather", client.model("weather")["version"], [[0.5] * 8])
            with asking(instance.url) as asker:
                until(lambda: asker.versions)
                asked = client.predict("weather", [[0.5] * 8])["predictions"][0]["id"]
                redis.flushall()
                answered = len(asker.versions)
                for item in (row, {"prediction_id": asked, "label": 1}):
                    with pytest.raises(Unavailable) as refused:
                        client.feedback("weather", [item])
                    assert refused.value.code == "store_lost" and "restore its backup" in refused.value.message
                with pytest.raises(Unavailable):
                    client.create_model(spec())
                time.sleep(2.5)  # longer than it takes to look, to lose a lease, and to take files for left over
                until(lambda: len(asker.versions) > answered + 5)  # what is loaded is served
            assert asker.broken == 0
            until(lambda: said(instance, "the store has lost its data"))
            # What is served is recorded, and a worker that lives says so; neither is data of a model that was lost.
            kept = [key for key in redis.keys("*") if ":predictions:" not in key and key != "driftline:workers"]
            assert kept == [], "no head, log or lease is made up"
            assert set(asker.versions) == {asker.versions[0]}
        with up(tmp_path / "up", **environment) as instance:
            client = instance.client
            assert list(client.models()) == []
            with pytest.raises(NotFound):
                client.predict("weather", [[0.5] * 8])
            with pytest.raises(NotFound):
                client.feedback("weather", [row])
            until(lambda: said(instance, "holds the files of another store"))
            until(lambda: created(client))
            assert client.model("weather")["learned"] == 0
            until(lambda: client.feedback("weather", [row])["accepted"] == 1)
            assert blobs(tmp_path) >= files, "the files of the lost models are not ours to delete"


def created(client: Client) -> bool:
    """Whether the model could be made; its first files may be taken for left over before it has its name."""
    try:
        client.create_model(spec())
    except Unavailable:
        return False
    return True


def blobs(folder: Path) -> set[str]:
    return {path.name for path in (folder / "up" / "driftline-data" / "artifacts").glob("*/*")}


def said(instance: Instance, words: str) -> bool:
    return any(words in line for line in instance.lines)
