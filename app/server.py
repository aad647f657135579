"""The HTTP server: uvicorn, and what it leaves open: a limit for slow clients, and a way to see that one has gone."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

CALLER = "driftline.caller"
"""The scope's extension that holds the connection's state: ``disconnected`` is true once the client has gone."""
SLOWEST_BYTES = 1024
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
            held, self._held = self._held, b""
            self._transport.write(held + data)
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


class Connection(HttpToolsProtocol):
    """One client. ``waiting_since`` is when it began to owe us the rest of a request; None while it owes nothing."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.joined = JoinedWrites(transport, self.loop)
        self.received_bytes = 0
        self.waiting_since: float | None = self.loop.time()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self.received_bytes += len(data)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.received_bytes, self.waiting_since = 0, self.loop.time()

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self.cycle.transport = self.joined  # type: ignore[assignment]
        self.scope["extensions"] = {CALLER: self.cycle}  # type: ignore[dict-item]
        # Between the lines of a stream of feedback there may be any time; its route looks after unfinished lines.
        if any(name == b"content-type" and value.startswith(b"application/x-ndjson") for name, value in self.headers):
            self.waiting_since = None

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self.waiting_since = None

    def is_too_slow(self, now: float, seconds: float) -> bool:
        """Whether the rest of a request is overdue: ``seconds``, and what its bytes may take beyond that."""
        since = self.waiting_since
        return since is not None and now > since + seconds + self.received_bytes / SLOWEST_BYTES

    def give_up(self) -> None:
        """Ends a connection that is too slow."""
        is_answered = self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete
        if self.received_bytes and not is_answered:
            self.transport.write(TOO_SLOW)
        self.transport.close()


class Server(uvicorn.Server):
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
        if isinstance(connection, Connection) and connection.is_too_slow(now, seconds):
            connection.give_up()
