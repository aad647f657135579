"""An object store on this machine, moto's S3, and a proxy before it that fails as a test tells it to."""

from __future__ import annotations

import contextlib
import http.client
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from tests.ports import free_port, wait_for_port

BUCKET = "bucket"
SLOW_DOWN = (
    b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
)
FULL = b"<?xml version='1.0'?><Error><Code>QuotaExceeded</Code><Message>The bucket is full.</Message></Error>"


class Answer:
    """What the store has answered, which a fault may change before it is passed on."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body
        self.sent_bytes = len(body)
        """How much of the body is sent before the connection is cut."""


Fault = Callable[[str, str, Callable[[], Answer]], Answer]
"""Gets a method, a path, and what asks the store; gives the answer."""


def error(status: int, body: bytes, times: int = 10**9, method: str = "") -> Fault:
    """Answers so, so many times, without asking the store; only requests of this method if one is given."""
    left = iter(range(times))

    def fault(asked: str, path: str, ask: Callable[[], Answer]) -> Answer:
        if method in ("", asked) and next(left, None) is not None:
            return Answer(status, {"content-type": "application/xml"}, body)
        return ask()

    return fault


def cut_off(times: int, share: float = 0.5) -> Fault:
    """Sends this share of so many bodies."""
    left = iter(range(times))

    def fault(method: str, path: str, ask: Callable[[], Answer]) -> Answer:
        answer = ask()
        if method == "GET" and len(answer.body) > 1 and next(left, None) is not None:
            answer.sent_bytes = int(share * answer.sent_bytes)
        return answer

    return fault


def other_bytes(method: str, path: str, ask: Callable[[], Answer]) -> Answer:
    """Lies: the first byte of each object is another one."""
    answer = ask()
    if method == "GET" and answer.status == 200 and answer.headers.get("content-type") != "application/xml":
        answer.body = bytes([answer.body[0] ^ 1]) + answer.body[1:] if answer.body else b""
    return answer


def slow(seconds: float) -> Fault:
    """Answers late."""

    def fault(method: str, path: str, ask: Callable[[], Answer]) -> Answer:
        time.sleep(seconds)
        return ask()

    return fault


class FaultyStore(ThreadingHTTPServer):
    """Passes requests on to an object store, by way of ``fault`` where there is one."""

    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.store_port = port
        self.fault: Fault | None = None
        self.url = f"http://127.0.0.1:{self.server_port}"

    @contextlib.contextmanager
    def failing(self, fault: Fault) -> Iterator[None]:
        """While the block runs, requests meet this fault."""
        self.fault = fault
        try:
            yield
        finally:
            self.fault = None

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to use it."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
        }


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FaultyStore

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))

        def ask() -> Answer:
            store = http.client.HTTPConnection("127.0.0.1", self.server.store_port, timeout=60)
            store.request(self.command, self.path, body, dict(self.headers.items()))
            answer = store.getresponse()
            headers = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, headers, answer.read())

        fault = self.server.fault
        answer = ask() if fault is None else fault(self.command, self.path, ask)
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            if name not in ("connection", "transfer-encoding", "content-length", "date", "server"):
                self.send_header(name, value)
        length = answer.headers.get("content-length", "0") if self.command == "HEAD" else str(len(answer.body))
        self.send_header("content-length", length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body[: answer.sent_bytes])
        if answer.sent_bytes < len(answer.body):
            self.close_connection = True

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _handle

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@contextlib.contextmanager
def object_store(moto_server: str, folder: Path) -> Iterator[FaultyStore]:
    """A new object store with an empty bucket, which this process's environment names, until the block ends."""
    port = free_port()
    with (folder / "moto.log").open("wb") as log:
        moto = subprocess.Popen([moto_server, "-H", "127.0.0.1", "-p", str(port)], stdout=log, stderr=log)
    try:
        wait_for_port(port)
        httpx.put(f"http://127.0.0.1:{port}/{BUCKET}").raise_for_status()
        with FaultyStore(port) as store, pytest.MonkeyPatch.context() as patch:
            for name, value in store.environment.items():
                patch.setenv(name, value)
            threading.Thread(target=store.serve_forever, daemon=True).start()
            yield store
            store.shutdown()
    finally:
        moto.terminate()
        moto.wait()
