"""Files and watched folders: lines of CSV or NDJSON as they are added, and rows of Parquet; over rotation."""

from __future__ import annotations

import asyncio
import csv
import fnmatch
import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import msgspec
import pyarrow.parquet
from pydantic import Field

from driftline.sources.base import Reader, Source, SourceBatch, SourceGap, SourceRecord, row_record
from driftline.sources.formats import encode_fields

POLL_SECONDS, SETTLE_SECONDS = 1.0, 10.0
"""How often a folder is looked at, and for how long a file must be unchanged until its last line is one without an end."""
HEAD_BYTES, MAX_READ_BYTES = 1024, 4 * 2**20


class WatchedFiles(Source):
    """Reads a file, all files of a folder, or those that a pattern names, in the order of their names.

    ``follow``: it waits for lines and files that come later; otherwise it is over after what there is.
    """

    type: Literal["files"] = "files"
    path: str = Field(min_length=1, description="a file, a folder, or a pattern such as `/data/labels/*.csv`")
    file_format: Literal["auto", "csv", "ndjson", "parquet"] = Field(
        "auto", description="what the files are; `auto`: what the ends of their names say, else NDJSON"
    )
    delimiter: str = Field(",", min_length=1, max_length=1, description="what stands between the cells of CSV")
    follow: bool = Field(True, description="whether it waits for what comes later")

    @property
    def identity(self) -> str:
        return f"files:{os.path.abspath(self.path)}"

    @property
    def paths(self) -> list[str]:
        return [str(self.folder)]

    @property
    def folder(self) -> Path:
        """The folder that is looked at."""
        path = Path(self.path)
        return path if path.is_dir() else path.parent

    def names(self, name: str) -> bool:
        """Whether a file of the folder is meant."""
        path = Path(self.path)
        return not name.startswith(".") if path.is_dir() else fnmatch.fnmatchcase(name, path.name)

    def format_of(self, name: str) -> str:
        """What a file is."""
        if self.file_format != "auto":
            return self.file_format
        ends = {".csv": "csv", ".tsv": "csv", ".parquet": "parquet", ".pq": "parquet"}
        return next((kind for end, kind in ends.items() if end in Path(name).suffixes), "ndjson")

    @property
    def is_of_bytes(self) -> bool:
        return False

    async def open(self) -> Reader:
        return FilesReader(self)


class _FileState(msgspec.Struct, omit_defaults=True):
    """How far a file was read: bytes, or rows of Parquet. ``head`` is the digest of its first bytes up to there."""

    number: int
    name: str
    offset: int = 0
    size: int = 0
    head: str = ""
    columns: list[str] = []


class _Position(msgspec.Struct, omit_defaults=True):
    """The files that were seen, by what the system knows each by whatever its name; and how many there were ever."""

    files: dict[str, _FileState] = {}
    count: int = 0

    def text(self) -> str:
        return msgspec.json.encode(self, order="sorted").decode()


class FilesReader(Reader):
    """Reads what was added since. A renamed file is read on; one that is cut off or replaced is a gap, and begun again."""

    def __init__(self, source: WatchedFiles) -> None:
        self.source = source

    async def read(self, position: str, count: int) -> SourceBatch:
        batch = await asyncio.to_thread(self._read, position, count)
        if not batch.records and batch.position == position and not batch.is_last:
            await asyncio.sleep(POLL_SECONDS)
        return batch

    def _read(self, text: str, count: int) -> SourceBatch:
        known = msgspec.json.decode(text, type=_Position) if text else _Position()
        there = {_key(entry): entry for entry in os.scandir(self.source.folder) if entry.is_file()}
        gaps = [*self._lost(known, there)]
        records: list[SourceRecord] = []
        new = sorted(
            (key for key, entry in there.items() if key not in known.files and self.source.names(entry.name)),
            key=lambda key: there[key].name,
        )
        # What was begun is read to its end first, also under another name.
        for key in [*sorted(known.files, key=lambda each: known.files[each].number), *new]:
            entry, state = there[key], known.files.get(key)
            if state is None:
                known.count += 1
                state = known.files[key] = _FileState(known.count, entry.name)
            gaps += self._changed(known, state, entry)
            state.name = entry.name
            records += self._of_file(state, entry, count - len(records), gaps)
            if len(records) >= count:
                break
        is_last = not self.source.follow and not records
        lag = None if len(records) >= count else 0
        return SourceBatch(records, known.text(), lag=lag, gaps=gaps, is_last=is_last)

    def _lost(self, known: _Position, there: dict[str, os.DirEntry[str]]) -> Iterator[SourceGap]:
        for key in [key for key in known.files if key not in there]:
            state = known.files.pop(key)
            if state.size > state.offset:
                yield SourceGap(f"{state.name}@{state.offset}", "its end", f"the file {state.name} was removed")

    def _changed(self, known: _Position, state: _FileState, entry: os.DirEntry[str]) -> Iterator[SourceGap]:
        size = entry.stat().st_size
        is_rows = self.source.format_of(entry.name) == "parquet"
        is_other = state.head != _head(entry, state.size if is_rows else state.offset)
        if state.offset and (is_other or (size < state.offset and not is_rows)):
            yield SourceGap(f"{state.name}@{state.offset}", "its beginning", f"the file {state.name} was written anew")
            known.count += 1
            state.number, state.offset, state.columns = known.count, 0, []
        state.size = size

    def _of_file(
        self, state: _FileState, entry: os.DirEntry[str], count: int, gaps: list[SourceGap]
    ) -> list[SourceRecord]:
        if self.source.format_of(entry.name) == "parquet":
            return self._rows(state, entry, count, gaps)
        found = [*self._lines(state, entry, count)]
        state.head = _head(entry, state.offset)
        return found

    def _lines(self, state: _FileState, entry: os.DirEntry[str], count: int) -> Iterator[SourceRecord]:
        if entry.stat().st_size <= state.offset:
            return
        is_csv = self.source.format_of(entry.name) == "csv"
        is_settled = not self.source.follow or time.time() - entry.stat().st_mtime > SETTLE_SECONDS
        taken, begun = 0, state.offset
        with open(entry.path, "rb") as file:
            file.seek(begun)
            while taken < count and state.offset - begun < MAX_READ_BYTES:
                line = _whole_line(file, is_csv)
                if not line or not (line.endswith(b"\n") or is_settled):
                    return
                place, state.offset = f"{state.number}:{state.name}@{state.offset}", state.offset + len(line)
                if not line.strip():
                    continue
                if is_csv and self.source.columns is None and not state.columns:
                    state.columns = self._cells(line.removeprefix(b"\xef\xbb\xbf")) or []
                    continue
                taken += 1
                yield self._csv(place, line, state) if is_csv else SourceRecord(place, line.strip(), "json")

    def _csv(self, place: str, line: bytes, state: _FileState) -> SourceRecord:
        columns, cells = self.source.columns or state.columns, self._cells(line)
        if cells is None or len(cells) != len(columns):
            return SourceRecord(place, line.strip(), "csv")
        pairs = zip(columns, cells, strict=True)
        return SourceRecord(place, encode_fields({name.encode(): cell.encode() for name, cell in pairs}), "fields")

    def _cells(self, line: bytes) -> list[str] | None:
        try:
            return next(csv.reader([line.decode()], delimiter=self.source.delimiter, strict=True), [])
        except (UnicodeDecodeError, csv.Error):
            return None

    def _rows(
        self, state: _FileState, entry: os.DirEntry[str], count: int, gaps: list[SourceGap]
    ) -> list[SourceRecord]:
        state.head = _head(entry, state.size)
        found: list[SourceRecord] = []
        try:
            with pyarrow.parquet.ParquetFile(entry.path) as file:
                first = 0
                for group in range(file.num_row_groups):
                    rows = file.metadata.row_group(group).num_rows
                    if first + rows > state.offset and len(found) < count:
                        table = file.read_row_group(group).slice(state.offset - first, count - len(found))
                        for row in table.to_pylist():
                            place = f"{state.number}:{state.name}@{state.offset}"
                            found.append(row_record(place, row))
                            state.offset += 1
                    first += rows
        except (OSError, pyarrow.ArrowException) as error:
            # It may be written right now.
            if time.time() - entry.stat().st_mtime > SETTLE_SECONDS and not state.offset:
                gaps.append(SourceGap(f"{state.name}@0", "its end", f"the file {state.name} cannot be read: {error}"))
                state.offset = -1
        return found


def _key(entry: os.DirEntry[str]) -> str:
    about = entry.stat()
    return f"{about.st_dev:x}:{about.st_ino:x}"


def _head(entry: os.DirEntry[str], until: int) -> str:
    """The digest of what a file began with when so much of it had been read."""
    if until <= 0:
        return ""
    with open(entry.path, "rb") as file:
        return hashlib.sha256(file.read(min(HEAD_BYTES, until))).hexdigest()[:16]


def _whole_line(file: Any, is_csv: bool) -> bytes:
    """A line; of CSV with those after it that its quotes go on over."""
    line: bytes = file.readline()
    while is_csv and line.count(b'"') % 2 and len(line) < MAX_READ_BYTES:
        more = file.readline()
        if not more:
            break
        line += more
    return line
