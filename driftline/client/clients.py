"""The Python client. :class:`Client` and :class:`AsyncClient` differ in how they send, in nothing else."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any, TypeVar

import httpx

from driftline.client import requests
from driftline.client.calls import Calls
from driftline.client.methods import AsyncSender, Sender
from driftline.client.requests import Call, Wait
from driftline.errors import ConfigurationError

__all__ = ["AsyncClient", "Client"]

T = TypeVar("T")
DEFAULT_URL = "http://127.0.0.1:8000"


def _options(url: str | None, key: str | None, timeout: float) -> dict[str, Any]:
    key = (key or os.environ.get("DRIFTLINE_KEY", "")).strip()
    if not key.isascii():
        raise ConfigurationError("the API key holds characters that no key has; give it as it was printed: id.secret")
    return {
        "base_url": requests.parse_url(url or os.environ.get("DRIFTLINE_URL") or DEFAULT_URL),
        "headers": {"authorization": f"Bearer {key}"} if key else {},
        "timeout": timeout,
        "limits": httpx.Limits(max_connections=None, max_keepalive_connections=100),
        "mounts": dict.fromkeys(("all://localhost", "all://127.0.0.1", "all://[::1]")),  # never through a proxy
    }


class Client(Calls, Sender):
    """Talks to a Driftline server; errors of :mod:`driftline.errors` are raised as the server raised them.

    ``url`` and ``key`` default to ``DRIFTLINE_URL`` and ``DRIFTLINE_KEY``; ``timeout`` is in seconds. Inputs may be
    lists, numpy arrays or tensors.

    ::

        with Client() as client:
            answer = client.predict("weather", [[0.1] * 8])
            client.feedback("weather", [{"prediction_id": answer["predictions"][0]["id"], "label": 1}])
    """

    def __init__(self, url: str | None = None, *, key: str | None = None, timeout: float = 30.0) -> None:
        self._http = httpx.Client(**_options(url, key, timeout))

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _send(self, call: Call[T] | Wait[T]) -> T:
        if isinstance(call, Wait):
            return self._wait(call)
        request = call.request(self._http)
        try:
            return call.read(self._http.send(request))
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
            request = call.request(self._http)
            try:
                response = self._http.send(request, stream=True)
                try:
                    if not response.is_success:
                        response.read()
                        requests.check(response)
                    for line in response.iter_lines():
                        if line:
                            yield json.loads(line)
                finally:
                    response.close()
            except httpx.TransportError as error:
                raise requests.transport_error(self._http.base_url, error) from error


class AsyncClient(Calls, AsyncSender):
    """:class:`Client` for asyncio: the same calls, awaited."""

    def __init__(self, url: str | None = None, *, key: str | None = None, timeout: float = 30.0) -> None:
        self._http = httpx.AsyncClient(**_options(url, key, timeout))

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def _send(self, call: Call[T] | Wait[T]) -> T:
        if isinstance(call, Wait):
            return await self._wait(call)
        request = call.request(self._http)
        try:
            return call.read(await self._http.send(request))
        except httpx.TransportError as error:
            return call.unanswered(self._http.base_url, error)

    async def _wait(self, wait: Wait[T]) -> T:
        result = None
        for pause in requests.pauses(wait.timeout):
            result = await self._send(wait.call)
            if wait.is_over(result):
                return result
            await asyncio.sleep(pause)
        raise wait.late(result)

    async def _lines(self, calls: Iterator[Call[T]]) -> AsyncIterator[T]:
        for call in calls:
            request = call.request(self._http)
            try:
                response = await self._http.send(request, stream=True)
                try:
                    if not response.is_success:
                        await response.aread()
                        requests.check(response)
                    async for line in response.aiter_lines():
                        if line:
                            yield json.loads(line)
                finally:
                    await response.aclose()
            except httpx.TransportError as error:
                raise requests.transport_error(self._http.base_url, error) from error
