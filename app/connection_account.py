"""What a connection may cost: every byte is counted from the first one on, and every wait has an end."""

from __future__ import annotations

import asyncio
import time

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from driftline.errors import Busy, DriftlineError, TooLarge
from driftline.settings import Settings

from .body_limits import WITHOUT_BODY_BYTES, HeldBytes
from .http_meter import HttpMeter, named_path
from .responses import Content, error_content

MIN_BYTES_PER_SECOND = 1024
"""A body that comes slower than this, in bytes a second, is given up after the time-out."""
HEADER_FRAME = 4
"""What stands in a head around a name and its value."""
MAX_FRAME = 16
"""Bytes that may stand around each byte of a body which comes in parts."""
LINGER_SECONDS = 1.0
"""How long a connection is read on after a refusal: one that is closed while bytes come is reset, and the answer lost."""
TOO_SLOW = (
    b"HTTP/1.1 408 Request Timeout\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: 73\r\n\r\n"
    b'{"error":{"code":"slow_request","message":"the request came too slowly"}}'
)


class AccountedConnection(HttpToolsProtocol):
    """The account of one client. ``waiting_since`` is since when the rest of a request is awaited; None while no request is
    under way.

    A head has a size and a deadline, and a body has a deadline; bodies that are not read yet are counted over all connections.
    After a refusal the connection ends (``is_closing``): what still comes is counted and not kept.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        services = self.config.loaded_app.state.services
        settings: Settings = services.settings
        self.max_url_bytes, self.max_header_bytes = settings.max_url_bytes, settings.max_header_bytes
        self.body_timeout = settings.body_timeout
        self.held: HeldBytes = services.held_bytes
        self.meter: HttpMeter = services.http_meter
        self.head_bytes = self.body_bytes = self.raw_body_bytes = self.passed_over = 0
        self.holder, self.holds = "", 0
        self.is_in_head, self.is_closing = True, False
        self.is_held = self.has_deadline = True
        self.waiting_since: float | None = self.loop.time()
        self.headers_at = 0.0

    def connection_lost(self, exc: Exception | None) -> None:
        self._release()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.is_closing:
            self.pass_over(len(data))
            return
        if self.is_in_head:
            self.head_bytes += len(data)
            # Also of what is no request yet, such as empty lines, the rest is awaited.
            self.waiting_since = self.waiting_since or self.loop.time()
        else:
            self.raw_body_bytes += len(data)
        super().data_received(data)
        # What stands around the parts of a body, and after the last one, may grow with the body alone.
        frame = self.head_bytes if self.is_in_head else self.raw_body_bytes - (1 + MAX_FRAME) * self.body_bytes
        if frame > self.max_url_bytes + self.max_header_bytes and not self.is_closing:
            too_long = len(self.url) > self.max_url_bytes if self.scope is not None else False
            self.refuse(url_too_long(self.max_url_bytes) if too_long else head_too_large(self.max_header_bytes))

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.is_in_head, self.waiting_since = True, self.loop.time()
        self.is_held = self.has_deadline = True
        self.body_bytes = self.raw_body_bytes = self.passed_over = 0

    def on_headers_complete(self) -> None:
        self.headers_at, self.waiting_since = time.perf_counter(), self.loop.time()
        if self.head_bytes > self.max_url_bytes and not self.is_closing:
            self._check_head()
        self.is_in_head, self.head_bytes = False, 0

    def _check_head(self) -> None:
        if len(self.url) > self.max_url_bytes:
            self.refuse(url_too_long(self.max_url_bytes))
        elif sum(len(name) + len(value) + HEADER_FRAME for name, value in self.headers) > self.max_header_bytes:
            self.refuse(head_too_large(self.max_header_bytes))

    def on_message_complete(self) -> None:
        self.waiting_since, self.is_in_head, self.head_bytes = None, True, 0

    def on_response_complete(self) -> None:
        self._release()
        super().on_response_complete()

    def write_answer(self, content: Content, keep_alive: bool) -> None:
        headers = [*self.server_state.default_headers, *content.headers, (b"content-length", b"%d" % len(content.body))]
        if not keep_alive:
            headers.append((b"connection", b"close"))
        lines = b"".join([b"%b: %b\r\n" % header for header in headers])
        body = b"" if self.scope is not None and self.scope.get("method") == "HEAD" else content.body
        self.transport.write(b"%b%b\r\n%b" % (STATUS_LINE[content.status], lines, body))

    def observe(self, status: int, path: str | None, begun: float) -> None:
        method, named = ("POST", path) if path else named_path(self.scope["method"], self.scope["path"])
        self.meter.observe(method, named, status, time.perf_counter() - begun)

    def refuse(self, content: Content) -> None:
        """Answers, unless another answer has begun, and takes nothing more of this connection, which ends soon."""
        if self.is_closing:
            return
        self.is_closing, self.waiting_since = True, None
        cycle = self.cycle
        is_own = not self.is_in_head
        if cycle is None or cycle.response_complete or (is_own and not cycle.response_started):
            self.write_answer(content, keep_alive=False)
            if is_own:
                self.observe(content.status, None, self.headers_at)
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()
        self._release()
        self.loop.call_later(LINGER_SECONDS, self.transport.close)

    def pass_over(self, size: int) -> None:
        """Counts bytes that nobody reads any more, and closes the connection where there are too many."""
        self.passed_over += size
        if self.passed_over > WITHOUT_BODY_BYTES:
            self.transport.close()

    def hold(self, size: int) -> bool:
        """Counts the ``size`` bytes of a body that have come so far; False where there is no room for them."""
        has_room = self.held.take(self.holder, size - self.holds)
        self.holds = size if has_room else self.holds
        return has_room

    def _release(self) -> None:
        if self.holds:
            self.held.release(self.holder, self.holds)
            self.holds = 0

    def is_too_slow(self, now: float, seconds: float) -> bool:
        """Whether the rest of a request is overdue: of a head after ``seconds``, of a body after the time that its bytes may
        take beyond that, and in any case after the time that any body may take."""
        if self.waiting_since is None:
            return False
        waited = now - self.waiting_since
        if self.is_in_head:
            return waited > seconds
        if self.has_deadline and waited > self.body_timeout:
            return True
        return waited > seconds + self.body_bytes / MIN_BYTES_PER_SECOND

    def give_up(self) -> None:
        """Answers 408 and closes the connection."""
        is_answered = self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete
        if (self.head_bytes or not self.is_in_head) and not is_answered:
            self.transport.write(TOO_SLOW)
        self.transport.close()


def head_too_large(limit: int) -> Content:
    """The answer to headers that are longer than ``limit`` bytes."""
    return _of_status(431, TooLarge(f"the headers of a request may have {limit} bytes at most", code="head_too_large"))


def url_too_long(limit: int) -> Content:
    """The answer to a URL that is longer than ``limit`` bytes."""
    return _of_status(414, TooLarge(f"the URL of a request may have {limit} bytes at most", code="url_too_long"))


def too_many_bodies() -> Content:
    """The answer where there is no room for a further body."""
    message = "bodies of other requests take the memory that there is for them; send it again"
    return error_content(Busy(message, code="bodies_full", retry_after=1))


def _of_status(status: int, error: DriftlineError) -> Content:
    error.status = status
    return error_content(error)
