"""Records of Avro and Protobuf, by the schemas that they are written by: of a file, or of a schema registry."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote, urlsplit

import httpx

from driftline.errors import InvalidInput, Unavailable, told_by
from driftline.sources.base import Source

MAGIC, HEAD_BYTES = 0, 5
"""A record whose schema is in a registry begins with a zero and the id of its schema, in four bytes."""
SECONDS = 30.0
"""How long a registry may take."""


@dataclass(frozen=True)
class SchemaText:
    """A schema as a registry or a file has it, and those that it refers to, each before those that refer to it, by name."""

    text: bytes
    references: Sequence[tuple[str, bytes]] = ()


class Codec(ABC):
    """How records of one format are read. What it makes of a schema, it takes again with each record."""

    query: ClassVar[str] = ""
    """What a registry is asked for beside the id."""
    errors: tuple[type[Exception], ...] = (
        ValueError,
        TypeError,
        KeyError,
        IndexError,
        EOFError,
        OverflowError,
        RecursionError,
    )
    """What it raises where a record does not fit its schema."""

    @abstractmethod
    def of_registry(self, schema: SchemaText) -> Any:
        """A schema of a registry; one of ``errors`` where it is none."""

    @abstractmethod
    def of_file(self, text: bytes, message: str | None) -> Any:
        """A schema of a file; one of ``errors`` where it is none."""

    @abstractmethod
    def values(self, schema: Any, raw: bytes) -> Any:
        """What a record holds, without the head; one of ``errors`` where it does not fit."""


class RecordSchemas:
    """The schemas of one source. What a record is written by is fetched before it is read, and kept."""

    def __init__(self, source: Source, codec: Codec) -> None:
        self.source = source
        self.codec = codec
        self._own: Any = None
        self._known: dict[int, Any] = {}
        self._unknown: dict[int, InvalidInput] = {}

    async def learn(self, records: Iterable[bytes]) -> None:
        """Fetches the schemas that some records name and that are not known yet.

        Raises:
            Unavailable: the registry, or the file, cannot be read now.
            InvalidInput: the file holds no schema.
        """
        if self.source.schema_registry is None:
            if self._own is None:
                self._own = await asyncio.to_thread(self._of_file)
            return
        wanted = {number for raw in records if (number := _number(raw)) is not None} - self._known.keys()
        self._unknown = {}
        if wanted:
            async with _Registry(self.source.schema_registry, self.codec.query) as registry:
                for number in sorted(wanted):
                    try:
                        self._known[number] = self.codec.of_registry(await registry.schema(number))
                    except InvalidInput as error:
                        self._unknown[number] = error
                    except self.codec.errors as error:
                        message = f"record: its schema {number} cannot be used: {told_by(error)}"
                        self._unknown[number] = InvalidInput(message, field="record")

    def _of_file(self) -> Any:
        path = str(self.source.schema_file)
        try:
            return self.codec.of_file(Path(path).read_bytes(), self.source.message)
        except OSError as error:
            raise Unavailable(f"the schema {path!r} cannot be read: {error.strerror}") from error
        except self.codec.errors as error:
            message = f"schema_file: {path} holds no schema of {self.source.format}: {told_by(error)}"
            raise InvalidInput(message, field="schema_file", value=path) from error

    def values(self, raw: bytes) -> dict[str, Any]:
        """What a record holds; :class:`InvalidInput` where it does not fit its schema, or has none."""
        schema, body = self._own, raw
        if self.source.schema_registry is not None:
            number = _number(raw)
            if number is None:
                what = "it does not begin as one whose schema is in a registry: a zero, and four bytes of its id"
                raise InvalidInput(f"record: {what}", code="malformed_record", field="record")
            if number not in self._known:
                raise self._unknown.get(number) or InvalidInput(
                    f"record: its schema {number} is not known", field="record"
                )
            schema, body = self._known[number], raw[HEAD_BYTES:]
        try:
            found = self.codec.values(schema, body)
        except self.codec.errors as error:
            message = f"record: it does not fit its schema of {self.source.format}: {told_by(error)}"
            raise InvalidInput(message, code="malformed_record", field="record") from error
        if not isinstance(found, dict):
            raise InvalidInput(f"record: an object is expected, not {type(found).__name__}", field="record")
        return found


class _Registry:
    """A schema registry that speaks Confluent's interface."""

    def __init__(self, url: str, query: str) -> None:
        self.url, self.query = url.rstrip("/"), query
        self._client = httpx.AsyncClient(timeout=SECONDS, follow_redirects=False)

    async def __aenter__(self) -> _Registry:
        return self

    async def __aexit__(self, *rest: object) -> None:
        await self._client.aclose()

    async def schema(self, number: int) -> SchemaText:
        """A schema by its id, with those that it refers to; :class:`InvalidInput` where there is none."""
        found = await self._ask(f"/schemas/ids/{number}", f"record: its schema {number}")
        references: dict[str, bytes] = {}
        await self._refer(found, references)
        return SchemaText(_text(found), [*references.items()])

    async def _refer(self, found: dict[str, Any], references: dict[str, bytes]) -> None:
        for each in found.get("references") or ():
            if each["name"] not in references:
                path = f"/subjects/{quote(each['subject'], safe='')}/versions/{each['version']}"
                other = await self._ask(path, f"record: what its schema refers to, {each['name']},")
                await self._refer(other, references)
                references[each["name"]] = _text(other)

    async def _ask(self, path: str, what: str) -> dict[str, Any]:
        shown = urlsplit(self.url).hostname
        try:
            answer = await self._client.get(f"{self.url}{path}{self.query}")
        except httpx.HTTPError as error:
            raise Unavailable(f"the schema registry {shown} does not answer: {type(error).__name__}") from error
        if answer.status_code == 404:
            raise InvalidInput(f"{what} is not in the registry", code="unknown_schema", field="record")
        if answer.status_code != 200:
            raise Unavailable(f"the schema registry {shown} answers {answer.status_code}")
        try:
            found = answer.json()
        except ValueError:
            found = None
        if not isinstance(found, dict) or not isinstance(found.get("schema"), str):
            raise Unavailable(f"the schema registry {shown} answers without a schema")
        return found


def _number(raw: bytes) -> int | None:
    return int.from_bytes(raw[1:HEAD_BYTES], "big") if len(raw) >= HEAD_BYTES and raw[0] == MAGIC else None


def _text(found: dict[str, Any]) -> bytes:
    return str(found["schema"]).encode()
