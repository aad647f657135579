"""The rows of a file, answered by a model, and written as CSV or NDJSON."""

from __future__ import annotations

import csv
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import IO, TYPE_CHECKING, Any, Final

import orjson

from driftline.client.clients import Client
from driftline.client.requests import batches
from driftline.errors import InvalidInput, TooLarge
from driftline.files.refusals import Refusals
from driftline.files.sending import doubts_of
from driftline.spec import ModelSpec, parse
from driftline.tables.blocks import RefusedRow
from driftline.tables.numbers import DecimalMark
from driftline.tables.reading import ReadingOptions, open_table
from driftline.tables.rows import ReadCells, TableRow, TableRows, rows_for

if TYPE_CHECKING:
    from driftline.api.predictions import Prediction, Predictions

BATCH_ROWS: Final = 500


@dataclass(frozen=True)
class AnsweredRow:
    """A row's number, the cells of its columns if they are wanted, and its answer by ``version``."""

    number: int
    cells: Mapping[str, Any]
    version: int
    classes: Sequence[int | str]
    answer: Prediction


@dataclass(frozen=True)
class QuestionFile:
    """A file of rows to answer. ``with_inputs``: its cells are written beside the answers."""

    path: str
    reading: ReadingOptions | None = None
    decimal: DecimalMark | None = None
    version: int | None = None
    with_inputs: bool = False


@dataclass
class AnswerCount:
    """How many rows were answered, by which versions, and what was decided of the file."""

    rows: int
    versions: list[int]
    doubts: list[str]


class AnswerWriter(ABC):
    """Writes answers, as they come."""

    def __init__(self, file: IO[str]) -> None:
        self.file = file

    def start(self, spec: ModelSpec, columns: Sequence[str]) -> None:  # noqa: B027 - not every kind begins with something
        """Is told of the model, and of the columns whose cells come with each answer."""

    @abstractmethod
    def write(self, row: AnsweredRow) -> None:
        """Writes one answer."""


class JsonAnswers(AnswerWriter):
    """A JSON object a line."""

    def write(self, row: AnsweredRow) -> None:
        answer = {name: value for name, value in row.answer.items() if name != "probabilities"}
        line: dict[str, Any] = {"row": row.number, "version": row.version, **answer}
        if "probabilities" in row.answer:
            line["probabilities"] = {
                str(name): share for name, share in zip(row.classes, row.answer["probabilities"], strict=False)
            }
        if row.cells:
            line["inputs"] = {name: _plain(cell) for name, cell in row.cells.items()}
        self.file.write(orjson.dumps(line, default=str).decode() + "\n")


class CsvAnswers(AnswerWriter):
    """A line a row: its number, the prediction's id, the version, the answer, and the probability of each class of the spec;
    with ``"open"`` classes that of the answer alone. The ends of an interval have a column each, named by level. Cells of the
    file follow under their own names, or as ``input_…`` where an answer's column has that name.
    """

    def start(self, spec: ModelSpec, columns: Sequence[str]) -> None:
        self._writer = csv.writer(self.file, lineterminator="\n")
        self._columns = list(columns)
        self._classes = [str(name) for name in spec.known_classes()] if isinstance(spec.classes, list | tuple) else []
        self._has_classes = spec.kind.has_classes
        self._layout = spec.values
        self._names: list[str] = []

    def write(self, row: AnsweredRow) -> None:
        if not self._names:
            self._names = [name for name in row.answer if name not in ("id", "probabilities", "values", "interval")]
            self._writer.writerow(self._header())
        answer: Mapping[str, Any] = row.answer
        cells = [row.number, answer.get("id"), row.version, *(_text(answer.get(name)) for name in self._names)]
        if self._has_classes:
            shares = dict(zip(map(str, row.classes), answer.get("probabilities", ()), strict=False))
            named = self._classes or [str(answer.get("label"))]
            cells += [shares.get(name) for name in named]
        cells += self._values(answer)
        self._writer.writerow([*cells, *(_text(row.cells.get(name)) for name in self._columns)])

    def _values(self, answer: Mapping[str, Any]) -> list[Any]:
        """The numbers of several outputs, and the ends of intervals."""
        layout = self._layout
        nothing = [None] * len(layout.levels)
        if not layout.has_several:
            return answer.get("interval") or nothing
        values, interval = answer["values"], answer.get("interval", [])
        if layout.names is not None:
            values, interval = list(values.values()), list(interval.values()) if interval else []
        return [*values, *(end for ends in interval for end in ends or nothing)]

    def _value_names(self) -> list[str]:
        layout = self._layout
        if not layout.has_several:
            return [f"interval_{level}" for level in layout.levels]
        ends = [f"interval_{name}_{level}" for name in layout.labels for level in layout.levels]
        return [*(f"value_{name}" for name in layout.labels), *ends]

    def _header(self) -> list[str]:
        header = ["row", "id", "version", *self._names]
        if self._has_classes:
            header += [f"probability_{name}" for name in self._classes] or ["probability"]
        header += self._value_names()
        return header + [f"input_{name}" if name in header else name for name in self._columns]


def answer_file(
    client: Client, model: str, file: QuestionFile, refusals: Refusals, writer: AnswerWriter
) -> AnswerCount:
    """Sends the rows of a file some hundreds at a time, and writes each answer as it comes.

    Raises:
        InvalidInput: the file cannot be read, or does not fit the model.
    """
    spec = parse(ModelSpec, client.model(model)["spec"])
    with open_table(file.path, file.reading) as table:
        kept = list(table.columns) if file.with_inputs else []
        others: dict[str, ReadCells] = dict.fromkeys(kept, _as_they_are)
        rows = rows_for(spec, table, decimal=file.decimal, others=others)
        writer.start(spec, kept)
        count = AnswerCount(0, [], [])
        versions = dict[int, None]()
        for batch in batches(_readable(rows, refusals), BATCH_ROWS):
            for row in _answered(client, model, file.version, batch, refusals):
                writer.write(row)
                count.rows += 1
                versions[row.version] = None
        count.versions = list(versions)
        count.doubts = doubts_of(table, rows)
        return count


def _as_they_are(cells: Sequence[Any]) -> tuple[list[Any], dict[int, str]]:
    return list(cells), {}


def _readable(rows: TableRows, refusals: Refusals) -> Iterator[TableRow]:
    for row in rows:
        if isinstance(row, RefusedRow):
            refusals.add(row)
        else:
            yield row


def _answered(
    client: Client, model: str, version: int | None, batch: Sequence[TableRow], refusals: Refusals
) -> Iterator[AnsweredRow]:
    """The answers of some rows. The server answers all or none, so that one that it refuses is looked for by halves."""
    try:
        found = client.predict(model, [row.inputs for row in batch], version)
    except (InvalidInput, TooLarge) as error:
        if len(batch) == 1:
            field = str(error.details.get("field", "")).removeprefix("inputs[0].")
            refusals.add(RefusedRow(batch[0].number, field or None, None, error.message.removeprefix("inputs[0].")))
            return
        half = len(batch) // 2
        for part in (batch[:half], batch[half:]):
            yield from _answered(client, model, version, part, refusals)
        return
    yield from _joined(batch, found)


def _joined(batch: Iterable[TableRow], found: Predictions) -> Iterator[AnsweredRow]:
    classes = found.get("classes", [])
    for row, answer in zip(batch, found["predictions"], strict=True):
        yield AnsweredRow(row.number, row.others, found["version"], classes, answer)


def _text(value: Any) -> Any:
    """A value as CSV has it: what has parts is written as JSON."""
    value = _plain(value)
    return orjson.dumps(value, default=str).decode() if isinstance(value, list | dict) else value


def _plain(cell: Any) -> Any:
    """A cell as JSON has it."""
    if isinstance(cell, datetime | date | time):
        return cell.isoformat()
    return cell.decode(errors="replace") if isinstance(cell, bytes) else cell
