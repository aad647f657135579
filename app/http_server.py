"""The HTTP server: uvicorn, and what it leaves open: a limit for slow clients, and a way to see that one has gone."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, cast

import uvicorn
from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from driftline.errors import DriftlineError

from .fast_path import CALLER, Begun, FastPathCall
from .responses import Content

MAX_DIRECT_BYTES = 2**20
"""A longer body is left to uvicorn, which holds the sender back while it is read."""
MIN_BYTES_PER_SECOND = 1024
"""A body that comes slower than this, in bytes a second, is given up after the time-out."""
TOO_SLOW = (
    b"HTTP/1.1 408 Request Timeout\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: 73\r\n\r\n"
    b'{"error":{"code":"slow_request","message":"the request came too slowly"}}'
)


class JoinedWrites:
    """A transport that sends what is written in one go, the head of an answer and its body, as one packet."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._held = b""

    def write(self, data: bytes) -> None:
        if self._held:
            self._held += data
            self._flush()
        else:
            self._held = data
            self._loop.call_soon(self._flush)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def _flush(self) -> None:
        if self._held:
            held, self._held = self._held, b""
            self._transport.write(held)


class DirectCycle:
    """A call that its connection makes itself, as uvicorn sees it: one that has begun, and must end before the next."""

    response_started = False
    response_complete = False
    disconnected = False

    def __init__(self, keep_alive: bool) -> None:
        self.keep_alive = keep_alive
        self.message_event = self

    def set(self) -> None:
        """Nobody waits for a message."""


class HttpConnection(HttpToolsProtocol):
    """One client. ``waiting_since`` is when it began to owe us the rest of a request; None while it owes nothing.

    A hot call is put off until it is there as a whole, and then made directly. Where that cannot be, uvicorn gets the call as
    if it had just come.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.joined = JoinedWrites(transport, self.loop)
        self.received_bytes = 0
        self.waiting_since: float | None = self.loop.time()
        self.hot: FastPathCall | None = None
        self.put_off = b""

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self.received_bytes += len(data)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.hot = None
        self.received_bytes, self.waiting_since = 0, self.loop.time()

    def on_headers_complete(self) -> None:
        self.hot = self._hot_call()
        if self.hot is None:
            self._begin()

    def on_body(self, body: bytes) -> None:
        if self.hot is None:
            super().on_body(body)
            return
        self.put_off += body
        if len(self.put_off) > MAX_DIRECT_BYTES:
            self._leave_to_uvicorn()

    def on_message_complete(self) -> None:
        self.waiting_since = None
        if self.hot is not None and not self._make(self.hot):
            self._leave_to_uvicorn()
        if self.hot is None:
            super().on_message_complete()

    def _hot_call(self) -> FastPathCall | None:
        """The hot call whose headers have come, if nothing else is under way on this connection."""
        is_free = (self.cycle is None or self.cycle.response_complete) and not self.flow.write_paused
        if not is_free or self.expect_100_continue or not self.url.endswith((b"/predict", b"/infer")):
            return None
        self.scope["method"] = self.parser.get_method().decode("ascii")
        self.scope["path"] = self.url.decode("ascii")
        self.scope["query_string"] = b""
        hot: FastPathCall | None = self.config.loaded_app.hot_call(self.scope) if b"%" not in self.url else None
        return hot if hot is not None and self.parser.get_http_version() == "1.1" else None

    def _make(self, hot: FastPathCall) -> bool:
        """Makes a hot call; False where it has to wait for something."""
        app, headers, body = self.config.loaded_app, dict(self.headers), self.put_off
        cycle = DirectCycle(self.parser.should_keep_alive())
        try:
            app.gatekeeper.check(self.scope, headers)
            begun = hot.begin(app.state.services, cast(Scope, self.scope), headers, body, cycle)
        except DriftlineError as error:
            self._start(cycle)
            self._answer(cycle, hot.refuse(error))
            return True
        except Exception:  # The long way fails in the same way, and says so in the log.
            return False
        if begun is not None:
            self._start(cycle)
            begun.answer.add_done_callback(lambda answer: self._settle(cycle, hot, begun))
        return begun is not None

    def _start(self, cycle: DirectCycle) -> None:
        self.cycle, self.put_off = cycle, b""  # type: ignore[assignment]

    def _settle(self, cycle: DirectCycle, hot: FastPathCall, begun: Begun) -> None:
        if not cycle.disconnected and not begun.answer.cancelled():
            self._answer(cycle, hot.settle(begun))

    def _answer(self, cycle: DirectCycle, content: Content) -> None:
        """Writes an answer as one packet, and lets the connection go on."""
        headers = [*self.server_state.default_headers, *content.headers, (b"content-length", b"%d" % len(content.body))]
        if not cycle.keep_alive:
            headers.append((b"connection", b"close"))
        lines = b"".join([b"%b: %b\r\n" % header for header in headers])
        self.transport.write(b"%b%b\r\n%b" % (STATUS_LINE[content.status], lines, content.body))
        cycle.response_started = cycle.response_complete = True
        if not cycle.keep_alive:
            self.transport.close()
        self.on_response_complete()

    def _leave_to_uvicorn(self) -> None:
        """Gives uvicorn the headers and the part of the body that were put off."""
        body, self.put_off, self.hot = self.put_off, b"", None
        self._begin()
        super().on_body(body)

    def _begin(self) -> None:
        super().on_headers_complete()
        self.cycle.transport = self.joined  # type: ignore[assignment]
        self.scope["extensions"] = {CALLER: self.cycle}  # type: ignore[dict-item]
        # Between the lines of a stream of feedback there may be any time; its route looks after unfinished lines.
        if any(name == b"content-type" and value.startswith(b"application/x-ndjson") for name, value in self.headers):
            self.waiting_since = None

    def shutdown(self) -> None:
        """The server ends: a call that has begun to come is still answered, as the last one of this connection."""
        if self.hot is not None and self.waiting_since is not None:
            self._leave_to_uvicorn()
        super().shutdown()

    def is_too_slow(self, now: float, seconds: float) -> bool:
        """Whether the rest of a request is overdue: ``seconds``, and what its bytes may take beyond that."""
        since = self.waiting_since
        return since is not None and now > since + seconds + self.received_bytes / MIN_BYTES_PER_SECOND

    def give_up(self) -> None:
        """Ends a connection that is too slow."""
        is_answered = self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete
        if self.received_bytes and not is_answered:
            self.transport.write(TOO_SLOW)
        self.transport.close()


class HttpServer(uvicorn.Server):
    """Uvicorn that drops clients which do not send what they have begun within ``read_timeout`` seconds."""

    def __init__(self, config: uvicorn.Config, read_timeout: float) -> None:
        super().__init__(config)
        self.read_timeout = read_timeout

    async def on_tick(self, counter: int) -> bool:
        if counter % 10 == 0:
            drop_slow(self.server_state.connections, asyncio.get_running_loop().time(), self.read_timeout)
        return await super().on_tick(counter)


def drop_slow(connections: Iterable[Any], now: float, seconds: float) -> None:
    """Gives up every connection that is too slow."""
    for connection in list(connections):
        if isinstance(connection, HttpConnection) and connection.is_too_slow(now, seconds):
            connection.give_up()
