"""CSV and its kin, as columns of texts: nothing is decided of a cell here."""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import IO, Any

import pyarrow as pa
from pyarrow import csv

from driftline.errors import InvalidInput
from driftline.support.formatting import count_text
from driftline.tables.blocks import SHOWN_ROW, RefusedRow, RowBlock, TableFormat
from driftline.tables.dialect import sniff
from driftline.tables.doubt import Doubt
from driftline.tables.encodings import TextEncoding, Utf8Stream
from driftline.tables.source import ByteSource

# The parser reads ahead in one thread and parses in another one, which `CsvFile` can wait for.
pa.set_io_thread_count(1)
pa.set_cpu_count(1)

ROW_BYTES = 128
HEAD_CHARACTERS = 1 << 17


class CsvFile(TableFormat):
    """A text with a row a line. A row with too few or too many cells is refused, and the others are read."""

    is_typed = False

    def __init__(
        self,
        source: ByteSource,
        stack: ExitStack,
        encoding: TextEncoding,
        delimiter: str | None,
        has_header: bool | None,
        block_rows: int,
    ) -> None:
        self.name = source.name
        self._block_bytes = block_rows * ROW_BYTES
        self.encoding = encoding.codec
        self._text = Utf8Stream(source.stream, encoding)
        reader: IO[bytes] = io.BufferedReader(self._text, 1 << 20)
        head = bytearray()
        while len(head) < HEAD_CHARACTERS and (part := reader.read(HEAD_CHARACTERS - len(head))):
            head += part
        is_whole = len(head) < HEAD_CHARACTERS
        text = head.decode(errors="ignore").removeprefix("\ufeff")
        marked = 3 if head.startswith(b"\xef\xbb\xbf") else 0
        try:
            dialect = sniff(text, is_whole, delimiter, has_header)
        except InvalidInput as error:
            raise InvalidInput(f"{self.name}: {error.message}", **error.details) from None
        self.delimiter, self.has_header = dialect.delimiter, dialect.has_header
        doubts = [] if encoding.is_sure else [Doubt(_guess(encoding.codec), option="--encoding")]
        super().__init__(dialect.names, doubts + dialect.doubts)
        start = marked + len(text[: dialect.data_at].encode())
        self._data = _Joined(bytes(head[start:]), reader)
        self._refused: deque[RefusedRow] = deque()
        self._reader: Any = None
        stack.callback(self._close)

    def blocks(self) -> Iterator[RowBlock]:
        if not self._data.peek():
            return
        number = 0
        self._reader = self._opened()
        while True:
            try:
                batch = self._reader.read_next_batch()
            except StopIteration:
                break
            except pa.ArrowInvalid as error:
                raise self._unreadable(error, number) from None
            columns = {name: batch.column(place).to_pylist() for place, name in enumerate(self.columns)}
            block = RowBlock([], columns)
            # The parser tells of each row that it skips, by its number, before the batch that it would stand in.
            while len(block) < batch.num_rows:
                number += 1
                if self._refused and self._refused[0].number == number:
                    block.refused.append(self._refused.popleft())
                else:
                    block.numbers.append(number)
            if len(block) or block.refused:
                yield block
        if self._refused:
            yield RowBlock([], {name: [] for name in self.columns}, list(self._refused))

    def _close(self) -> None:
        """Lets the parser come to an end: its threads would end the process where Python has ended before."""
        self._data.end()
        if self._reader is not None:
            with suppress(StopIteration, ValueError, OSError):
                while True:
                    self._reader.read_next_batch()
            self._reader = None
            # Each thread takes one thing after the other: having read something else, they have let go of all that is
            # Python's. What they let go of after that is none of it: the bytes are Arrow's own.
            with pa.BufferOutputStream() as nothing:
                nothing.write(b"0\n0\n")
            csv.open_csv(pa.BufferReader(nothing.getvalue())).read_next_batch()

    def late_doubts(self) -> list[Doubt]:
        if not self._text.strays:
            return []
        strays = count_text(self._text.strays, "byte")
        return [Doubt(f"the text is UTF-8 but for {strays}, read as Windows-1252", option="--encoding")]

    def _opened(self) -> Any:
        def refuse(row: Any) -> str:
            reason = f"{count_text(row.actual_columns, 'cell')} where there are {row.expected_columns} columns"
            self._refused.append(RefusedRow(row.number, None, row.text[:SHOWN_ROW], reason))
            return "skip"

        try:
            return csv.open_csv(
                pa.PythonFile(self._data, mode="r"),
                # In one thread rows have numbers.
                read_options=csv.ReadOptions(
                    use_threads=False, block_size=self._block_bytes, column_names=self._places()
                ),
                parse_options=csv.ParseOptions(
                    delimiter=self.delimiter, invalid_row_handler=refuse, newlines_in_values=True
                ),
                convert_options=csv.ConvertOptions(
                    column_types=dict.fromkeys(self._places(), pa.string()), strings_can_be_null=False
                ),
            )
        except pa.ArrowInvalid as error:
            raise self._unreadable(error, 0) from None

    def _places(self) -> list[str]:
        return [str(place) for place in range(len(self.columns))]

    def _unreadable(self, error: Exception, number: int) -> InvalidInput:
        first = str(error).splitlines()[0]
        if "straddling" in first:
            first = f"a row is longer than {self._block_bytes:,} bytes; is a quote not closed?"
        return InvalidInput(f"{self.name}, after row {number:,}: {first}", value=self.name)


def _guess(codec: str) -> str:
    return f"the text is not UTF-8 and is read as {codec}"


class _Joined(io.RawIOBase):
    """The rest of a head, then the rest of its stream."""

    def __init__(self, head: bytes, rest: IO[bytes]) -> None:
        self._head = head
        self._rest = rest
        self._is_over = False

    def readable(self) -> bool:
        return True

    def peek(self) -> bytes:
        """What comes next; empty at the end."""
        if not self._head:
            self._head = self._rest.read(1)
        return self._head

    def end(self) -> None:
        """Nothing more is read."""
        self._is_over = True

    def readinto(self, buffer: Any) -> int:
        if self._is_over:
            return 0
        part = self._head[: len(buffer)] or self._rest.read(len(buffer))
        self._head = self._head[len(buffer) :]
        buffer[: len(part)] = part
        return len(part)
