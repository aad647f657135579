"""Rows of a table or a query, by a column that only rises."""

from __future__ import annotations

import asyncio
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec
from pydantic import Field, model_validator

from driftline.errors import ConfigurationError, InvalidInput, Unavailable
from driftline.sources.base import Reader, Source, SourceBatch, SourceGap, lacks, row_record


class Sql(Source):
    """Reads the rows of a ``table``, or of a ``query``, whose ``cursor`` is larger than that of the newest row that was read.

    The cursor is a column of which each new row has a larger value than all before, such as an identity, and which is never
    changed. Rows of transactions that commit out of order are passed over where a later one was read first.
    """

    type: Literal["sql"] = "sql"
    url: str = Field(
        min_length=1, description="as SQLAlchemy has it: `postgresql+psycopg://…`, `sqlite:////data/labels.db`"
    )
    table: str | None = Field(None, min_length=1, description="the table, with its schema where it needs one")
    query: str | None = Field(None, min_length=1, description="in place of a table, a query whose rows are read")
    cursor: str = Field(min_length=1, description="the column that only rises")
    poll_seconds: float = Field(1.0, gt=0, le=3600, description="how often it looks")

    @model_validator(mode="after")
    def _has_rows(self) -> Sql:
        if (self.table is None) == (self.query is None):
            raise ValueError('a source of rows has either "table" or "query"')
        return self

    @property
    def identity(self) -> str:
        url = urlsplit(self.url)
        place = f"{url.hostname or ''}:{url.port or ''}{url.path}"
        return f"sql:{url.scheme.partition('+')[0]}:{place}:{self.table or self.query}:{self.cursor}"

    @property
    def paths(self) -> list[str]:
        # sqlite:///relative, sqlite:////absolute
        return [urlsplit(self.url).path.removeprefix("/")] if self.url.startswith("sqlite") else []

    @property
    def is_of_bytes(self) -> bool:
        return False

    async def open(self) -> Reader:
        try:
            return await asyncio.to_thread(SqlReader, self)
        except ImportError as error:
            raise lacks(error.name or "sqlalchemy", "sql") from None


class SqlReader(Reader):
    """Asks for the next rows. Rows with the same cursor are taken together."""

    def __init__(self, source: Sql) -> None:
        import sqlalchemy

        self.sql = sqlalchemy
        self.source = source
        try:
            self.engine = sqlalchemy.create_engine(source.url, pool_size=1, max_overflow=0, pool_pre_ping=True)
        except sqlalchemy.exc.ArgumentError:
            raise ConfigurationError("url: SQLAlchemy cannot read it", code="source_url") from None
        if source.table is not None:
            schema, _, name = source.table.rpartition(".")
            self.rows: Any = sqlalchemy.table(name, schema=schema or None)
        else:
            self.rows = sqlalchemy.text(f"({source.query}) AS records")
        self.column: Any = sqlalchemy.column(source.cursor)
        self._told: str | None = None

    async def read(self, position: str, count: int) -> SourceBatch:
        try:
            batch = await asyncio.to_thread(self._read, position, count)
        except self.sql.exc.SQLAlchemyError as error:
            reason = str(getattr(error, "orig", None) or error).splitlines()[0]
            raise Unavailable(f"the rows cannot be read: {reason}") from error
        if not batch.records:
            await asyncio.sleep(self.source.poll_seconds)
        return batch

    def _read(self, position: str, count: int) -> SourceBatch:
        after = _value(position) if position else None
        with self.engine.connect() as connection:
            rows = self._page(connection, after, count + 1)
            is_full = len(rows) > count
            if is_full:
                rows = self._without_half_a_tie(connection, rows)
            gaps = [] if rows or after is None else self._gaps(connection, after)
        if not rows:
            return SourceBatch([], position, lag=0, gaps=gaps)
        return SourceBatch(
            [*self._records(rows)], _text(rows[-1][self.source.cursor]), lag=None if is_full else 0, gaps=gaps
        )

    def _page(self, connection: Any, after: Any, count: int) -> list[dict[str, Any]]:
        asked: Any = (
            self.sql.select(self.sql.literal_column("*")).select_from(self.rows).order_by(self.column).limit(count)
        )
        asked = asked.where(self.column.is_not(None) if after is None else self.column > after)
        rows = _rows(connection.execute(asked))
        if rows and self.source.cursor not in rows[0]:
            message = f"cursor: the rows have no column {self.source.cursor!r}; there are {', '.join(rows[0])}"
            raise InvalidInput(message, field="cursor", value=self.source.cursor)
        return rows

    def _without_half_a_tie(self, connection: Any, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Rows up to a change of the cursor; where there is none, all rows of the one that they have."""
        cursor = self.source.cursor
        whole = [row for row in rows if row[cursor] != rows[-1][cursor]]
        if whole:
            return whole
        asked: Any = self.sql.select(self.sql.literal_column("*")).select_from(self.rows)
        return _rows(connection.execute(asked.where(self.column == rows[-1][cursor])))

    def _gaps(self, connection: Any, after: Any) -> list[SourceGap]:
        """Whether the table ends before the position, as one that was emptied and counts anew: told once for each such end."""
        asked: Any = self.sql.select(self.sql.func.max(self.column)).select_from(self.rows)
        newest = connection.execute(asked).scalar()
        is_before = newest is not None and _comparable(newest) < _comparable(after)
        if not is_before or self._told == _text(newest):
            return []
        self._told = _text(newest)
        what = f"the rows end at {newest}, before what was read: they were removed, or count anew and are not read"
        return [SourceGap(str(after), "what comes after it", what)]

    def _records(self, rows: list[dict[str, Any]]) -> Any:
        before, tie = None, 0
        for row in rows:
            value = row[self.source.cursor]
            before, tie = value, tie + 1 if value == before else 0
            place = str(_plain(value)) + (f".{tie}" if tie else "")
            yield row_record(place, row)

    async def close(self) -> None:
        await asyncio.to_thread(self.engine.dispose)


def _rows(result: Any) -> list[dict[str, Any]]:
    """What was found, by the names of its columns: several times as fast as SQLAlchemy's own mappings."""
    names = list(result.keys())
    return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


def _plain(value: Any) -> Any:
    if isinstance(value, datetime | date):
        return value.isoformat(" ") if isinstance(value, datetime) else value.isoformat()
    return float(value) if isinstance(value, Decimal) else value if isinstance(value, int | float | str) else str(value)


def _text(value: Any) -> str:
    """A cursor as a position; a moment is told from a text, which a database compares otherwise."""
    moment = {"moment": value.isoformat()} if isinstance(value, datetime | date) else _plain(value)
    return msgspec.json.encode(moment).decode()


def _value(position: str) -> Any:
    value = msgspec.json.decode(position)
    return datetime.fromisoformat(value["moment"]) if isinstance(value, dict) else value


def _comparable(value: Any) -> Any:
    return value if isinstance(value, int | float) else str(_plain(value))
