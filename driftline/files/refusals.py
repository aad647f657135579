"""Rows that were not taken, with their reasons, in a file of their own."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final

from driftline.errors import InvalidInput
from driftline.tables.blocks import RefusedRow
from driftline.tables.source import STANDARD_INPUT

HEADER: Final = ("row", "field", "value", "reason")
SHOWN: Final = 3


class Refusals:
    """A CSV file with a line for each row that was refused; it is made with the first. Use it as a context manager.

    ``count`` says how many there are, ``first`` are the first few.

    Raises:
        InvalidInput: no file can be written at ``path``.
    """

    def __init__(self, path: Path) -> None:
        folder = path.parent
        if path.is_dir() or not folder.is_dir() or not os.access(path if path.exists() else folder, os.W_OK):
            message = f"{path}, for rows that are refused, cannot be written; name another file with --refused"
            raise InvalidInput(message, field="refused", value=str(path))
        self.path = path
        self.count = 0
        self.first: list[RefusedRow] = []
        self._file: IO[str] | None = None
        self._writer: Any = None

    def __enter__(self) -> Refusals:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def add(self, row: RefusedRow) -> None:
        """Writes one down."""
        if self._file is None:
            self._file = self.path.open("w", newline="", encoding="utf-8")
            self._writer = csv.writer(self._file, lineterminator="\n")
            self._writer.writerow(HEADER)
        value = "" if row.value is None else row.value
        self._writer.writerow((row.number, row.field or "", value, row.reason))
        self.count += 1
        if len(self.first) < SHOWN:
            self.first.append(row)


def usual_path(file: str) -> Path:
    """Where the refused rows of a file go, unless it is said otherwise.

    >>> usual_path("data/history.csv"), usual_path("-")
    (PosixPath('data/history.csv.refused.csv'), PosixPath('refused.csv'))
    """
    return Path("refused.csv") if file == STANDARD_INPUT else Path(f"{file}.refused.csv")
