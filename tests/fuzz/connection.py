"""A connection that sends any bytes, in any parts: each request is answered or refused, and nothing of it is held after it."""

from __future__ import annotations

import asyncio
import logging
from functools import cache
from typing import Any, cast

import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from app.body_limits import HeldBytes
from app.fast_path import ClientGone, read_body
from app.gatekeeper import Gatekeeper
from app.http_meter import HttpMeter
from app.http_server import HttpConnection
from app.responses import error_content, json_content, send_content
from driftline.api_keys import KeyStore
from driftline.errors import DriftlineError
from driftline.settings import Settings
from tests.fuzz.files import folder

SPLIT = b"\x00\xff"
"""Where what is sent is cut into parts."""
MAX_HELD_BYTES = 2**16
MAX_TURNS = 50
"""Rounds of the loop in which a call with all of its body has long ended."""


class Echo:
    """An app that answers how many bytes a body has."""

    path_prefix = b"/ml"

    def __init__(self) -> None:
        self.state = self.services = self
        self.settings = Settings(data_dir=folder(), max_url_bytes=1024, max_header_bytes=1024)
        self.held_bytes = HeldBytes(MAX_HELD_BYTES)
        self.http_meter = HttpMeter()
        keys = KeyStore(folder() / "keys.json")
        self.gatekeeper = Gatekeeper(
            self.answer, keys=keys, is_public=False, max_body_bytes=4096, max_weights_bytes=8192
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self.gatekeeper(scope, receive, send)

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            content = json_content(200, {"bytes": len(await read_body(receive))})
        except ClientGone:
            return
        except DriftlineError as error:
            content = error_content(error)
        await send_content(send, content)

    @staticmethod
    def fast_path_call(scope: Scope) -> None:
        return None


class Wire(asyncio.Transport):
    """What the server has written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.is_closed = False

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def close(self) -> None:
        self.is_closed = True

    def abort(self) -> None:
        self.is_closed = True

    def is_closing(self) -> bool:
        return self.is_closed

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 1) if name in ("peername", "sockname") else default

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


@cache
def _loop() -> tuple[asyncio.AbstractEventLoop, uvicorn.Config, list[dict[str, Any]]]:
    loop = asyncio.new_event_loop()
    faults: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: faults.append(context))
    app = cast(Any, Echo())
    config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", ws="none", proxy_headers=False)
    config.load()
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # Of each broken request there is a line.
    config.loaded_app = app
    return loop, config, faults


def read_connection(data: bytes) -> None:
    loop, config, faults = _loop()
    loop.run_until_complete(_sent(data, config))
    found = [*faults]
    faults.clear()
    assert not found, found


async def _sent(data: bytes, config: uvicorn.Config) -> None:
    wire, state = Wire(), ServerState()
    connection = HttpConnection(config=config, server_state=state, app_state={})
    connection.connection_made(wire)
    for part in data.split(SPLIT):
        if not wire.is_closed:
            connection.data_received(part)
            await asyncio.sleep(0)
    await _settled(state)
    connection.connection_lost(None)
    await _settled(state)
    assert not state.tasks, "a call goes on after its connection"
    held: HeldBytes = config.loaded_app.held_bytes
    assert held.total == 0, held.total
    assert not wire.written or wire.written.startswith(b"HTTP/1.1 "), wire.written
    assert b"HTTP/1.1 5" not in wire.written, wire.written


async def _settled(state: ServerState) -> None:
    """Lets calls go on until each has ended or waits for more of its body."""
    for _ in range(MAX_TURNS):
        if not state.tasks:
            return
        await asyncio.sleep(0)


HOST = b"Host: localhost\r\n"
SEEDS = [
    b"GET /livez HTTP/1.1\r\n%b\r\n" % HOST,
    b"GET /ml/v1/models?x=%%41 HTTP/1.1\r\n%bConnection: close\r\n\r\n" % HOST,
    b"POST /v1/models/a/predict HTTP/1.1\r\n%bContent-Type: application/json\r\nContent-Length: 5\r\n\r\n[1\0\xff,2]"
    % HOST,
    b"POST /v2/models/a/infer HTTP/1.1\r\n%bTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n\0\xff0\r\nx: y\r\n\r\n"
    % HOST,
    b"POST /v1/models HTTP/1.1\r\n%bContent-Type: application/json\r\nContent-Length: 99999\r\n\r\n" % HOST,
    b"PUT / HTTP/1.0\r\n\r\nGET / HTTP/1.1\r\n\0\xffHost: evil@localhost\r\nExpect: 100-continue\r\n\r\n",
    b"POST /v1/models/a/feedback/stream HTTP/1.1\r\n%bContent-Type: application/x-ndjson\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\nGET /livez HTTP/1.1\r\n%b\r\n" % (HOST, HOST),
]
