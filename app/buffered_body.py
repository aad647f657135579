"""A request body that is read ahead while the part before it is processed."""

from __future__ import annotations

import asyncio

from starlette.types import Receive

MAX_AHEAD_BYTES = 4 * 2**20


class BufferedBody:
    """Collects what arrives while the part before is processed, so that a fast sender gets large parts.

    The server alone hands over 64 KiB at a time, and every part costs the store a synced write.
    """

    def __init__(self, receive: Receive, max_ahead_bytes: int = MAX_AHEAD_BYTES) -> None:
        self.max_ahead_bytes = max_ahead_bytes
        self.is_over = False
        self.is_cut = False
        self._receive = receive
        self._parts: list[bytes] = []
        self._bytes = 0
        self._has_come = asyncio.Event()
        self._is_taken = asyncio.Event()

    async def read(self) -> None:
        """Reads until the body has ended, or the client has disconnected (``is_cut``)."""
        while not self.is_over:
            message = await self._receive()
            self.is_cut = message["type"] == "http.disconnect"
            self.is_over = self.is_cut or not message.get("more_body")
            part = message.get("body", b"")
            self._parts.append(part)
            self._bytes += len(part)
            self._is_taken.clear()
            self._has_come.set()
            if self._bytes >= self.max_ahead_bytes:
                await self._is_taken.wait()

    async def take(self) -> bytes:
        """All that has arrived since the last call; waits until there is something."""
        await self._has_come.wait()
        found, self._parts, self._bytes = b"".join(self._parts), [], 0
        self._has_come.clear()
        self._is_taken.set()
        return found
