"""Records that a service answers page by page."""

from __future__ import annotations

import asyncio
from typing import Any, Literal
from urllib.parse import urlsplit

import httpx
import jmespath
import msgspec
from jmespath.exceptions import JMESPathError
from pydantic import Field, field_validator

from driftline.errors import InvalidInput, Unavailable
from driftline.sources.base import Reader, Source, SourceBatch, SourceRecord
from driftline.support import json_text
from driftline.support.lines import lines


class HttpPull(Source):
    """Asks ``GET url?after=…`` again and again, with the ``cursor`` of the newest record that was read."""

    type: Literal["http"] = "http"
    url: str = Field(pattern=r"^https?://", description="what is asked")
    headers: dict[str, str] | None = Field(None, description="what is sent along, such as a token; never shown")
    cursor: str = Field(min_length=1, description="the field of a record, or the JMESPath, that says where it stands")
    parameter: str = Field("after", min_length=1, description="the parameter that says after which record to go on")
    records: str | None = Field(None, min_length=1, description="JMESPath of the list of records in an answer of JSON")
    poll_seconds: float = Field(5.0, gt=0, le=3600, description="how often it asks while nothing comes")

    @field_validator("cursor", "records")
    @classmethod
    def _is_path(cls, text: str | None) -> str | None:
        try:
            return text if text is None else jmespath.compile(text) and text
        except JMESPathError as error:
            raise ValueError(f"no JMESPath: {error}") from None

    @property
    def identity(self) -> str:
        url = urlsplit(self.url)
        return f"http:{url.scheme}://{url.hostname}:{url.port or ''}{url.path}"

    @property
    def is_of_bytes(self) -> bool:
        return False

    async def open(self) -> Reader:
        return HttpReader(self)


class HttpReader(Reader):
    """Reads pages. A record that comes twice, as where a service counts from the given one on, is taken once."""

    reads_ahead = False

    def __init__(self, source: HttpPull) -> None:
        self.source = source
        self._client = httpx.AsyncClient(timeout=30.0, headers=source.headers or {}, follow_redirects=False)
        self._cursor = jmespath.compile(source.cursor)
        self._records = None if source.records is None else jmespath.compile(source.records)

    async def read(self, position: str, count: int) -> SourceBatch:
        after = msgspec.json.decode(position) if position else None
        url = httpx.URL(self.source.url)
        if after is not None:
            url = url.copy_merge_params({self.source.parameter: str(after)})
        try:
            answer = await self._client.get(url)
        except httpx.HTTPError as error:
            raise Unavailable(f"{self.source.identity} does not answer: {type(error).__name__}") from error
        if answer.status_code != 200:
            raise Unavailable(f"{self.source.identity} answers {answer.status_code}")
        found = [(self._place(value), value) for value in self._values(answer.content)]
        new = [(place, value) for place, value in found if place != after]
        if not new:
            await asyncio.sleep(self.source.poll_seconds)
            return SourceBatch([], position, lag=0)
        records = [SourceRecord(str(place), msgspec.json.encode(value), "json") for place, value in new]
        # As much as the service gives is one page: what comes after it, the next call says.
        return SourceBatch(records, msgspec.json.encode(new[-1][0]).decode(), lag=None)

    def _values(self, content: bytes) -> list[Any]:
        try:
            if self.source.format == "ndjson":
                return [json_text.values(line, "the line") for line in lines(content)]
            value = json_text.values(content, "the text")
        except InvalidInput as error:
            reason = error.message
            raise Unavailable(f"the answer of {self.source.identity} is not {self.source.format}: {reason}") from None
        found = value if self._records is None else self._records.search(value)
        if not isinstance(found, list):
            where = "the answer" if self.source.records is None else f"records: {self.source.records!r} in the answer"
            raise Unavailable(f"{where} is no list")
        return found

    def _place(self, value: Any) -> Any:
        place = self._cursor.search(value) if isinstance(value, dict) else None
        if not isinstance(place, int | float | str) or isinstance(place, bool):
            raise Unavailable(f"cursor: a record of the answer has no number or text at {self.source.cursor!r}")
        return place

    async def close(self) -> None:
        await self._client.aclose()
