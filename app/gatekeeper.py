"""The checks before any route runs: API key, Host, Origin, content type and size of the body."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TypeVar

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from driftline.api import scopes
from driftline.api.endpoint import FORM
from driftline.api.endpoints import ENDPOINTS
from driftline.api.scopes import ANYONE, default_scopes
from driftline.api_keys import Key, KeyStore
from driftline.errors import (
    ConfigurationError,
    CorruptData,
    DriftlineError,
    Forbidden,
    TooLarge,
    Unauthorized,
    Unavailable,
    UnsupportedMedia,
)
from driftline.processes.plan import is_loopback
from driftline.store.owners import EVERYTHING, Access

from .body_limits import WITHOUT_BODY_BYTES, body_limit
from .charges import Charges
from .identity_tokens import IdentityTokens
from .refused_calls import RefusedCalls
from .responses import error_content, send_content

logger = logging.getLogger("driftline.keys")

T = TypeVar("T")

FORM_TYPE = b"multipart/form-data"
BODY_TYPES = (b"application/json", b"application/x-ndjson", b"application/octet-stream", FORM_TYPE)
ENDPOINTS_OF_WEIGHTS = re.compile(
    "|".join(each.pattern.pattern for each in ENDPOINTS if any(body.kind == FORM for body in each.bodies))
)
OF_A_MODEL = re.compile(r"/v[12]/models/([^/]+)")
PAGES = re.compile(r"(/|/page/[\w./-]+|/docs|/openapi\.json|/swagger/[\w.-]+)")
"""What shows and describes the interface, and is no part of it: files that say nothing of the models."""


CHECKED = "driftline.checked"
"""The scope's extension that is true where the connection has had the call checked."""
MAX_KEPT_PATH = 200
"""A longer path is looked up each time: what is kept of paths must not grow with what strangers send."""


def kept_by_path(look_up: Callable[[str, str], T]) -> Callable[[str, str], T]:
    """Keeps what is found of a method and a path, where the path is short. HEAD asks for what GET does."""

    def found(method: str, path: str) -> T:
        return look_up("GET" if method == "HEAD" else method, path)

    kept = lru_cache(maxsize=4096)(found)
    return lambda method, path: kept(method, path) if len(path) <= MAX_KEPT_PATH else found(method, path)


@kept_by_path
def scopes_for(method: str, path: str) -> frozenset[scopes.Scope]:
    """The scopes of which any one allows the call; an empty set needs none, and ``admin`` allows every call.

    Of a method that a path does not have, they are those that its endpoints name, if they name any.
    """
    if PAGES.fullmatch(path):
        return ANYONE
    found: dict[str, frozenset[scopes.Scope]] = {
        endpoint.method: endpoint.scopes for endpoint in reversed(ENDPOINTS) if endpoint.pattern.fullmatch(path)
    }
    if method in found:
        return found[method]
    named = [needed for other, needed in found.items() if needed != default_scopes(other)]
    return named[0] if named else default_scopes(method)


@kept_by_path
def is_filtered(method: str, path: str) -> bool:
    """Whether a call that names no model does what a key may that is for some models only."""
    return any(each.is_filtered and each.method == method and each.pattern.fullmatch(path) for each in ENDPOINTS)


class Gatekeeper:
    """Checks key, Host, Origin and content type, and bounds the size of a body.

    An address that other machines can reach (``is_public``) always needs a key. Without keys the server is for this machine
    only, so a web page must not be able to drive it: a page of another site carries its own Origin or, after DNS rebinding,
    its own Host.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        keys: KeyStore,
        tokens: IdentityTokens | None = None,
        is_public: bool,
        max_body_bytes: int,
        max_weights_bytes: int,
        refusals: RefusedCalls | None = None,
        charges: Charges | None = None,
    ) -> None:
        self.app = app
        self.refusals = refusals or RefusedCalls()
        self.charges = charges or Charges({})
        self.keys = keys
        self.tokens = tokens
        self.is_public = is_public
        self.max_body_bytes = max_body_bytes
        self.max_weights_bytes = max_weights_bytes
        self._told = ""
        self.least_limit = min(WITHOUT_BODY_BYTES, max_body_bytes, max_weights_bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = dict(scope["headers"])
            try:
                if not scope.get("extensions", {}).get(CHECKED):
                    self.check(scope, headers)
            except DriftlineError as error:
                await send_content(send, error_content(error, is_v2=scope["path"].startswith("/v2")))
                return
            receive = self._charged(self._bounded(receive, scope, headers), scope)
        await self.app(scope, receive, send)

    def check(self, scope: Scope, headers: Mapping[bytes, bytes]) -> None:
        """Raises the error that says why a call is refused."""
        host = headers.get(b"host", b"")
        try:
            self._check_caller(scope, headers, host)
        except (ConfigurationError, CorruptData) as error:
            raise self._unreadable(error) from None
        if b"origin" in headers:
            page = headers[b"origin"].decode("latin-1")
            if page.partition("://")[2] != host.decode("latin-1"):
                raise Forbidden("a page of another site may not call", code="wrong_origin", field="Origin", value=page)
        length = headers.get(b"content-length", b"0")
        if length != b"0" or b"transfer-encoding" in headers:
            self._check_body(scope, headers, length)
        if self.charges.limits:
            self.charges.take(caller_of(scope), "requests", 1)

    def _check_caller(self, scope: Scope, headers: Mapping[bytes, bytes], host: bytes) -> None:
        if self.is_public or self.keys.is_required or self.tokens is not None:
            self._check_key(scope, headers)
        elif not _is_this_machine(host):
            raise Forbidden("without API keys only this machine may call", code="wrong_host", field="Host")

    def _unreadable(self, error: DriftlineError) -> Unavailable:
        """Where the keys cannot be read nobody may call; the log alone, and no caller, is told of the file and why."""
        if error.message != self._told:
            self._told = error.message
            logger.error("no call is let in: %s", error.message)
        return Unavailable("the API keys cannot be read; the log says why", code="keys_unreadable", retry_after=1)

    def _check_body(self, scope: Scope, headers: Mapping[bytes, bytes], length: bytes) -> None:
        kind = content_type(headers)
        # Clients of the Open Inference Protocol send no content type. A web page that sends none has an Origin.
        if kind not in BODY_TYPES and (kind or not scope["path"].startswith("/v2/")):
            name = kind.decode("latin-1")
            message = f"content type {name!r} is not one of {', '.join(known.decode() for known in BODY_TYPES)}"
            raise UnsupportedMedia(message, field="Content-Type", value=name)
        if headers.get(b"content-encoding", b"identity") != b"identity":
            raise UnsupportedMedia("a body is taken as it is, not compressed", field="Content-Encoding")
        if length.isdigit() and int(length) > self.least_limit:
            limit = self._limit(scope, kind)
            # Lines of which it is known how many come are as much as a body of them.
            limit = self.max_body_bytes if limit is None else limit
            if int(length) > limit:
                raise _too_large(limit)

    def _check_key(self, scope: Scope, headers: Mapping[bytes, bytes]) -> None:
        needed = scopes_for(scope["method"], scope["path"])
        if not needed:
            return
        kind, _, token = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
        key = self._proved(token.strip()) if kind.lower() == "bearer" else None
        if key is None:
            raise self._unauthorized(bool(token))
        if needed.isdisjoint(key.scopes) and "admin" not in key.scopes:
            self.refusals.note("missing_scope", key, f"{scope['method']} {scope['path']}")
            raise Forbidden(f"this key lacks the scope {' or '.join(sorted(needed))}", code="missing_scope")
        if key.models:
            self._check_model(key, scope["method"], scope["path"])
        scope["actor"], scope["key"] = key.name or key.id, key

    def _proved(self, token: str) -> Key | None:
        """The key that a text proves: a key of this instance has one dot in it, a signed token two."""
        if self.tokens is not None and token.count(".") == 2:
            return self.tokens.check(token)
        return self.keys.check(token)

    def _check_model(self, key: Key, method: str, path: str) -> None:
        named = OF_A_MODEL.match(path)
        if key.allows(named[1]) if named else is_filtered(method, path):
            return
        self.refusals.note("wrong_model", key, f"{method} {path}")
        message = f"this key is for {', '.join(key.models)}, not for {named[1] if named else 'all models'}"
        raise Forbidden(message, code="wrong_model", field="model", value=named[1] if named else None)

    def _unauthorized(self, has_token: bool) -> Unauthorized:
        if self.tokens is None and not self.keys.list():
            message = "every call needs a key, and there is none; on the server: driftline keys create --scope admin"
            return Unauthorized(message, code="no_keys")
        self.refusals.note("unknown_key" if has_token else "no_key")
        if not has_token:
            return Unauthorized("send a key: 'Authorization: Bearer ID.SECRET'", code="no_key")
        return Unauthorized("this key is not known here, or has expired", code="unknown_key")

    def _bounded(self, receive: Receive, scope: Scope, headers: Mapping[bytes, bytes]) -> Receive:
        """``receive`` that cuts off a body without a Content-Length which is larger than its route takes.

        A stream of feedback lines has no limit; its route limits the lines.
        """
        if b"transfer-encoding" not in headers:
            return receive
        limit, received = self._limit(scope, content_type(headers)), 0
        if limit is None:
            return receive

        async def bounded() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                raise _too_large(limit)
            return message

        return bounded

    def _charged(self, receive: Receive, scope: Scope) -> Receive:
        """``receive`` that charges the caller for the bytes of the body, as they come."""
        if "bytes" not in self.charges.limits:
            return receive

        async def charged() -> Message:
            message = await receive()
            self.charges.take(caller_of(scope), "bytes", len(message.get("body", b"")))
            return message

        return charged

    def _limit(self, scope: Scope, kind: bytes) -> int | None:
        """The bytes that a body may have; None for a stream of lines, which its route bounds.

        The form that brings weights is written to a file, and has a limit of its own.
        """
        if brings_weights(scope["path"], kind):
            return self.max_weights_bytes
        return body_limit(scope["method"], scope["path"], self.max_body_bytes)


def key_of(scope: Scope) -> Key | None:
    """The API key of a call; None where there are no keys."""
    return scope.get("key")


def caller_of(scope: Scope) -> str:
    """Whom a call is charged to: the id of its key, or nobody in particular."""
    key = key_of(scope)
    return "" if key is None else key.id


def access_of(scope: Scope) -> Access:
    """What a call may ask about: without keys everything."""
    key = key_of(scope)
    return EVERYTHING if key is None else Access(key.owner, key.may("admin"))


def brings_weights(path: str, kind: bytes) -> bool:
    """Whether a body is the form that a model's weights come in."""
    return kind == FORM_TYPE and ENDPOINTS_OF_WEIGHTS.fullmatch(path) is not None


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"the body of this call may have {limit} bytes at most", field="body", limit=limit)


def content_type(headers: Mapping[bytes, bytes]) -> bytes:
    """The content type without its parameters, in lower case; empty where there is none."""
    return headers.get(b"content-type", b"").partition(b";")[0].strip().lower()


HOST = re.compile(r"(?:\[(?P<literal>[0-9A-Fa-f:.]+)\]|(?P<name>[\w.~!$&'()*+,;=%-]*))(?::\d*)?", re.ASCII)
"""RFC 9110, 7.2: a host as of a URI and a port, and no user before it."""


@lru_cache(maxsize=256)
def _is_this_machine(host: bytes) -> bool:
    found = HOST.fullmatch(host.decode("latin-1"))
    return found is not None and is_loopback(found["literal"] or found["name"])
