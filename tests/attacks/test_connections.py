"""What a stranger's connection costs: a head, a URL, a body that is never read; and what a caller's costs."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import uvicorn

from app.http_server import HttpConnection, HttpServer
from app.main import App, create_app
from driftline.client.clients import Client
from driftline.errors import NotFound
from driftline.settings import Settings
from tests.services import spec
from tests.waiting import SECONDS, until

KEYLESS = b"POST /v1/models/weather/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
BODY = b'{"inputs": [[0, 0, 0, 0, 0, 0, 0, 0]]}'
MiB = 2**20


class Attacked:
    """A server of this process, which other connections reach, and its memory with it."""

    def __init__(self, app: App, port: int, key: str) -> None:
        self.app = app
        self.port = port
        self.key = key

    @property
    def held(self) -> int:
        """Bytes of bodies that it holds."""
        total: int = self.app.state.services.held_bytes.total
        return total

    @contextlib.contextmanager
    def connected(self) -> Iterator[socket.socket]:
        with socket.create_connection(("127.0.0.1", self.port), SECONDS) as client:
            yield client

    def answer_to(self, *parts: bytes) -> bytes:
        """All that the server says until it ends the connection, to parts that are sent one after the other."""
        with self.connected() as client:
            with contextlib.suppress(OSError):
                for part in parts:
                    client.sendall(part)
            return received(client)


def received(client: socket.socket) -> bytes:
    found = b""
    with contextlib.suppress(ConnectionResetError):
        while part := client.recv(65536):
            found += part
    return found


@pytest.fixture(scope="module")
def attacked(embedded: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    """A server that asks for keys, with short limits."""
    folder: Path = tmp_path_factory.mktemp("attacked")
    settings = Settings(
        redis_url=embedded,
        prefix="connections:",
        data_dir=folder,
        read_timeout=2.0,
        body_timeout=4.0,
        max_body_bytes=MiB,
        max_held_bytes=4 * MiB,
        path_prefix="/ml/live",
    )
    app = create_app(settings)
    key = app.state.services.keys.create(["admin"])
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(
            app, log_config=None, access_log=False, lifespan="on", ws="none", proxy_headers=False, http=HttpConnection
        )
        server = HttpServer(config, settings.read_timeout)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            found = Attacked(app, listener.getsockname()[1], key)
            until(lambda: server.started)
            with httpx.Client(headers={"authorization": f"Bearer {key}"}, timeout=SECONDS) as client:
                answer = client.post(f"http://127.0.0.1:{found.port}/v1/models", json=spec())
                assert answer.status_code in (201, 409), answer.text
            yield found
        finally:
            server.should_exit = True
            thread.join()


def authorized(attacked: Attacked, head: bytes = KEYLESS) -> bytes:
    return head + b"Authorization: Bearer " + attacked.key.encode() + b"\r\n"


@pytest.mark.parametrize(
    ("first", "endless", "status"),
    [
        (b"GET /", b"a" * 4096, b"414"),
        (b"GET /?", b"a" * 4096, b"414"),
        (b"GET / HTTP/1.1\r\n", b"x: y\r\n" * 512, b"431"),
        (b"GET / HTTP/1.1\r\nx: ", b"y" * 4096, b"431"),
        (b"GET / HTTP/1.1\r\n", b"x" * 4096, b"431"),
        (b"", b"\r\n" * 4096, b"431"),
    ],
)
def test_a_head_has_an_end(attacked: Attacked, first: bytes, endless: bytes, status: bytes) -> None:
    answer = attacked.answer_to(first, *[endless] * 2000)
    assert answer.startswith((b"HTTP/1.1 " + status, b"HTTP/1.1 400")) or not answer


def test_a_head_of_its_size_is_taken_and_one_above_it_is_not(attacked: Attacked) -> None:
    for size, status in ((15_000, b"200"), (17_000, b"431")):
        head = b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nx: %b\r\n\r\n" % (b"y" * size)
        assert attacked.answer_to(head).startswith(b"HTTP/1.1 " + status)
    for size, status in ((8_000, b"404"), (9_000, b"414")):
        path = b"/v2/health/" + b"y" * (size - 11)
        head = authorized(attacked, b"GET %b HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" % path) + b"\r\n"
        assert attacked.answer_to(head).startswith(b"HTTP/1.1 " + status)


@pytest.mark.parametrize(
    "path",
    [b"/v1/models/weather/predict", b"/v2/models/weather/infer", b"/v1/models/weather/feedback/stream", b"/v1/models"],
)
@pytest.mark.parametrize("frame", [b"Content-Length: 1000000", b"Transfer-Encoding: chunked", b"Content-Length: 5"])
def test_a_stranger_is_refused_before_a_body_comes(attacked: Attacked, path: bytes, frame: bytes) -> None:
    head = KEYLESS.replace(b"/v1/models/weather/predict", path) + b"Connection: close\r\n" + frame + b"\r\n\r\n"
    is_short = frame.endswith(b" 5")
    answer = attacked.answer_to(head, *([b"12345"] if is_short else []))
    assert answer.startswith(b"HTTP/1.1 401"), answer
    assert attacked.held == 0


def test_a_stranger_s_connection_ends_and_one_with_a_short_body_goes_on(attacked: Attacked) -> None:
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    answer = attacked.answer_to(KEYLESS + b"Transfer-Encoding: chunked\r\n\r\n", *[chunk] * 200)
    assert answer.startswith(b"HTTP/1.1 401") or not answer
    with attacked.connected() as client:
        for _ in range(3):
            client.sendall(KEYLESS + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY)
            assert client.recv(65536).startswith(b"HTTP/1.1 401")
        client.sendall(authorized(attacked) + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY)
        assert client.recv(65536).startswith(b"HTTP/1.1 200")
        client.sendall(KEYLESS.replace(b"POST", b"HEAD") + b"Connection: close\r\n\r\n")
        assert received(client).endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    ("path", "limit"),
    [
        (b"/v2/models/weather/infer", MiB),
        (b"/v1/models/weather/predict", MiB),
        (b"/v1/models/weather/feedback", MiB),
        (b"/v1/models/weather/retrain", MiB),
        (b"/v1/nothing", 64 * 1024),
    ],
)
@pytest.mark.parametrize("kind", [b"application/json", b"application/x-ndjson", b"application/octet-stream"])
def test_a_body_has_the_size_of_its_route_whatever_its_content_type(
    attacked: Attacked, path: bytes, limit: int, kind: bytes
) -> None:
    head = authorized(attacked).replace(b"/v1/models/weather/predict", path).replace(b"application/json", kind)
    chunk = b"4000\r\n" + b" " * 0x4000 + b"\r\n"
    with attacked.connected() as client:
        client.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n")
        sent = 0
        with contextlib.suppress(OSError):
            while sent < 64 * MiB:
                client.sendall(chunk)
                sent += 0x4000
        answer = received(client)
    assert sent < limit + 8 * MiB, "the connection has ended"
    assert answer.startswith((b"HTTP/1.1 413", b"HTTP/1.1 404", b"HTTP/1.1 415")) or not answer
    until(lambda: attacked.held == 0)


@pytest.mark.parametrize("endless", [b"1;" + b"x" * 4096, b"0\r\nx: " + b"y" * 4096, b"0\r\n" + b"x: y\r\n" * 700])
def test_what_stands_around_a_body_has_an_end(attacked: Attacked, endless: bytes) -> None:
    more = b"x: y\r\n" * 700 if endless.endswith(b"\n") else b"z" * 4096
    head = authorized(attacked) + b"Transfer-Encoding: chunked\r\n\r\n"
    with attacked.connected() as client:
        client.sendall(head + endless)
        sent = 0
        with contextlib.suppress(OSError):
            while sent < 64 * MiB:
                client.sendall(more)
                sent += len(more)
        received(client)
    assert sent < 8 * MiB


def test_bodies_that_are_held_have_a_common_limit(attacked: Attacked) -> None:
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(attacked.connected()) for _ in range(12)]
        for client in clients:
            with contextlib.suppress(OSError):
                client.sendall(authorized(attacked) + b"Content-Length: 1000000\r\n\r\n" + b" " * 900_000)
        refused = [client for client in clients if got(client, 1.0).startswith(b"HTTP/1.1 429")]
        assert len(refused) >= 8, "of one caller half of all"
        assert attacked.held <= 2 * MiB
    until(lambda: attacked.held == 0)
    small = attacked.answer_to(
        authorized(attacked) + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY
    )
    assert small.startswith(b"HTTP/1.1 200")


def got(client: socket.socket, seconds: float) -> bytes:
    client.settimeout(seconds)
    try:
        return client.recv(65536)
    except OSError:
        return b""


@pytest.mark.parametrize(
    "start", [b"", b"\r\n", b"POST /v1/mod", KEYLESS, b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n\r\n"]
)
def test_a_head_has_a_deadline(attacked: Attacked, start: bytes) -> None:
    with attacked.connected() as client:
        with pytest.raises(OSError):
            client.sendall(start)
            until(lambda: trickle(client, start))
        client.close()


def trickle(client: socket.socket, start: bytes) -> bool:
    """Sends a byte that ends nothing, where the head has begun; raises where the connection has ended."""
    client.sendall(b"\r\n" if start in (b"", b"\r\n") or start.startswith(b"GET") else b"x")
    client.setblocking(False)
    try:
        if not client.recv(65536):
            raise ConnectionResetError
    except BlockingIOError:
        pass
    finally:
        client.settimeout(SECONDS)
    return False


def test_a_body_has_a_deadline_however_fast_it_comes(attacked: Attacked) -> None:
    with attacked.connected() as client:
        client.sendall(authorized(attacked) + b"Content-Length: 1000000\r\n\r\n")

        def more() -> bool:
            client.sendall(b" " * 200)
            return False

        with pytest.raises(OSError):
            until(more)


def test_a_proxy_may_take_its_prefix_off_or_leave_it(attacked: Attacked) -> None:
    place = f"http://127.0.0.1:{attacked.port}"
    for url in (place, f"{place}/ml/live", f"{place}/ml/live/"):
        with Client(url, key=attacked.key) as client:
            assert [model["name"] for model in client.models()] == ["weather"]
            assert len(client.predict("weather", [[0.0] * 8])["predictions"]) == 1
            with pytest.raises(NotFound, match="wether"):
                client.predict("wether", [[0.0] * 8])
    with httpx.Client(base_url=place, timeout=SECONDS) as browser:
        moved = browser.get("/ml/live")
        assert (moved.status_code, moved.headers["location"]) == (308, "/ml/live/")
        for page in ("/", "/docs"):
            shown = browser.get(f"/ml/live{page}")
            assert shown.status_code == 200
            named = re.findall(r"""(?:href|src)="([^"]+\.(?:js|css))\"""", shown.text)
            assert named
            for each in named:
                assert browser.get(shown.url.join(each)).status_code == 200, each
        assert browser.get("/ml/live/openapi.json").json()["servers"] == [{"url": "/ml/live"}]
        for path in ("/ml/liveness", "/ml", "/ml/live/v1/models", "//ml/live/v1/models", "/ml/live/ml/live/livez"):
            assert browser.get(path).status_code == 401, path
