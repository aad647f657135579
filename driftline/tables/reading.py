"""Opening a table: which kind of file it is, and its rows in blocks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from driftline.errors import InvalidInput
from driftline.tables.blocks import RowBlock, TableFormat
from driftline.tables.csv_file import CsvFile
from driftline.tables.doubt import Doubt
from driftline.tables.encodings import TextEncoding, detect
from driftline.tables.json_file import JsonFile
from driftline.tables.parquet_file import MAGIC, ParquetFile
from driftline.tables.source import STANDARD_INPUT, ByteSource, open_source, reading


@dataclass(frozen=True)
class ReadingOptions:
    """How a text is read; what is None is detected.

    ``encoding`` is a name of Python's, ``delimiter`` one character, ``has_header`` whether the first line names the columns.
    Some ``block_rows`` rows are in memory at once; a row of CSV may be as long as as many of 128 bytes.
    """

    encoding: str | None = None
    delimiter: str | None = None
    has_header: bool | None = None
    block_rows: int = 8192


class TableFile:
    """An open table. Its rows are read once; :attr:`head` may be looked at before."""

    def __init__(self, name: str, file: TableFormat) -> None:
        self.name = name
        self._file = file
        self._blocks = self._read()
        self._head: RowBlock | None = None
        self._is_read = False

    @property
    def columns(self) -> list[str]:
        """The names of the columns, in the order of the file. In NDJSON more may come up while it is read."""
        return self._file.columns

    @property
    def is_typed(self) -> bool:
        """Whether cells have types, as in Parquet and JSON; in CSV all are texts."""
        return self._file.is_typed

    @property
    def rows(self) -> int | None:
        """How many rows there are, where the file says so: Parquet does."""
        return self._file.rows

    @property
    def doubts(self) -> list[Doubt]:
        """What was decided of the file, as far as it was read."""
        return [*self._file.doubts, *self._file.late_doubts()]

    @property
    def options(self) -> ReadingOptions:
        """How it is read: the same again, without detecting anything."""
        return ReadingOptions(self._file.encoding, self._file.delimiter, self._file.has_header)

    @property
    def head(self) -> RowBlock:
        """The first rows, which :meth:`blocks` gives as well."""
        if self._head is None:
            empty: dict[str, list[object]] = {name: [] for name in self.columns}
            self._head = next(self._blocks, RowBlock([], empty))
        return self._head

    def blocks(self) -> Iterator[RowBlock]:
        """All rows, some thousands at a time; what cannot be read of the file is an :class:`InvalidInput`."""
        if self._is_read:
            raise RuntimeError("the rows of a table are read once; open it again")
        self._is_read = True
        yield self.head
        yield from self._blocks

    def check(self, column: str, option: str) -> None:
        """:class:`InvalidInput` where there is no such column."""
        if column not in self.columns:
            names = ", ".join(self.columns[:20]) + (", …" if len(self.columns) > 20 else "")
            message = f"{self.name} has no column {column!r}; it has {names}"
            if self._file.has_header is False:
                message += " (its first line is taken for data: --header takes it for names)"
            raise InvalidInput(message, field=option, value=column)

    def _read(self) -> Iterator[RowBlock]:
        with reading(self.name):
            yield from self._file.blocks()


def _encoding(source: ByteSource, given: str | None) -> TextEncoding:
    try:
        return detect(source.head, source.is_whole, given)
    except InvalidInput as error:
        raise InvalidInput(f"{source.name}: {error.message}", **error.details) from None


def estimated_rows(path: Path | str) -> int | None:
    """About how many rows a file has, by its lines; None for a pipe, and for a list of JSON, whose lines say nothing.

    Raises:
        InvalidInput: it cannot be read.
    """
    if str(path) == STANDARD_INPUT or not Path(path).is_file():
        return None
    with open_source(path) as source:
        if source.head.startswith(MAGIC):
            with open_table(path) as table:
                return table.rows
        if source.head.lstrip(b"\xef\xbb\xbf\xff\xfe\x00 \t\r\n").startswith(b"["):
            return None
        with reading(source.name):
            return sum(part.count(b"\n") for part in iter(lambda: source.stream.read(1 << 20), b""))


@contextmanager
def open_table(path: Path | str, options: ReadingOptions | None = None) -> Iterator[TableFile]:
    """Opens CSV and its kin, Parquet, NDJSON, or a list of JSON, also packed; ``-`` is standard input.

    What it is, its first bytes say, not its name.

    Raises:
        InvalidInput: it names the file, and what is wrong with it.
    """
    options = options or ReadingOptions()
    with open_source(path) as source, ExitStack() as stack:
        with reading(source.name):
            file = _opened(source, stack, options)
        yield TableFile(source.name, file)


def _opened(source: ByteSource, stack: ExitStack, options: ReadingOptions) -> TableFormat:
    if source.head.startswith(MAGIC):
        return ParquetFile(source, stack, options.block_rows)
    encoding = _encoding(source, options.encoding)
    start = source.head[:4096].decode(encoding.codec, errors="ignore").lstrip("\ufeff \t\r\n")
    if start.startswith("{") or start.startswith(("[{", "[\n", "[\r", "[ ", "[]")):
        return JsonFile(source, encoding, options.block_rows)
    return CsvFile(source, stack, encoding, options.delimiter, options.has_header, options.block_rows)
