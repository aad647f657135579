"""The HTTP server: uvicorn with a limit for slow clients, direct calls of the fast path, and a way to see disconnects."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import Any, cast

import uvicorn
from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from driftline.errors import DriftlineError

from .fast_path import CALLER, Begun, FastPathCall
from .http_meter import HttpMeter
from .responses import Content

MAX_DIRECT_BYTES = 2**20
"""A longer body is left to uvicorn, which applies back-pressure while it is read."""
MIN_BYTES_PER_SECOND = 1024
"""A body that comes slower than this, in bytes a second, is given up after the time-out."""
TOO_SLOW = (
    b"HTTP/1.1 408 Request Timeout\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: 73\r\n\r\n"
    b'{"error":{"code":"slow_request","message":"the request came too slowly"}}'
)


class JoinedWrites:
    """A transport that joins writes of one loop iteration, such as the head and the body of an answer, into one packet."""

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
    """What uvicorn sees of a call that the connection makes itself: a request that must end before the next one."""

    response_started = False
    response_complete = False
    disconnected = False

    def __init__(self, keep_alive: bool, begun: float) -> None:
        self.keep_alive = keep_alive
        self.begun = begun
        self.message_event = self

    def set(self) -> None:
        """Nothing waits for a message."""


class HttpConnection(HttpToolsProtocol):
    """One client. ``waiting_since`` is since when the rest of a request is awaited; None while no request is under way.

    A call of the fast path is held back until it has arrived as a whole, and then made directly. Where that is not possible,
    uvicorn gets the request as if it had just arrived.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.joined = JoinedWrites(transport, self.loop)
        self.received_bytes = 0
        self.waiting_since: float | None = self.loop.time()
        self.fast_path: FastPathCall | None = None
        self.put_off = b""
        self.headers_at = 0.0
        self.meter: HttpMeter = self.config.loaded_app.state.services.http_meter

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self.received_bytes += len(data)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.fast_path = None
        self.received_bytes, self.waiting_since = 0, self.loop.time()

    def on_headers_complete(self) -> None:
        self.headers_at = time.perf_counter()
        self.fast_path = self._find_fast_path()
        if self.fast_path is None:
            self._begin()

    def on_body(self, body: bytes) -> None:
        if self.fast_path is None:
            super().on_body(body)
            return
        self.put_off += body
        if len(self.put_off) > MAX_DIRECT_BYTES:
            self._leave_to_uvicorn()

    def on_message_complete(self) -> None:
        self.waiting_since = None
        if self.fast_path is not None and not self._make(self.fast_path):
            self._leave_to_uvicorn()
        if self.fast_path is None:
            super().on_message_complete()

    def _find_fast_path(self) -> FastPathCall | None:
        """The call of the fast path whose headers have arrived, if nothing else is under way on this connection."""
        is_free = (self.cycle is None or self.cycle.response_complete) and not self.flow.write_paused
        if not is_free or self.expect_100_continue or not self.url.endswith((b"/predict", b"/infer")):
            return None
        self.scope["method"] = self.parser.get_method().decode("ascii")
        self.scope["path"] = self.url.decode("ascii")
        self.scope["query_string"] = b""
        call: FastPathCall | None = self.config.loaded_app.fast_path_call(self.scope) if b"%" not in self.url else None
        return call if call is not None and self.parser.get_http_version() == "1.1" else None

    def _make(self, call: FastPathCall) -> bool:
        """Makes a call of the fast path; False where it has to wait for something."""
        app, headers, body = self.config.loaded_app, dict(self.headers), self.put_off
        cycle = DirectCycle(self.parser.should_keep_alive(), self.headers_at)
        try:
            app.gatekeeper.check(self.scope, headers)
            begun = call.begin(app.state.services, cast(Scope, self.scope), headers, body, cycle)
        except DriftlineError as error:
            self._start(cycle)
            self._answer(cycle, call, call.refuse(error))
            return True
        except Exception:  # Through uvicorn it fails in the same way, and is logged there.
            return False
        if begun is not None:
            self._start(cycle)
            begun.answer.add_done_callback(lambda answer: self._settle(cycle, call, begun))
        return begun is not None

    def _start(self, cycle: DirectCycle) -> None:
        self.cycle, self.put_off = cycle, b""  # type: ignore[assignment]

    def _settle(self, cycle: DirectCycle, call: FastPathCall, begun: Begun) -> None:
        if not cycle.disconnected and not begun.answer.cancelled():
            self._answer(cycle, call, call.settle(begun))

    def _answer(self, cycle: DirectCycle, call: FastPathCall, content: Content) -> None:
        """Writes an answer as one packet, and lets the connection go on."""
        headers = [*self.server_state.default_headers, *content.headers, (b"content-length", b"%d" % len(content.body))]
        if not cycle.keep_alive:
            headers.append((b"connection", b"close"))
        lines = b"".join([b"%b: %b\r\n" % header for header in headers])
        self.transport.write(b"%b%b\r\n%b" % (STATUS_LINE[content.status], lines, content.body))
        cycle.response_started = cycle.response_complete = True
        self.meter.observe("POST", call.path, content.status, time.perf_counter() - cycle.begun)
        if not cycle.keep_alive:
            self.transport.close()
        self.on_response_complete()

    def _leave_to_uvicorn(self) -> None:
        """Gives uvicorn the headers and the part of the body that were held back."""
        body, self.put_off, self.fast_path = self.put_off, b"", None
        self._begin()
        super().on_body(body)

    def _begin(self) -> None:
        super().on_headers_complete()
        self.cycle.transport = self.joined  # type: ignore[assignment]
        self.scope["extensions"] = {CALLER: self.cycle}  # type: ignore[dict-item]
        # A stream of feedback may pause between lines for any time; its route times out unfinished lines.
        if any(name == b"content-type" and value.startswith(b"application/x-ndjson") for name, value in self.headers):
            self.waiting_since = None

    def shutdown(self) -> None:
        """At shutdown a request that has begun to arrive is still answered, as the last one of this connection."""
        if self.fast_path is not None and self.waiting_since is not None:
            self._leave_to_uvicorn()
        super().shutdown()

    def is_too_slow(self, now: float, seconds: float) -> bool:
        """Whether the rest of a request is overdue: after ``seconds``, and the time that its bytes may take beyond that."""
        since = self.waiting_since
        return since is not None and now > since + seconds + self.received_bytes / MIN_BYTES_PER_SECOND

    def give_up(self) -> None:
        """Answers 408 and closes the connection."""
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
    """Closes every connection that is too slow."""
    for connection in list(connections):
        if isinstance(connection, HttpConnection) and connection.is_too_slow(now, seconds):
            connection.give_up()
