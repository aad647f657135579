"""A server that answers what a test tells it to, and remembers what it was sent."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

Answer = tuple[int, Any]
"""A status, and a body: bytes as they are, all else as JSON."""


class Request(NamedTuple):
    method: str
    path: str
    body: bytes
    headers: dict[str, str]

    @property
    def content(self) -> Any:
        """The body as what it says that it is; None where there is none."""
        is_json = self.headers.get("content-type") == "application/json"
        return json.loads(self.body) if is_json else self.body or None


class ScriptedServer(ThreadingHTTPServer):
    """Gives its ``answers`` in their order, each with its ``headers``; once there are no more, what ``answer`` makes of the
    body: an empty object."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.requests: list[Request] = []
        self.answers: list[Answer] = []
        self.headers: dict[str, str] = {}
        self.answer: Callable[[Any], Answer] = lambda body: (200, {})

    @property
    def sent(self) -> list[tuple[str, str, Any]]:
        """Method, path and content of each request."""
        return [(request.method, request.path, request.content) for request in self.requests]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ScriptedServer

    def _handle(self) -> None:
        length = int(self.headers.get("content-length", 0))
        body = self.rfile.read(length)
        if len(body) < length:
            # Whoever sent it has given it up meanwhile: it is no request.
            self.close_connection = True
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.requests.append(Request(self.command, self.path, body, headers))
        request = self.server.requests[-1]
        status, answer = self.server.answers.pop(0) if self.server.answers else self.server.answer(request.content)
        content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_DELETE = do_PATCH = _handle

    def log_message(self, *arguments: Any) -> None:
        pass


@contextmanager
def scripted_server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()
