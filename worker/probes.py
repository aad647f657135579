"""``/livez`` and ``/readyz`` of a worker, for whatever starts and ends it, such as Kubernetes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import msgspec

from driftline.processes.supervisor import bind

LIVEZ, READYZ = "/livez", "/readyz"
PATHS = frozenset({LIVEZ, READYZ})
MAX_HEAD_BYTES = 16 * 2**10
HEAD_SECONDS = 5.0
"""How long the head of a request may take to come."""


class Probes:
    """Answers on the IO loop itself: a loop that no longer runs answers nothing.

    Args:
        host: the address to listen on.
        port: the port; None: it does not listen.
        why_unready: why the worker does not learn at the moment; None: it does.
    """

    def __init__(self, host: str, port: int | None, why_unready: Callable[[], str | None]) -> None:
        self.host = host
        self.port = port
        self.why_unready = why_unready

    @contextlib.asynccontextmanager
    async def answering(self) -> AsyncIterator[None]:
        """Answers while the block runs.

        Raises:
            ConfigurationError: the address cannot be bound.
        """
        if self.port is None:
            yield
            return
        listener = bind(self.host, self.port, "DRIFTLINE_WORKER_PORT")
        self.port = listener.getsockname()[1]
        async with await asyncio.start_server(self._answer, sock=listener, limit=MAX_HEAD_BYTES):
            yield

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(OSError, EOFError, asyncio.LimitOverrunError):
            async with asyncio.timeout(HEAD_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
                status, told = self._told(head.decode("latin-1").split(" ", 2)[1:2])
                body = msgspec.json.encode(told)
                writer.write(b"HTTP/1.1 %s\r\ncontent-type: application/json\r\n" % status)
                writer.write(b"content-length: %d\r\nconnection: close\r\n\r\n%s" % (len(body), body))
                await writer.drain()

    def _told(self, path: list[str]) -> tuple[bytes, dict[str, object]]:
        if path == [LIVEZ]:
            return b"200 OK", {"status": "alive"}
        if path != [READYZ]:
            return b"404 Not Found", _error("not_found", f"a worker answers {LIVEZ} and {READYZ}")
        why = self.why_unready()
        if why is not None:
            return b"503 Service Unavailable", _error("not_ready", why)
        return b"200 OK", {"status": "ready"}


def _error(code: str, message: str) -> dict[str, object]:
    return {"error": {"code": code, "message": message}}
