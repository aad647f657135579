"""Parquet, whose columns have types."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pyarrow as pa
from pyarrow import parquet, types

from driftline.tables.blocks import RowBlock, TableFormat
from driftline.tables.dialect import unique_names
from driftline.tables.doubt import Doubt
from driftline.tables.source import ByteSource

MAGIC = b"PAR1"


class ParquetFile(TableFormat):
    """Columns as pyarrow gives them. What its end says of the file is read first: a pipe is kept in a temporary file."""

    is_typed = True

    def __init__(self, source: ByteSource, stack: ExitStack, block_rows: int) -> None:
        self._block_rows = block_rows
        spooled = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
        shutil.copyfileobj(source.stream, spooled, 1 << 20)
        spooled.seek(0)
        self._file = stack.enter_context(parquet.ParquetFile(spooled))
        self.rows = self._file.metadata.num_rows
        doubts: list[Doubt] = []
        super().__init__(unique_names(self._file.schema_arrow.names, doubts), doubts)

    def blocks(self) -> Iterator[RowBlock]:
        number = 0
        for batch in self._file.iter_batches(batch_size=self._block_rows):
            columns = {name: _cells(batch.column(place)) for place, name in enumerate(self.columns)}
            yield RowBlock(list(range(number + 1, number + batch.num_rows + 1)), columns)
            number += batch.num_rows


def _cells(column: Any) -> list[Any]:
    kind = column.type
    if types.is_dictionary(kind):
        column = column.dictionary_decode()
        kind = column.type
    if types.is_timestamp(kind) and kind.unit == "ns":
        # Python's moments have microseconds.
        column = column.cast(pa.timestamp("us", kind.tz), safe=False)
    elif types.is_duration(kind) and kind.unit == "ns":
        column = column.cast(pa.duration("us"), safe=False)
    elif types.is_time64(kind) and kind.unit == "ns":
        column = column.cast(pa.time64("us"), safe=False)
    cells: list[Any] = column.to_pylist()
    return cells
