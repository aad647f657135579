"""One call of the interface, as data."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Generic, TypeVar
from urllib.parse import quote

from driftline.api.lazily import resolved
from driftline.api.scopes import Scope

T = TypeVar("T")
JSON, NDJSON, BINARY, FORM, TEXT, EVENT_STREAM = (
    *("application/json", "application/x-ndjson", "application/octet-stream"),
    *("multipart/form-data", "text/plain", "text/event-stream"),
)
_PART = re.compile(r"{(\w+)(:path)?}")


@dataclass(frozen=True)
class MediaType:
    """What a body or an answer holds: its type, an example, and its content type. ``examples`` are further ones."""

    declared: Any
    example: Any = None
    kind: str = JSON
    examples: tuple[Any, ...] = ()

    @property
    def type(self) -> Any:
        """Its type, whose module is loaded now."""
        return resolved(self.declared)


@dataclass(frozen=True, eq=False)
class Endpoint(Generic[T]):
    """A method and a path, with what is sent and answered.

    Args:
        path: may have parts such as ``{model}``; ``{id:path}`` also takes slashes.
        declared: the type of a successful answer's body, or of each of its lines.
        scopes: any one of these allows the call, as ``admin`` always does; empty: nobody needs a key.
        bodies: what may be sent; one of them.
        declared_query: the type of the query.
        also: other successful answers, by their status.
        is_body_needed: whether a call without a body is refused.
        has_key: whether calls with the same header ``Idempotency-Key`` are one, within a day.
        streamed: what comes, one by one, where the call accepts that content type.
        is_filtered: names no model, and does what a key may that is for some models only; others refuse such a key.
        client: the method of :class:`driftline.client.Client` that makes the call; None: other clients do.
    """

    method: str
    path: str
    declared: type[T]
    summary: str
    tag: str
    scopes: frozenset[Scope]
    description: str = ""
    example: Any = None
    status: int = 200
    answer_kind: str = JSON
    bodies: tuple[MediaType, ...] = ()
    is_body_needed: bool = True
    has_key: bool = False
    declared_query: Any = None
    also: Mapping[int, MediaType] = field(default_factory=dict)
    streamed: MediaType | None = None
    client: str | None = None
    is_filtered: bool = False

    @property
    def answer(self) -> type[T]:
        """The type of what is answered, whose module is loaded now."""
        kind: type[T] = resolved(self.declared)
        return kind

    @property
    def query(self) -> Any:
        """The type of the query, whose module is loaded now; None: there is none."""
        return resolved(self.declared_query)

    @property
    def parts(self) -> list[str]:
        """The names of the path's parts."""
        return [name for name, _ in _PART.findall(self.path)]

    @property
    def shown_path(self) -> str:
        """The path as OpenAPI writes it."""
        return _PART.sub(r"{\1}", self.path)

    @property
    def is_v2(self) -> bool:
        """Whether the Open Inference Protocol says how it answers."""
        return self.path.startswith("/v2")

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """What its paths match."""
        texts = _PART.split(self.path)
        pairs = zip(texts[::3], [*texts[2::3], None], strict=True)
        ends = iter(texts[1::3])
        parts = [
            re.escape(text) + ("" if next(ends, None) is None else ".*" if rest else "[^/]+") for text, rest in pairs
        ]
        return re.compile("".join(parts), re.DOTALL)

    def url(self, parts: Mapping[str, str], query: Mapping[str, object] | None = None) -> str:
        """The path and query of a call."""
        path = _PART.sub(lambda found: _quoted(parts[found[1]]), self.path)
        given = {name: value for name, value in (query or {}).items() if value is not None}
        return path + ("?" + "&".join(f"{name}={quote(str(value))}" for name, value in given.items()) if given else "")


def _quoted(part: str) -> str:
    """A part of a path as it is sent. One of dots alone would name another path."""
    quoted = quote(part, safe="", errors="surrogatepass")
    return quoted.replace(".", "%2E") if part in (".", "..") else quoted
