"""JSON with a row a line, or one list of rows."""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Iterator
from typing import Any, TypeAlias

import orjson

from driftline.errors import InvalidInput
from driftline.tables.blocks import SHOWN_ROW, RefusedRow, RowBlock, TableFormat
from driftline.tables.doubt import Doubt
from driftline.tables.encodings import TextEncoding, Utf8Stream
from driftline.tables.source import ByteSource

NumberedRow: TypeAlias = tuple[int, dict[str, Any] | RefusedRow]


class JsonFile(TableFormat):
    """An object a line, whose fields may come and go; a line that is none is refused. A list of objects is held in memory.

    ``columns`` grows as the file is read: a field may come up late, and is missing in the rows before.
    """

    is_typed = True

    def __init__(self, source: ByteSource, encoding: TextEncoding, block_rows: int) -> None:
        self.name = source.name
        self._block_rows = block_rows
        self.encoding = encoding.codec
        self._text = io.BufferedReader(Utf8Stream(source.stream, encoding), 1 << 20)
        self._rows = self._numbered()
        first = list(itertools.islice(self._rows, self._block_rows))
        self._rows = itertools.chain(first, self._rows)
        names = dict.fromkeys(name for _, row in first if isinstance(row, dict) for name in row)
        if not names:
            reason = f": {first[0][1]}" if first else ""
            raise InvalidInput(f"{self.name} has no row of named values{reason}", value=self.name)
        doubts = [] if encoding.is_sure else [Doubt(f"the text is not UTF-8 and is read as {encoding.codec}")]
        super().__init__(list(names), doubts)

    def blocks(self) -> Iterator[RowBlock]:
        while part := list(itertools.islice(self._rows, self._block_rows)):
            good = [(number, row) for number, row in part if isinstance(row, dict)]
            known = set(self.columns)
            late = dict.fromkeys(name for _, row in good for name in row if name not in known)
            self.columns.extend(late)
            columns = {name: [row.get(name) for _, row in good] for name in self.columns}
            refused = [row for _, row in part if isinstance(row, RefusedRow)]
            yield RowBlock([number for number, _ in good], columns, refused)

    def _numbered(self) -> Iterator[NumberedRow]:
        number = 0
        while line := self._text.readline():
            line = line.strip()
            if number == 0 and line.startswith(b"["):
                yield from self._of_list(line)
                return
            if line:
                number += 1
                yield number, _parsed(line, number)

    def _of_list(self, start: bytes) -> Iterator[NumberedRow]:
        try:
            rows = _loads(start + b"\n" + self._text.read())
        except ValueError as error:
            raise InvalidInput(f"{self.name} is not JSON: {error}", value=self.name) from None
        for number, row in enumerate(rows, start=1):
            yield number, row if isinstance(row, dict) else _no_object(number, str(row))


def _parsed(line: bytes, number: int) -> dict[str, Any] | RefusedRow:
    try:
        row = _loads(line)
    except ValueError as error:
        text = line[:SHOWN_ROW].decode(errors="replace")
        return RefusedRow(number, None, text, f"this is not JSON: {str(error).splitlines()[0]}")
    return row if isinstance(row, dict) else _no_object(number, line.decode())


def _no_object(number: int, text: str) -> RefusedRow:
    return RefusedRow(number, None, text[:SHOWN_ROW], "a row is an object of named values")


def _loads(text: bytes) -> Any:
    """JSON, also with the ``NaN`` and ``Infinity`` that Python writes."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return json.loads(text)
