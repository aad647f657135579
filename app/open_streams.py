"""How many streams a caller may have open, over all replicas."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Awaitable, Callable

from driftline.errors import Busy, Unavailable
from driftline.store.stream_leases import StreamLeases


class OpenStreams:
    """The streams that callers have open here, of each at most ``most`` in all replicas together; 0: any number.

    While the store does not answer, each process counts by itself.
    """

    def __init__(self, most: int, leases: StreamLeases) -> None:
        self._most = most
        self._leases = leases
        self._open: dict[str, set[str]] = {}
        self._ended: list[tuple[str, str]] = []
        """Those that are not given back yet: the store may be away as they end."""

    async def open(self, caller: str) -> Callable[[], Awaitable[None]]:
        """Counts a stream as open until what is given is called; :class:`Busy` where its caller has as many as it may."""
        stream = secrets.token_hex(8)

        async def close() -> None:
            self._forget(caller, stream)
            if self._most:
                self._ended.append((caller, stream))
                with contextlib.suppress(Unavailable):
                    await self._give_back()

        own = self._open.setdefault(caller, set())
        own.add(stream)
        try:
            if self._most > 0 and not (len(own) <= self._most and await self._begin(caller, stream)):
                message = f"{self._most} streams are open with this key, as many as it may have; close one"
                raise Busy(message, code="too_many_streams", retry_after=1)
        except BaseException:
            self._forget(caller, stream)
            raise
        return close

    async def run(self) -> None:
        """Renews the leases until cancelled."""
        while True:
            await asyncio.sleep(self._leases.seconds / 3)
            await self.renew()

    async def renew(self) -> None:
        """Keeps what is open here leased, and nothing else."""
        with contextlib.suppress(Unavailable):
            for caller in [*self._open]:
                if streams := [*self._open.get(caller, ())]:
                    await self._leases.renew(caller, streams)
                    # Of one that has ended meanwhile the lease may have been given back before it was renewed.
                    self._ended += [(caller, each) for each in streams if each not in self._open.get(caller, ())]
            await self._give_back()

    async def _begin(self, caller: str, stream: str) -> bool:
        try:
            await self._give_back()
            return await self._leases.begin(caller, stream, self._most)
        except Unavailable:
            return True

    async def _give_back(self) -> None:
        for ended in [*self._ended]:
            await self._leases.end(*ended)
            if ended in self._ended:
                self._ended.remove(ended)

    def _forget(self, caller: str, stream: str) -> None:
        self._open[caller].discard(stream)
        if not self._open[caller]:
            del self._open[caller]
