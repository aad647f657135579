"""Who may call what, and how much a caller may cost: the checks before any route runs."""

from __future__ import annotations

import asyncio
import re
from typing import Any
from urllib.parse import urlsplit

import orjson
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from driftline.errors import DriftlineError, Forbidden, Late, TooLarge, Unauthorized, UnsupportedMedia
from driftline.keys import KeyStore
from driftline.local import is_loopback

BODY_TYPES = ("application/json", "application/x-ndjson", "application/octet-stream", "multipart/form-data")
OPEN = re.compile(r"^/(livez|readyz|docs|openapi\.json|swagger/[\w.-]+)?$")
SCOPES = [
    (re.compile(r"^/metrics$"), {"metrics"}),
    (re.compile(r"^/v1/models/[^/]+/predict$"), {"predict"}),
    (re.compile(r"^/v1/models/[^/]+/feedback(/.*)?$"), {"feedback"}),
    (re.compile(r"^/v1/models/[^/]+/metrics$"), {"metrics", "predict", "feedback"}),
]


def scopes_for(method: str, path: str) -> set[str]:
    """Any one of these scopes allows the call; ``admin`` allows every call, and none is needed where the set is empty."""
    if OPEN.match(path):
        return set()
    for pattern, scopes in SCOPES:
        if pattern.match(path):
            return scopes
    return {"predict", "feedback", "metrics"} if method == "GET" else {"admin"}


class Gatekeeper:
    """Checks key, Host, Origin and content type, and bounds size and time of a body.

    An address that other machines reach (``is_public``) always asks for a key. Without keys the server is for this machine
    only, so a web page must not be able to drive it: a page of another site carries its own Origin or, after DNS rebinding,
    its own Host.
    """

    def __init__(
        self, app: ASGIApp, *, keys: KeyStore, is_public: bool, max_body_bytes: int, read_timeout: float
    ) -> None:
        self.app = app
        self.keys = keys
        self.is_public = is_public
        self.max_body_bytes = max_body_bytes
        self.read_timeout = read_timeout

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        try:
            self._check(scope, headers)
        except DriftlineError as error:
            await send_error(send, error)
            return
        await self.app(scope, self._bounded(receive, headers), send)

    def _check(self, scope: Scope, headers: Headers) -> None:
        if self.is_public or self.keys.exists:
            self._check_key(scope, headers)
        elif not is_loopback(_host(headers.get("host", ""))):
            raise Forbidden("without API keys only this machine may call", code="wrong_host", field="Host")
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != headers.get("host"):
            raise Forbidden("a page of another site may not call", code="wrong_origin", field="Origin", value=origin)
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        has_body = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
        if has_body and kind not in BODY_TYPES:
            message = f"content type {kind!r} is not one of {', '.join(BODY_TYPES)}"
            raise UnsupportedMedia(message, field="Content-Type", value=kind)
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length) > self.max_body_bytes:
            raise self._too_large()

    def _check_key(self, scope: Scope, headers: Headers) -> None:
        needed = scopes_for(scope["method"], scope["path"])
        if not needed:
            return
        kind, _, token = headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer" or not token:
            raise Unauthorized("send a key: 'Authorization: Bearer ID.SECRET'", code="no_key")
        key = self.keys.check(token.strip())
        if key is None:
            raise Unauthorized("this key is not known here", code="unknown_key")
        if not (needed | {"admin"}) & set(key.scopes):
            raise Forbidden(f"this key lacks the scope {' or '.join(sorted(needed))}", code="missing_scope")

    def _bounded(self, receive: Receive, headers: Headers) -> Receive:
        """``receive`` that ends a body which is too large, or whose sender stalls.

        A stream of feedback lines may be as long as its sender likes; its route bounds the lines.
        """
        is_stream = headers.get("content-type", "").startswith("application/x-ndjson")
        received, is_complete = 0, False

        async def bounded() -> Message:
            nonlocal received, is_complete
            if is_complete or is_stream:
                return await receive()
            try:
                async with asyncio.timeout(self.read_timeout):
                    message = await receive()
            except TimeoutError:
                raise Late(f"the body did not come within {self.read_timeout:g} s", code="slow_body") from None
            received += len(message.get("body", b""))
            if received > self.max_body_bytes:
                raise self._too_large()
            is_complete = not message.get("more_body", False)
            return message

        return bounded

    def _too_large(self) -> TooLarge:
        return TooLarge(f"a body may have {self.max_body_bytes} bytes at most", field="body", limit=self.max_body_bytes)


def _host(header: str) -> str:
    return urlsplit(f"//{header}").hostname or ""


async def send_error(send: Send, error: DriftlineError) -> None:
    """Answers an error in the shape of ``/v1``."""
    await send_json(send, error.status, {"error": error.as_json()}, error.retry_after)


async def send_json(send: Send, status: int, body: Any, retry_after: float | None = None) -> None:
    """Answers JSON, without a second serializer pass where ``body`` is bytes already."""
    data = body if isinstance(body, bytes) else orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY, default=str)
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(data)).encode())]
    if retry_after is not None:
        headers.append((b"retry-after", str(max(1, round(retry_after))).encode()))
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": data})
