"""HTTP answers as data: a status, a body and its headers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson
from starlette.types import Send

from driftline.api.errors import ErrorBody
from driftline.errors import DriftlineError, InvalidInput
from driftline.support.json_text import shortened


class Content(NamedTuple):
    """An answer: its status, its body, and the headers beside its length."""

    status: int
    body: bytes
    headers: Sequence[tuple[bytes, bytes]]


def security_headers(is_tls: bool) -> list[tuple[str, str]]:
    """What every answer says to a browser: take it for what it is, show it in no other page, tell nobody where it came from."""
    headers = [("x-content-type-options", "nosniff"), ("x-frame-options", "DENY"), ("referrer-policy", "no-referrer")]
    return [*headers, ("strict-transport-security", "max-age=31536000")] if is_tls else headers


MAX_MESSAGE, MAX_VALUE = 2000, 1000
"""Characters of a message, and of a value that it is about: an error is not longer than what it is about is worth."""
MAX_ELEMENTS = 100
WHOLE = frozenset({"items", "tasks"})
"""Details that are bounded where they are made."""

JSON = ((b"content-type", b"application/json"),)


def json_content(status: int, body: Any) -> Content:
    """``body`` as JSON."""
    return Content(status, orjson.dumps(body, default=str), JSON)


def error_content(error: DriftlineError, is_v2: bool = False) -> Content:
    """An error in the shape of ``/v1``, or of ``/v2``, where an error is one sentence."""
    told = error_body(error)
    status, body, headers = json_content(error_status(error, is_v2), {"error": told["message"] if is_v2 else told})
    if error.retry_after is not None:
        headers = (*headers, (b"retry-after", b"%d" % max(1, round(error.retry_after))))
    if status == 401:
        headers = (*headers, (b"www-authenticate", b"Bearer"))
    return Content(status, body, headers)


def error_body(error: DriftlineError) -> ErrorBody:
    """What an error is answered with: whatever the value that it is about, JSON of a bounded length."""
    body: ErrorBody = {"code": error.code, "message": _text(error.message, MAX_MESSAGE)}
    if error.details:
        body["details"] = {name: value if name in WHOLE else _told(value) for name, value in error.details.items()}
    return body


def _told(value: Any) -> Any:
    """A value as it is, or in short, where it is long or no JSON."""
    if isinstance(value, str):
        return _text(value, MAX_VALUE)
    if isinstance(value, list | tuple | dict) and len(value) > MAX_ELEMENTS:
        return f"{len(value)} values"
    try:
        text = orjson.dumps(value, default=str)
    except (TypeError, RecursionError):
        return _text(str(value) if isinstance(value, int) else repr(value), MAX_VALUE)
    return value if len(text) <= MAX_VALUE else shortened(text.decode(), MAX_VALUE)


def _text(text: str, length: int) -> str:
    short = shortened(text, length)
    return short if short.isascii() else short.encode(errors="backslashreplace").decode()


def error_status(error: DriftlineError, is_v2: bool) -> int:
    """The HTTP status of an error: the Open Inference Protocol answers bad input with 400."""
    return 400 if is_v2 and isinstance(error, InvalidInput) else error.status


async def send_content(send: Send, content: Content) -> None:
    """Answers ``content``."""
    headers = [*content.headers, (b"content-length", b"%d" % len(content.body))]
    await send({"type": "http.response.start", "status": content.status, "headers": headers})
    await send({"type": "http.response.body", "body": content.body})
