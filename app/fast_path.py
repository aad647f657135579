"""The most frequent calls, predict and infer, are parsed, queued and answered without FastAPI.

Each is a plain ASGI route. A connection that has received a whole request calls it directly, without a task, an ASGI scope
of its own or messages for the answer; see :class:`.http_server.HttpConnection`. Both ways use :meth:`FastPathCall.read` and
the engine.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import partial
from typing import ClassVar, NamedTuple, TypeVar

from starlette.types import Receive, Scope, Send

from driftline.errors import DriftlineError, InvalidInput, ServerError, UnsupportedMedia
from driftline.rows.rows import Rows

from .answers import BatchAnswer
from .engine import Caller, ModelQueue
from .gatekeeper import caller_of, content_type, key_of
from .responses import Content, error_content, send_content
from .services import Services
from .traces import RequestTrace

logger = logging.getLogger("driftline.predict")

CALLER = "driftline.caller"
"""The scope's extension that holds the connection's state: ``disconnected`` is true once the client has gone."""

R = TypeVar("R")
Headers = Mapping[bytes, bytes]
Encode = Callable[[BatchAnswer], Content]


ON_LOOP_BYTES = 2**16
"""What is longer is read in another thread: the loop has others to serve."""
ON_LOOP_ROWS = 64
"""An answer to more rows is written in another thread."""
ROW_BYTES = 64
"""About what a row is in a body; the work of reading and of writing is shared by it."""


class Begun(NamedTuple):
    """A queued call: the future of its answer, its rows, the function that encodes it, and its span where there is one."""

    answer: asyncio.Future[BatchAnswer]
    rows: int
    encode: Encode
    trace: RequestTrace | None = None


class ClientGone(DriftlineError):
    """The client disconnected before it had sent the whole body."""

    status = 499
    default_code = "client_gone"


class FastPathCall(ABC):
    """One kind of call. ``path`` is that of its endpoint, ``kind`` the content type that it takes; None: any."""

    is_v2: ClassVar[bool]
    kind: ClassVar[bytes | None]
    path: ClassVar[str]

    @abstractmethod
    def version(self, scope: Scope) -> int | None:
        """The requested version; None: the live one."""

    @abstractmethod
    def on_loop_bytes(self, model: ModelQueue) -> int:
        """The most bytes of a body that is read on the event loop."""

    @abstractmethod
    def read(self, model: ModelQueue, headers: Headers, body: bytes) -> tuple[Rows, Encode]:
        """The rows of a body, and the function that encodes their answer; :class:`InvalidInput` says what does not fit."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send_content(send, await self._content(scope, receive))

    async def _content(self, scope: Scope, receive: Receive) -> Content:
        services: Services = scope["app"].state.services
        headers = dict(scope["headers"])
        try:
            model = await find_model(services, scope["path_params"]["model"], self.version(scope))
            check_kind(headers, self.kind)
            body, asker = await read_body(receive), caller_of(scope)
            if len(body) > self.on_loop_bytes(model):
                services.charges.check(asker, "rows")
                rows, encode = await services.bodies.begin(asker, len(body), partial(self.read, model, headers, body))
            else:
                rows, encode = self.read(model, headers, body)
            caller: Caller | None = scope.get("extensions", {}).get(CALLER)
            begun = self._submit(services, model, scope, headers, rows, encode, caller)
        except Exception as error:
            return self.refuse(error)
        with contextlib.suppress(Exception):
            await begun.answer
        return await self.settle_later(services, asker, begun) if begun.rows > ON_LOOP_ROWS else self.settle(begun)

    def _submit(
        self,
        services: Services,
        model: ModelQueue,
        scope: Scope,
        headers: Headers,
        rows: Rows,
        encode: Encode,
        caller: Caller | None,
    ) -> Begun:
        key = key_of(scope)
        services.charges.take("" if key is None else key.id, "rows", len(rows))
        if services.tracing is None:
            return Begun(services.engine.submit(model, rows, caller, key=key), len(rows), encode)
        trace = RequestTrace(services.tracing, self.path, model.snapshot.spec.name, headers)
        return Begun(services.engine.submit(model, rows, caller, trace.context, key), len(rows), encode, trace)

    def begin(self, services: Services, scope: Scope, headers: Headers, body: bytes, caller: Caller) -> Begun | None:
        """Queues the call without waiting; None where it has to wait, as for a model that is not loaded yet, or is long."""
        live = services.version_watcher.loaded(scope["path_params"]["model"])
        if live is None or self.version(scope) is not None:
            return None
        model = live.chosen()
        check_kind(headers, self.kind)
        if len(body) > self.on_loop_bytes(model):
            return None
        rows, encode = self.read(model, headers, body)
        return self._submit(services, model, scope, headers, rows, encode, caller)

    def settle(self, begun: Begun) -> Content:
        """The response to a call that :meth:`begin` has queued, once its future is done."""
        try:
            content = begun.encode(begun.answer.result())
        except Exception as error:
            content = self.refuse(error)
        if begun.trace is not None:
            begun.trace.end(content.status)
        return content

    def settle_later(self, services: Services, asker: str, begun: Begun) -> asyncio.Future[Content]:
        """The same beside the event loop, for many rows."""
        return services.bodies.begin(asker, ROW_BYTES * begun.rows, partial(self.settle, begun))

    def refuse(self, error: Exception) -> Content:
        """The response to an error."""
        if not isinstance(error, DriftlineError) or isinstance(error, ServerError):
            logger.error("predict failed", exc_info=error)
        ours = error if isinstance(error, DriftlineError) else ServerError(f"predict failed: {type(error).__name__}")
        return error_content(ours, self.is_v2)


async def find_model(services: Services, name: str, version: int | None) -> ModelQueue:
    """The queue of a model: of its live version or its canary, or of the requested version."""
    if version is not None:
        return await services.version_watcher.pinned(name, version)
    return (await services.version_watcher.model(name)).chosen()


def parse_version(text: str) -> int:
    """A version's number; :class:`InvalidInput` where it is none."""
    if not (text.isascii() and text.isdigit() and 0 < len(text) < 16):
        raise InvalidInput(f"version: {text!r} is not the number of a version", field="version", value=text)
    return int(text)


def check_kind(headers: Headers, kind: bytes | None) -> None:
    """Refuses a body of another content type than ``kind``."""
    sent = content_type(headers)
    if kind is not None and sent != kind:
        value = sent.decode("latin-1")
        raise UnsupportedMedia(f"this call takes {kind.decode()}", field="Content-Type", value=value)


async def by_length(read: Callable[[bytes], R], data: bytes) -> R:
    """``read(data)``, in another thread where there is much of it."""
    return read(data) if len(data) <= ON_LOOP_BYTES else await asyncio.to_thread(read, data)


async def read_body(receive: Receive) -> bytes:
    """The whole body; :class:`ClientGone` where it never comes."""
    parts = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone("the client has disconnected")
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return parts[0] if len(parts) == 1 else b"".join(parts)
