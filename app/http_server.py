"""The HTTP server: uvicorn with a limit for slow clients, direct calls of the fast path, and a way to see disconnects."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, cast
from urllib.parse import unquote

import httptools
import uvicorn
from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from driftline.errors import DriftlineError

from .body_limits import WITHOUT_BODY_BYTES, body_limit
from .connection_account import AccountedConnection, too_many_bodies
from .fast_path import CALLER, ON_LOOP_BYTES, ON_LOOP_ROWS, Begun, FastPathCall
from .gatekeeper import CHECKED, brings_weights, caller_of, content_type
from .responses import Content, error_content


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


class HttpConnection(AccountedConnection):
    """One client.

    The key is checked as soon as the head has come. A call of the fast path is held back until it has arrived as a whole, and
    then made directly. Where that is not possible, uvicorn gets the request as if it had just arrived.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.joined = JoinedWrites(transport, self.loop)
        self.fast_path: FastPathCall | None = None
        self.refusal: Content | None = None
        self.put_off = b""
        self.header_map: dict[bytes, bytes] = {}

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        # A body that has come as a whole is not held: its call has been made.
        if self.is_held and not (self.is_in_head or self.is_closing or self.hold(self.body_bytes)):
            self.refuse(too_many_bodies())

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.fast_path, self.refusal, self.put_off = None, None, b""

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        if self.is_closing:
            return
        self.header_map = dict(self.headers)
        # While another answer is under way, the check has to wait for its turn.
        is_free = self.cycle is None or self.cycle.response_complete
        prefix: bytes = self.config.loaded_app.path_prefix
        is_bare = prefix != b"" and self.url == prefix
        self.url = without_prefix(self.url, prefix)
        self._read_target()
        self.refusal = None if not is_free else _moved(prefix) if is_bare else self._check()
        self.fast_path = self._find_fast_path() if is_free and self.refusal is None else None
        if self.refusal is not None:
            if not self._has_short_body():
                self.refuse(self.refusal)
        elif self.fast_path is None:
            self._begin(is_checked=is_free)

    def on_body(self, body: bytes) -> None:
        self.body_bytes += len(body)
        if self.is_closing or self.refusal is not None:
            return
        if self.fast_path is None and self.cycle.response_complete:
            self.pass_over(len(body))
        elif self.fast_path is None:
            super().on_body(body)
        else:
            self.put_off += body
            if len(self.put_off) > ON_LOOP_BYTES:
                self._leave_to_uvicorn()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        if self.is_closing:
            return
        if self.refusal is not None:
            cycle = DirectCycle(self._keeps_alive, self.headers_at)
            self._start(cycle)
            self._answer(cycle, self.refusal)
            return
        if self.fast_path is not None and not self._make(self.fast_path):
            self._leave_to_uvicorn()
        if self.fast_path is None:
            HttpToolsProtocol.on_message_complete(self)

    @property
    def _keeps_alive(self) -> bool:
        return bool(self.parser.should_keep_alive()) and self.parser.get_http_version() == "1.1"

    def _read_target(self) -> None:
        """Says method and path of the request as soon as its head has come."""
        self.scope["method"] = self.parser.get_method().decode("ascii")
        if _is_plain(self.url):
            self.scope["path"] = self.url.decode("ascii")
        else:
            self.scope["path"] = unquote((httptools.parse_url(self.url).path or b"").decode("ascii"))

    def _check(self) -> Content | None:
        """What the gatekeeper answers in the place of the call."""
        try:
            self.config.loaded_app.gatekeeper.check(self.scope, self.header_map)
        except DriftlineError as error:
            return error_content(error, is_v2=self.url.startswith(b"/v2"))
        self.holder = caller_of(cast(Scope, self.scope))
        return None

    def _has_short_body(self) -> bool:
        """Whether a body that is passed over may come to its end, so that the connection can go on."""
        headers = self.header_map
        length = headers.get(b"content-length", b"0")
        is_short = b"transfer-encoding" not in headers and int(length) <= WITHOUT_BODY_BYTES
        return is_short and not self.expect_100_continue

    def _find_fast_path(self) -> FastPathCall | None:
        """The call of the fast path whose headers have arrived, where it can be made directly."""
        if self.flow.write_paused or self.expect_100_continue or not self.url.endswith((b"/predict", b"/infer")):
            return None
        self.scope["query_string"] = b""
        call: FastPathCall | None = self.config.loaded_app.fast_path_call(self.scope) if _is_plain(self.url) else None
        return call if call is not None and self.parser.get_http_version() == "1.1" else None

    def _make(self, call: FastPathCall) -> bool:
        """Makes a call of the fast path; False where it has to wait for something."""
        app, headers, body = self.config.loaded_app, self.header_map, self.put_off
        cycle = DirectCycle(self.parser.should_keep_alive(), self.headers_at)
        try:
            app.gatekeeper.charges.take(self.holder, "bytes", len(body))
            begun = call.begin(app.state.services, cast(Scope, self.scope), headers, body, cycle)
        except DriftlineError as error:
            self._start(cycle)
            self._answer(cycle, call.refuse(error), call.path)
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
        if cycle.disconnected or begun.answer.cancelled():
            return
        if begun.rows <= ON_LOOP_ROWS:
            self._answer(cycle, call.settle(begun), call.path)
            return
        later = call.settle_later(self.config.loaded_app.state.services, self.holder, begun)
        later.add_done_callback(lambda content: self._answer_late(cycle, call, content))

    def _answer_late(self, cycle: DirectCycle, call: FastPathCall, content: asyncio.Future[Content]) -> None:
        if not cycle.disconnected:
            self._answer(cycle, content.result(), call.path)

    def _answer(self, cycle: DirectCycle, content: Content, path: str | None = None) -> None:
        """Writes an answer as one packet, and lets the connection go on."""
        self.write_answer(content, cycle.keep_alive)
        cycle.response_started = cycle.response_complete = True
        self.observe(content.status, path, cycle.begun)
        if not cycle.keep_alive:
            self.transport.close()
        self.on_response_complete()

    def _leave_to_uvicorn(self) -> None:
        """Gives uvicorn the headers and the part of the body that were held back."""
        body, self.put_off, self.fast_path = self.put_off, b"", None
        self._begin(is_checked=True)
        super().on_body(body)

    def _begin(self, is_checked: bool) -> None:
        HttpToolsProtocol.on_headers_complete(self)
        self.cycle.transport = self.joined  # type: ignore[assignment]
        self.scope["extensions"] = {CALLER: self.cycle, CHECKED: is_checked}  # type: ignore[dict-item]
        path = self.scope["path"]
        if brings_weights(path, content_type(self.header_map)):
            # They go to a file as they come, as slowly as it takes them.
            self.is_held = self.has_deadline = False
        # A stream of feedback may pause between lines for any time; its route times out unfinished lines.
        if path.endswith("/stream") and body_limit(self.scope["method"], path, 0) is None:
            self.is_held, self.waiting_since = False, None

    def shutdown(self) -> None:
        """At shutdown a request that has begun to arrive is still answered, as the last one of this connection."""
        if self.fast_path is not None and self.waiting_since is not None:
            self._leave_to_uvicorn()
        super().shutdown()


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


def without_prefix(url: bytes, prefix: bytes) -> bytes:
    """The URL as the routes know it, of one that a proxy may have left as it was sent to it.

    >>> without_prefix(b"/ml/v1/models", b"/ml"), without_prefix(b"/v1/models", b"/ml"), without_prefix(b"/mlx", b"/ml")
    (b'/v1/models', b'/v1/models', b'/mlx')
    """
    return url[len(prefix) :] if prefix and url.startswith(prefix + b"/") else url


def _moved(prefix: bytes) -> Content:
    """Sends a browser to the page: what the page names stands beside it."""
    return Content(308, b"", [(b"location", prefix + b"/")])


def _is_plain(url: bytes) -> bool:
    """Whether a URL is its path, as it is."""
    return b"%" not in url and b"?" not in url and url.startswith(b"/")
