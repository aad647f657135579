"""What a source is: its configuration, and the reader that takes records from a position on.

A source is a log like a model's own: its records have places, and what has been read is a position, which moves in the same
script that appends the records. So a reader keeps nothing that must survive it, and acknowledges nothing by itself.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, TypeAlias

import msgspec
from pydantic import Field, PrivateAttr, model_validator

from driftline.errors import ConfigurationError
from driftline.sinks.registry import SINKS
from driftline.sources.formats import BY_SCHEMA, encode_row
from driftline.sources.mapping import RecordMapping
from driftline.spec import NAME_PATTERN
from driftline.spec.registry import Part
from driftline.store.sources import RecordFormat

if TYPE_CHECKING:
    from driftline.sinks.base import Sink

    SinkField: TypeAlias = Sink
else:
    SinkField = SINKS.field()

SourceMode: TypeAlias = Literal["labels", "infer"]


class SourceRecord(msgspec.Struct, frozen=True, gc=False):
    """One record as it came: its place, by which nothing else in the source goes, and its bytes.

    ``values`` are those that the bytes hold, where its reader has them at hand.
    """

    place: str
    raw: bytes
    format: RecordFormat
    values: dict[str, Any] | None = None


def row_record(place: str, row: dict[str, Any]) -> SourceRecord:
    """The record of a row of typed values."""
    if all(type(value) in _AS_THEY_ARE for value in row.values()):
        try:
            return SourceRecord(place, msgspec.msgpack.encode(row), "msgpack", row)
        except OverflowError:
            pass  # A whole number of more than 64 bits.
    return SourceRecord(place, encode_row(row), "msgpack")


_AS_THEY_ARE = frozenset({int, float, str, bool, type(None)})
"""Values that stay what they are in MessagePack."""


@dataclass(frozen=True)
class SourceGap:
    """Records that nobody can read any more: those after ``start`` and before ``end``, as the source names its places."""

    start: str
    end: str
    reason: str

    def __str__(self) -> str:
        return f"{self.reason}: what stood between {self.start} and {self.end} was not read"


@dataclass(frozen=True)
class SourceBatch:
    """The records of one read, and the position after them. ``lag`` is how many are left, None where nobody knows.

    ``is_last``: there will never be more.
    """

    records: Sequence[SourceRecord]
    position: str
    lag: int | None = None
    gaps: Sequence[SourceGap] = ()
    is_last: bool = False


class Reader(ABC):
    """Reads one source. What it raises is told, and reading begins again from the last position that was stored."""

    reads_ahead: ClassVar[bool] = True
    """Whether the next batch may be read while the last one is not stored yet. Not where to ask for what comes after a record
    may tell the source to forget it."""

    @abstractmethod
    async def read(self, position: str, count: int) -> SourceBatch:
        """The records after a position, ``count`` at most; ``""`` is the position of a source that was never read.

        It waits about a second for the first, and then gives a batch without records, whose position may have moved.
        """

    async def taken(self, position: str) -> None:
        """Tells the source that all up to a position that :meth:`read` has given is stored for good, and no more than that: the
        batch after it may have been read. Only a queue that forgets has to be told."""
        return None

    async def close(self) -> None:
        """Ends the connection."""
        return None


class Source(Part):
    """A source of records for one model: of labels, or, where its ``mode`` is ``infer``, of rows that are answered.

    ``format`` says how a record is written, and ``mapping`` where in it the parts of a label stand; without one a record is an
    item of feedback itself. ``columns`` are those of a line of CSV that comes without a header.
    """

    type: str
    name: str = Field("", pattern=f"^$|{NAME_PATTERN}", description="what it goes by among the sources of its model")
    model: str = Field("", pattern=f"^$|{NAME_PATTERN}", description="the model that it is read for")
    format: Literal["json", "ndjson", "csv", "msgpack", "avro", "protobuf"] = Field(
        "json", description="how a record is written"
    )
    schema_registry: str | None = Field(
        None, pattern="^https?://", description="of Avro and Protobuf: the registry whose schemas the records name"
    )
    schema_file: str | None = Field(
        None, min_length=1, description="in its place, a file: a schema of Avro, or descriptors as `protoc` writes them"
    )
    message: str | None = Field(
        None, min_length=1, description="of Protobuf with a file: the full name of the message; none: the first"
    )
    columns: list[str] | None = Field(None, min_length=1, max_length=10_000, description="of CSV without a header")
    mapping: RecordMapping | None = Field(None, description="where the parts of a label stand in a record")
    mode: SourceMode = Field(
        "labels",
        description="what the records are: labels to be learned, or rows to be answered as `predict` answers them",
    )
    wait_seconds: float = Field(
        0.0,
        ge=0,
        le=30 * 24 * 3600,
        description="how long a label by a key waits for the prediction under it; 0: one that comes first is refused",
    )
    sink: SinkField | None = Field(None, description="of `infer`: where the predictions are written")
    max_rate: float | None = Field(None, gt=0, le=1e6, description="most records a second")
    _session: str | None = PrivateAttr(None)

    @model_validator(mode="after")
    def _fits_its_mode(self) -> Source:
        if self.sink is not None and self.mode != "infer":
            raise ValueError('a source with a "sink" has the "mode" infer')
        given = [name for name in ("schema_registry", "schema_file") if getattr(self, name) is not None]
        if self.format in BY_SCHEMA and len(given) != 1:
            raise ValueError(f'records of {self.format} need "schema_registry" or "schema_file"')
        if given and self.format not in BY_SCHEMA:
            raise ValueError(f'"{given[0]}" is of the formats {" and ".join(sorted(BY_SCHEMA))}')
        if self.format in BY_SCHEMA and not self.is_of_bytes:
            raise ValueError(f"what it reads is not written as {self.format}")
        if self.wait_seconds and self.mode != "labels":
            raise ValueError('"wait_seconds" is of labels: a row waits for nothing')
        return self

    @property
    def identity(self) -> str:
        """What is read, whoever reads it: broker and stream, without passwords. Its position is stored under this."""
        raise NotImplementedError

    @property
    def is_of_bytes(self) -> bool:
        """Whether its records are bytes, in any ``format``; others have one of their own."""
        return True

    @property
    def former_identity(self) -> str | None:
        """What a former release stored its position under."""
        return None

    @property
    def paths(self) -> Sequence[str]:
        """The files and folders of the machine that it reads."""
        return ()

    @property
    def session(self) -> str | None:
        """The name under which a broker that keeps what comes for its readers does so; None: it keeps nothing for this one."""
        return self._session

    def in_session(self, session: str) -> Self:
        """The same source, read under a name: each model has one of its own."""
        found = self.model_copy()
        found._session = session
        return found

    async def open(self) -> Reader:
        """Connects. :class:`ConfigurationError` where a package is missing that it needs."""
        raise NotImplementedError


def lacks(package: str, extra: str) -> ConfigurationError:
    """The error of a source whose client is not installed."""
    return ConfigurationError(
        f"{package} is not installed; it comes with: pip install 'driftline[{extra}]'", code="no_source_client"
    )
