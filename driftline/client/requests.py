"""One HTTP call as data: what is sent, and what an answer or its absence means. Sends nothing itself."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Generic, TypeVar, cast

import httpx
import orjson

from driftline.api.endpoint import JSON, Endpoint
from driftline.client.inputs import encode_inputs
from driftline.errors import ConfigurationError, DriftlineError, InvalidInput, Late, Unavailable, from_json, told_by

BYTES = "application/octet-stream"
UPLOAD_SECONDS = 600.0

T = TypeVar("T")
R = TypeVar("R")
Element = TypeVar("Element")


@dataclass(frozen=True)
class Call(Generic[T]):
    """A call of an endpoint, and what of its answer is the result.

    Args:
        parts: what stands in the path.
        query: what stands after it; None: nothing of that name.
        content: the body.
        files: the parts of a form, instead of a body.
        pick: makes the result of an answer's body.
        is_safe: it may be made twice, and is made again when its answer is lost.
    """

    endpoint: Endpoint[Any]
    parts: Mapping[str, str]
    query: Mapping[str, object] = field(default_factory=dict)
    content: bytes | None = None
    files: Mapping[str, tuple[str | None, bytes | BinaryIO, str]] | None = None
    pick: Callable[[Any], T] | None = None
    is_safe: bool = False

    def then(self, pick: Callable[[T], R]) -> Call[R]:
        """The same call, with a part of its result as the result."""
        assert self.pick is None
        return Call(self.endpoint, self.parts, self.query, self.content, self.files, pick, self.is_safe)

    def request(self, client: httpx.Client | httpx.AsyncClient, timeout: float) -> httpx.Request:
        """The request as ``client`` sends it; each of its steps takes ``timeout`` seconds at most."""
        bodies = self.endpoint.bodies
        headers = {"content-type": bodies[0].kind if bodies else JSON} if self.content is not None else None
        url = self.endpoint.url(self.parts, self.query)
        return client.build_request(
            self.endpoint.method, url, content=self.content, files=self.files, headers=headers, timeout=timeout
        )

    def read(self, response: httpx.Response) -> T:
        """The result of an answer; the error that it carries is raised."""
        check(response)
        body: Any = {}
        if response.content:
            try:
                body = orjson.loads(response.content)
            except ValueError:
                raise _not_driftline(response) from None
        return self.pick(body) if self.pick is not None and response.content else cast(T, body)

    def line(self, data: bytes, index: int) -> T | None:
        """The result of the ``index``-th line of an answer that comes line by line; None where it brings none."""
        result: T = orjson.loads(data)
        return result

    @property
    def goes_on(self) -> bool:
        """Whether the next call goes on where the answer to this one has broken off."""
        return False

    def unanswered(self, url: httpx.URL, error: httpx.TransportError) -> T:
        """What it means that no answer came: the error that is to be raised."""
        raise transport_error(url, error) from error


class Probe(Call[bool]):
    """A call whose result is whether it succeeds."""

    def read(self, response: httpx.Response) -> bool:
        return response.is_success

    def unanswered(self, url: httpx.URL, error: httpx.TransportError) -> bool:
        return False


@dataclass(frozen=True)
class Wait(Generic[T]):
    """A call that is made again until its result is final.

    Args:
        state_of: what a result says of itself.
        final: the states that end the wait.
        what: what is waited for, in the message of the error.
        timeout: seconds until that is raised.
    """

    call: Call[T]
    state_of: Callable[[T], str]
    final: frozenset[str]
    what: str
    timeout: float

    def is_over(self, result: T) -> bool:
        """Whether a result is the last."""
        return self.state_of(result) in self.final

    def late(self, result: T | None) -> Late:
        """The error when there is no more time."""
        state = "unknown" if result is None else self.state_of(result)
        return Late(f"{self.what} is still {state} after {self.timeout:g} s")


def call(
    endpoint: Endpoint[T],
    *,
    content: bytes | None = None,
    query: Mapping[str, object] | None = None,
    is_safe: bool | None = None,
    **parts: str,
) -> Call[T]:
    """A call of ``endpoint``, whose result is the answer's body. What only reads is safe, unless it is said otherwise."""
    return Call(endpoint, parts, query or {}, content, is_safe=endpoint.method == "GET" if is_safe is None else is_safe)


@dataclass(frozen=True)
class Upload(Call[T]):
    """A call that brings the file at a path along, which is sent as it is read.

    The server reads it too before it answers, which takes a while.
    """

    uploads: Mapping[str, Path] = field(default_factory=dict)

    def request(self, client: httpx.Client | httpx.AsyncClient, timeout: float) -> httpx.Request:
        with contextlib.ExitStack() as opened:
            uploads = {
                name: (path.name, opened.enter_context(_opened(path)), BYTES) for name, path in self.uploads.items()
            }
            whole = dataclasses.replace(self, files={**(self.files or {}), **uploads}, uploads={})
            request = super(Upload, whole).request(client, max(timeout, UPLOAD_SECONDS))
            opened.pop_all()
        return request


def create_call(
    endpoint: Endpoint[T], spec: Mapping[str, Any], weights: bytes | Path | None, example: Any = None
) -> Call[T]:
    """A call that sends a spec; as a form with weights, the bytes or the path of a safetensors file, or rows to try them on."""
    if weights is None and example is None:
        return call(endpoint, content=encode(spec))
    files: dict[str, tuple[str | None, bytes | BinaryIO, str]] = {"spec": (None, encode(spec), JSON)}
    if example is not None:
        files["example"] = (None, encode_inputs(example), JSON)
    if isinstance(weights, bytes):
        files["weights"] = ("weights.safetensors", weights, BYTES)
    return Upload(endpoint, {}, files=files, uploads={"weights": weights} if isinstance(weights, Path) else {})


def check(response: httpx.Response) -> None:
    """Raise the error that a read response carries."""
    if response.is_success:
        return
    try:
        error = response.json()["error"]
    except (ValueError, KeyError, TypeError):
        raise _not_driftline(response) from None
    body = error if isinstance(error, dict) else {"message": str(error)}
    raise from_json(response.status_code, body, _retry_after(response))


def _retry_after(response: httpx.Response) -> float | None:
    try:
        return float(response.headers["retry-after"])
    except (KeyError, ValueError):
        return None


def _not_driftline(response: httpx.Response) -> DriftlineError:
    message = (
        f"{response.request.url} answered {response.status_code} without a body of Driftline's; is it the right URL?"
    )
    return from_json(response.status_code, {"message": message, "code": "unexpected_answer"}, _retry_after(response))


def parse_url(text: str) -> httpx.URL:
    """The URL of a server; :class:`ConfigurationError` where ``text`` is none."""
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL:
        url = httpx.URL()
    if url.scheme not in ("http", "https") or not url.host:
        raise ConfigurationError(f"{text!r} is not the URL of a server; give one like http://127.0.0.1:8000")
    return url


def transport_error(url: httpx.URL, error: httpx.TransportError) -> DriftlineError:
    """What a failure below HTTP means to the caller."""
    if isinstance(error, httpx.ReadTimeout | httpx.WriteTimeout | httpx.PoolTimeout):
        return Late(f"{url} did not answer in time")
    return Unavailable(
        f"{url} cannot be reached: {told_by(error)}; is the server running? "
        "DRIFTLINE_URL names another one (at the command line also --url)"
    )


def _plain(value: Any) -> Any:
    """Arrays, tensors and their scalars as JSON takes them."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot be sent")


def encode(value: Any) -> bytes:
    """``value`` as JSON; :class:`InvalidInput` where it holds what JSON has no number or type for."""
    try:
        return json.dumps(value, default=_plain, allow_nan=False, separators=(",", ":")).encode()
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"this cannot be sent as JSON: {error}") from None


def given(**fields: Any) -> dict[str, Any]:
    """The fields that are not None: the server knows the defaults of the others."""
    return {name: value for name, value in fields.items() if value is not None}


def event_query(kind: str | Iterable[str] | None, **rest: object) -> dict[str, object]:
    """The query of a call for events; ``kind`` is one or several."""
    return {"kind": kind if kind is None or isinstance(kind, str) else ",".join(kind), **rest}


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}", value=str(path)) from None


def batches(items: Iterable[Element], size: int) -> Iterator[list[Element]]:
    """``items`` in lists of at most ``size``."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def pauses(timeout: float) -> Iterator[float]:
    """How long to wait between two looks, until ``timeout`` seconds have passed."""
    deadline, pause = time.monotonic() + timeout, 0.05
    while (left := deadline - time.monotonic()) > 0:
        yield min(pause, left)
        pause = min(1.5 * pause, 0.5)
