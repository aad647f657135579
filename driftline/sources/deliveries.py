"""Messages of RabbitMQ, taken out of what comes from it before its client reads that.

The client, aiormq, takes a tenth of a millisecond for each message, most of it for method and header, which it decodes into
objects. Of a message that is read only its tag, its id and its body are of interest: these are found here in a twentieth of
that time, by AMQP 0-9-1, sections 2.3 and 4.2. All else, from the handshake to acknowledgements, is the client's.
"""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from collections.abc import Iterable
from typing import Any, SupportsIndex

import msgspec

METHOD, HEADER, BODY = 1, 2, 3
DELIVER = b"\0\x3c\0\x3c"
HEARTBEAT = b"\x08\0\0\0\0\0\0\xce"
"""A frame that means nothing but a sign of life."""
PROPERTIES = "sstoosss"
"""How each property of a message is written, up to that after which its id stands: a short text, a table, an octet."""
HEADERS, MESSAGE_ID = 2, 8
"""Their places among the properties."""
_frame = struct.Struct(">BHL")


class Delivery(msgspec.Struct, frozen=True, gc=False):
    """A message as it was delivered; ``properties`` is the payload of its header."""

    tag: int
    is_redelivered: bool
    properties: bytes
    body: bytes

    @property
    def message_id(self) -> bytes:
        """The id that its producer gave it; empty where it has none."""
        at = self._place(MESSAGE_ID)
        return b"" if at is None else self.properties[at + 1 : at + 1 + self.properties[at]]

    @property
    def headers(self) -> dict[str, Any]:
        """What its producer, or the broker, has noted beside it."""
        from pamqp.decode import field_table

        at = self._place(HEADERS)
        return {} if at is None else dict(field_table(self.properties[at:])[1])

    def _place(self, wanted: int) -> int | None:
        """Where one of its properties begins; None where it has none such."""
        found, at = self.properties, 14
        flags = int.from_bytes(found[12:14], "big")
        if not flags >> (15 - wanted) & 1:
            return None
        for number, kind in enumerate(PROPERTIES[:wanted]):
            if flags >> (15 - number) & 1:
                if kind == "t":
                    at += 4 + int.from_bytes(found[at : at + 4], "big")
                else:
                    at += 1 + (found[at] if kind == "s" else 0)
        return at


class DeliveryStream(asyncio.StreamReader):
    """What comes from a broker: the client reads it without the messages, which wait here."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting = deque[Delivery]()
        self._has_come = asyncio.Event()
        self._parts, self._size, self._wanted = list[bytes](), 0, _frame.size
        self._method, self._properties = b"", b""
        self._body, self._left = list[bytes](), 0

    async def wait(self, seconds: float) -> None:
        """Waits for a message, for so long."""
        if not self.waiting:
            self._has_come.clear()
            try:
                await asyncio.wait_for(self._has_come.wait(), seconds)
            except TimeoutError:
                return

    def feed_data(self, data: Iterable[SupportsIndex]) -> None:
        """Takes what has come; a frame is looked at when it is there as a whole."""
        self._parts.append(bytes(data))
        self._size += len(self._parts[-1])
        if self._size < self._wanted:
            return
        self._cut(b"".join(self._parts))

    def _cut(self, data: bytes) -> None:
        at, others = 0, list[bytes]()
        while (end := self._end(data, at)) <= len(data):
            if not self._take(data[at], data[at + _frame.size : end - 1]):
                others.append(data[at:end])
            elif not others:
                others.append(HEARTBEAT)  # The client would take the broker for dead.
            at = end
        self._parts, self._size, self._wanted = [data[at:]], len(data) - at, end - at
        if others:
            super().feed_data(b"".join(others))

    def feed_eof(self) -> None:
        """The connection has ended: what is no frame is the client's to judge."""
        super().feed_data(b"".join(self._parts))
        super().feed_eof()
        self._has_come.set()

    def _end(self, data: bytes, at: int) -> int:
        """Where the frame ends that begins there, or, while that is not known, where its head does."""
        if len(data) - at < _frame.size:
            return at + _frame.size
        length: int = _frame.unpack_from(data, at)[2]
        return at + _frame.size + length + 1

    def _take(self, kind: int, payload: bytes) -> bool:
        """Takes a frame that is a part of a delivery: its method, its header, or of its body as much as one frame holds."""
        if kind == METHOD:
            if not payload.startswith(DELIVER):
                return False
            self._method = payload
        elif kind == HEADER:
            self._properties, self._left = payload, int.from_bytes(payload[4:12], "big")
        elif kind == BODY:
            self._body.append(payload)
            self._left -= len(payload)
        else:
            return False
        if kind != METHOD and not self._left:
            self._add()
        return True

    def _add(self) -> None:
        at = 5 + self._method[4]  # After the tag of the consumer.
        tag = int.from_bytes(self._method[at : at + 8], "big")
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self.waiting.append(Delivery(tag, bool(self._method[at + 8]), self._properties, body))
        self._body = []
        self._has_come.set()


class DeliveryTransport:
    """Connects a client of aiormq to a broker, and takes the messages out of what comes, into ``stream``."""

    stream: DeliveryStream

    async def create(self, url: Any, *, ssl_context_provider: Any, **options: Any) -> tuple[Any, asyncio.StreamWriter]:
        """The two ends of a connection, as aiormq asks for them."""
        context = await ssl_context_provider.get_context() if url.scheme == "amqps" else None
        self.stream = DeliveryStream()
        protocol, loop = asyncio.StreamReaderProtocol(self.stream), asyncio.get_running_loop()
        transport, _ = await loop.create_connection(lambda: protocol, url.host, url.port, ssl=context, **options)
        return self.stream, asyncio.StreamWriter(transport, protocol, self.stream, loop)
