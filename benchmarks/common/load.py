"""HTTP load over keep-alive connections, light enough to leave a core to the server: a closed loop and an open one."""

from __future__ import annotations

import asyncio
import itertools
import math
import random
import selectors
import time
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import httptools
import numpy as np
import uvloop

HOST = "127.0.0.1"
PATIENCE_SECONDS = 30.0
PAUSE_SECONDS = 0.01
SEED = 1


@dataclass
class Result:
    """What a load of so many ``seconds`` has seen.

    ``latencies`` are in seconds, one an answer of a status 2xx, late ones included; ``answered`` counts those that came within
    the ``seconds``. All else is a failure: another status, a lost connection, no answer at all. ``busy`` is the share of a
    core that the load itself took.
    """

    seconds: float
    latencies: list[float] = field(default_factory=list)
    answered: int = 0
    failures: int = 0
    busy: float = 0.0

    @property
    def rate(self) -> float:
        """Answered requests a second."""
        return self.answered / self.seconds

    def quantile(self, share: float) -> float:
        """The latency that ``share`` of the requests stay below, in seconds; infinite where nothing was answered."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else math.inf


Check = Callable[[int, bytes], bool]
"""Whether an answer is right: the number of its connection, and its body."""


def closed_loop(port: int, messages: bytes | Sequence[bytes], connections: int, seconds: float) -> Result:
    """Sends a message again and again over each connection, as soon as it is answered; of several, any one each time."""

    async def run() -> Result:
        load = _Load(port, messages, seconds, is_closed=True)
        await load.open(connections)
        for _ in range(connections):
            load.submit(time.perf_counter())
        await asyncio.sleep(seconds)
        return await load.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return _timed(runner, run())


def open_loop(
    port: int, message: bytes, connections: int, seconds: float, rate: float, check: Check | None = None
) -> Result:
    """Sends ``message`` at the times of a Poisson process, ``rate`` a second, whatever the answers do.

    An answer that ``check`` does not take is a failure.

    A latency counts from the time at which the request was due, and so holds the wait for a free connection. The loop waits
    in ``select``, whose timeouts are exact: those of epoll and of libuv are whole milliseconds.
    """

    async def run() -> Result:
        load = _Load(port, message, seconds, check=check)
        await load.open(connections)
        gaps = np.random.default_rng(SEED)
        due = time.perf_counter()
        while (due := due + gaps.exponential(1 / rate)) < load.end:
            await asyncio.sleep(due - time.perf_counter())
            load.submit(due)
        return await load.close()

    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selectors.SelectSelector())) as runner:
        return _timed(runner, run())


def _timed(runner: asyncio.Runner, load: Coroutine[None, None, Result]) -> Result:
    begin = time.process_time()
    result = runner.run(load)
    result.busy = (time.process_time() - begin) / result.seconds
    return result


def request(port: int, path: str, content: bytes, headers: Mapping[str, str]) -> bytes:
    """The bytes of one POST."""
    lines = [f"POST {path} HTTP/1.1", f"host: {HOST}:{port}", f"content-length: {len(content)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + content


class _Load:
    """Requests by the time at which they are due, over connections that are opened again when the server closes them.

    In a closed loop the end of a request makes the next one due.
    """

    def __init__(
        self,
        port: int,
        messages: bytes | Sequence[bytes],
        seconds: float,
        *,
        is_closed: bool = False,
        check: Check | None = None,
    ) -> None:
        self.port = port
        self.messages = [messages] if isinstance(messages, bytes) else messages
        self.random = random.Random(SEED)
        self.check = check
        self.is_closed = is_closed
        self.result = Result(seconds)
        self.end = math.inf
        self.is_over = False
        self.waiting: deque[float] = deque()
        self.idle: list[_Connection] = []
        self.busy: set[_Connection] = set()
        self.opening: set[asyncio.Task[None]] = set()

    async def open(self, connections: int) -> None:
        """Opens the connections; the load's time begins then."""
        await asyncio.gather(*(self._connect() for _ in range(connections)))
        self.end = time.perf_counter() + self.result.seconds

    def submit(self, due: float) -> None:
        """Sends a request over an idle connection, or once there is one."""
        if self.idle:
            self._send(self.idle.pop(), due)
        else:
            self.waiting.append(due)

    def is_ready(self, connection: _Connection) -> None:
        """The connection can take a request."""
        self.busy.discard(connection)
        if self.waiting:
            self._send(connection, self.waiting.popleft())
        else:
            self.idle.append(connection)

    def answered(self, connection: _Connection, status: int) -> None:
        now = time.perf_counter()
        if status // 100 == 2 and (self.check is None or self.check(connection.number, connection.body)):
            self.result.latencies.append(now - connection.due)
            self.result.answered += now <= self.end
        else:
            self.result.failures += 1
        self._finish(now)
        self.is_ready(connection)

    def lost(self, connection: _Connection) -> None:
        if self.is_over:
            return
        now = time.perf_counter()
        if connection in self.busy:
            self.busy.remove(connection)
            self.result.failures += 1
            self._finish(now)
        else:
            self.idle.remove(connection)
        if now < self.end:
            task = asyncio.create_task(self._reconnect())
            self.opening.add(task)
            task.add_done_callback(self.opening.discard)

    async def close(self) -> Result:
        """Waits for what is under way, and gives up on what does not come."""
        give_up = self.end + PATIENCE_SECONDS
        while (self.busy or self.opening) and time.perf_counter() < give_up:
            await asyncio.sleep(PAUSE_SECONDS)
        self.is_over = True
        self.result.failures += len(self.busy) + len(self.waiting)
        for connection in (*self.busy, *self.idle):
            connection.transport.abort()
        return self.result

    def _send(self, connection: _Connection, due: float) -> None:
        self.busy.add(connection)
        connection.send(self.messages[0] if len(self.messages) == 1 else self.random.choice(self.messages), due)

    def _finish(self, now: float) -> None:
        if self.is_closed and now < self.end:
            self.waiting.append(now)

    async def _connect(self) -> None:
        await asyncio.get_running_loop().create_connection(lambda: _Connection(self), HOST, self.port)

    async def _reconnect(self) -> None:
        while time.perf_counter() < self.end:
            try:
                return await self._connect()
            except OSError:
                self.result.failures += 1
                await asyncio.sleep(PAUSE_SECONDS)


class _Connection(asyncio.Protocol):
    """One request at a time."""

    due = 0.0
    numbers = itertools.count()

    def __init__(self, load: _Load) -> None:
        self.load = load
        self.number = next(self.numbers)
        self.body = b""
        self.parser = httptools.HttpResponseParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.load.is_ready(self)

    def send(self, message: bytes, due: float) -> None:
        self.due, self.body = due, b""
        self.transport.write(message)

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        if self.load.check is not None:
            self.body += body

    def on_message_complete(self) -> None:
        self.load.answered(self, self.parser.get_status_code())

    def connection_lost(self, error: Exception | None) -> None:
        self.load.lost(self)
