"""The Python client. :class:`Client` and :class:`AsyncClient` differ in how they send, in nothing else."""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import chain
from typing import Any, TypeVar

import httpx

from driftline.client import requests
from driftline.client.calls import Calls
from driftline.client.methods import AsyncSender, Sender
from driftline.client.requests import Call, Wait
from driftline.client.retries import ASKED_AGAIN, Attempts
from driftline.client.sender import AsyncFeedbackSender, FeedbackSender, OnError
from driftline.errors import ConfigurationError
from driftline.support.lines import LineCutter

__all__ = ["AsyncClient", "Client"]

T = TypeVar("T")
HttpClient = TypeVar("HttpClient", httpx.Client, httpx.AsyncClient)
DEFAULT_URL = "http://127.0.0.1:8000"
LAST = b"\n"
"""What ends the last line of an answer, also where the server has not ended it."""
LOCAL = ("localhost", "127.0.0.1", "::1")
"""This machine: never asked through a proxy."""


def _options(url: str | None, key: str | None) -> dict[str, Any]:
    key = (key or os.environ.get("DRIFTLINE_KEY", "")).strip()
    if not key.isascii():
        raise ConfigurationError("the API key holds characters that no key has; give it as it was printed: id.secret")
    address = requests.parse_url(url or os.environ.get("DRIFTLINE_URL") or DEFAULT_URL)
    return {
        "base_url": address,
        # Reading all certificates that a machine trusts takes longer than a call; over http none is looked at.
        "verify": True if address.scheme == "https" else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
        # Of this machine no proxy knows anything, and one that cannot be used must not keep it from being asked.
        "trust_env": address.scheme == "https" or address.host not in LOCAL,
        "headers": {"authorization": f"Bearer {key}"} if key else {},
        "limits": httpx.Limits(max_connections=None, max_keepalive_connections=100),
        "mounts": dict.fromkeys(f"all://{host if ':' not in host else f'[{host}]'}" for host in LOCAL),
    }


def _opened(kind: Callable[..., HttpClient], url: str | None, key: str | None) -> HttpClient:
    """A client of httpx; a proxy of the environment that it cannot use is told by what to do."""
    options = _options(url, key)
    try:
        return kind(**options)
    except (ImportError, ValueError) as error:
        host = options["base_url"].host
        raise ConfigurationError(
            f"the proxy that ALL_PROXY, HTTP_PROXY or HTTPS_PROXY names cannot be used: {error}; for SOCKS: "
            f'pip install "httpx[socks]"; without a proxy: NO_PROXY={host} and no ALL_PROXY',
            code="proxy",
        ) from None


class Client(Calls, Sender):
    """Talks to a Driftline server; errors of :mod:`driftline.errors` are raised as the server raised them.

    ``url`` and ``key`` default to ``DRIFTLINE_URL`` and ``DRIFTLINE_KEY``. Rows may be lists, dictionaries, data frames,
    Arrow tables, arrays or tensors (:mod:`driftline.client.inputs`).

    A call that meets a broken connection, 429, 503 or 504 is made again, ``retries`` times at most and as long as ``timeout``
    seconds are not over; ``Retry-After`` is waited for. What changes something and would change it twice is made again only
    where the server has not begun it. Labels are safe: each has an id, or gets one.

    ::

        with Client() as client:
            answer = client.predict("weather", [[0.1] * 8])
            client.feedback("weather", [{"prediction_id": answer["predictions"][0]["id"], "label": 1}])
    """

    def __init__(
        self, url: str | None = None, *, key: str | None = None, timeout: float = 30.0, retries: int = 5
    ) -> None:
        self._http = _opened(httpx.Client, url, key)
        self.timeout, self.retries = timeout, retries

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        """The server's address."""
        return str(self._http.base_url)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def sender(
        self,
        model: str,
        *,
        max_batch: int = 500,
        max_waiting: int = 10_000,
        timeout: float | None = 300.0,
        on_error: OnError | None = None,
    ) -> FeedbackSender:
        """Hands in labels beside the program, in batches, again and again until the server has them."""
        return FeedbackSender(
            lambda call: self._attempt(call, self.timeout),
            model,
            max_batch=max_batch,
            max_waiting=max_waiting,
            timeout=timeout,
            on_error=on_error,
        )

    def _send(self, call: Call[T] | Wait[T]) -> T:
        if isinstance(call, Wait):
            return self._wait(call)
        attempts = Attempts(call.is_safe, self.retries, self.timeout)
        while True:
            try:
                return self._attempt(call, attempts.seconds_left)
            except ASKED_AGAIN as error:
                pause = attempts.pause_after(error)
            time.sleep(pause)

    def _attempt(self, call: Call[T], timeout: float) -> T:
        try:
            return call.read(self._http.send(call.request(self._http, timeout)))
        except httpx.TransportError as error:
            return call.unanswered(self._http.base_url, error)

    def _wait(self, wait: Wait[T]) -> T:
        result = None
        for pause in requests.pauses(wait.timeout):
            result = self._send(wait.call)
            if wait.is_over(result):
                return result
            time.sleep(pause)
        raise wait.late(result)

    def _lines(self, calls: Iterator[Call[T]]) -> Iterator[T]:
        for call in calls:
            attempts, count = Attempts(call.is_safe, self.retries, self.timeout), 0
            while True:
                try:
                    for line in self._stream(call, attempts.seconds_left, count):
                        count += 1
                        yield line
                    break
                except ASKED_AGAIN as error:
                    if call.goes_on:
                        break
                    # A call that is not safe has no more attempts once a part of its answer is given away.
                    if count and not call.is_safe:
                        raise
                    pause = attempts.pause_after(error)
                time.sleep(pause)

    def _stream(self, call: Call[T], timeout: float, skipped: int) -> Iterator[T]:
        try:
            response = self._http.send(call.request(self._http, timeout), stream=True)
            try:
                if not response.is_success:
                    response.read()
                    requests.check(response)
                index, cutter = 0, LineCutter()
                for part in chain(response.iter_bytes(), [LAST]):
                    for line in cutter.add(part):
                        if index >= skipped and (found := call.line(line, index)) is not None:
                            yield found
                        index += 1
            finally:
                response.close()
        except httpx.TransportError as error:
            raise requests.transport_error(self._http.base_url, error) from error


class AsyncClient(Calls, AsyncSender):
    """:class:`Client` for asyncio: the same calls, awaited."""

    def __init__(
        self, url: str | None = None, *, key: str | None = None, timeout: float = 30.0, retries: int = 5
    ) -> None:
        self._http = _opened(httpx.AsyncClient, url, key)
        self.timeout, self.retries = timeout, retries

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    def sender(
        self,
        model: str,
        *,
        max_batch: int = 500,
        max_waiting: int = 10_000,
        timeout: float | None = 300.0,
        on_error: OnError | None = None,
    ) -> AsyncFeedbackSender:
        """Hands in labels beside the program, in a task of its own, again and again until the server has them."""
        return AsyncFeedbackSender(
            lambda call: self._attempt(call, self.timeout),
            model,
            max_batch=max_batch,
            max_waiting=max_waiting,
            timeout=timeout,
            on_error=on_error,
        )

    async def _send(self, call: Call[T] | Wait[T]) -> T:
        if isinstance(call, Wait):
            return await self._wait(call)
        attempts = Attempts(call.is_safe, self.retries, self.timeout)
        while True:
            try:
                return await self._attempt(call, attempts.seconds_left)
            except ASKED_AGAIN as error:
                pause = attempts.pause_after(error)
            await _sleep(pause)

    async def _attempt(self, call: Call[T], timeout: float) -> T:
        try:
            return call.read(await self._http.send(call.request(self._http, timeout)))
        except httpx.TransportError as error:
            return call.unanswered(self._http.base_url, error)

    async def _wait(self, wait: Wait[T]) -> T:
        result = None
        for pause in requests.pauses(wait.timeout):
            result = await self._send(wait.call)
            if wait.is_over(result):
                return result
            await _sleep(pause)
        raise wait.late(result)

    async def _lines(self, calls: Iterator[Call[T]]) -> AsyncIterator[T]:
        for call in calls:
            attempts, count = Attempts(call.is_safe, self.retries, self.timeout), 0
            while True:
                try:
                    async for line in self._stream(call, attempts.seconds_left, count):
                        count += 1
                        yield line
                    break
                except ASKED_AGAIN as error:
                    if call.goes_on:
                        break
                    if count and not call.is_safe:
                        raise
                    pause = attempts.pause_after(error)
                await _sleep(pause)

    async def _stream(self, call: Call[T], timeout: float, skipped: int) -> AsyncIterator[T]:
        try:
            response = await self._http.send(call.request(self._http, timeout), stream=True)
            try:
                if not response.is_success:
                    await response.aread()
                    requests.check(response)
                index, cutter = 0, LineCutter()
                async for part in _ended(response.aiter_bytes()):
                    for line in cutter.add(part):
                        if index >= skipped and (found := call.line(line, index)) is not None:
                            yield found
                        index += 1
            finally:
                await response.aclose()
        except httpx.TransportError as error:
            raise requests.transport_error(self._http.base_url, error) from error


async def _ended(parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    async for part in parts:
        yield part
    yield LAST


async def _sleep(seconds: float) -> None:
    # Whoever awaits has it loaded; the others do without.
    import asyncio

    await asyncio.sleep(seconds)
