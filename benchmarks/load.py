"""A closed-loop HTTP load of keep-alive connections, light enough to leave the server its core."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field


@dataclass
class Result:
    """What a load has seen. ``latencies`` are in seconds, one a request."""

    seconds: float
    latencies: list[float] = field(default_factory=list)
    failures: int = 0

    @property
    def rate(self) -> float:
        """Answered requests a second."""
        return len(self.latencies) / self.seconds

    def quantile(self, share: float) -> float:
        """The latency that ``share`` of the requests stay below, in seconds."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def request(host: str, path: str, body: bytes, kind: str = "application/json") -> bytes:
    """The bytes of one POST."""
    head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


class _Connection(asyncio.Protocol):
    def __init__(self, message: bytes, result: Result, deadline: float, done: asyncio.Future[None]) -> None:
        self.message, self.result, self.deadline, self.done = message, result, deadline, done
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._send()

    def _send(self) -> None:
        self.begin = time.perf_counter()
        self.transport.write(self.message)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, separator, body = self.buffer.partition(b"\r\n\r\n")
        if not separator:
            return
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        if len(body) < length:
            return
        self.buffer = b""
        now = time.perf_counter()
        if head.startswith(b"HTTP/1.1 200"):
            self.result.latencies.append(now - self.begin)
        else:
            self.result.failures += 1
        if now < self.deadline:
            self._send()
        else:
            self.transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        if error is not None:
            self.result.failures += 1
        if not self.done.done():
            self.done.set_result(None)


async def closed_loop(host: str, port: int, message: bytes, connections: int, seconds: float) -> Result:
    """Sends ``message`` again and again, as soon as it is answered, over each connection."""
    loop = asyncio.get_running_loop()
    result = Result(seconds)
    deadline = time.perf_counter() + seconds
    ends = [loop.create_future() for _ in range(connections)]
    for end in ends:
        await loop.create_connection(lambda end=end: _Connection(message, result, deadline, end), host, port)  # type: ignore[misc]
    await asyncio.gather(*ends)
    return result
