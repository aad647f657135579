"""The rows of a table as a model takes them: inputs, label and time, or why not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from driftline.errors import InvalidInput
from driftline.records import Label
from driftline.spec.model import ModelSpec
from driftline.spec.parts.fields import FieldsSpec, IgnoredField, NumberField, RowField, TimeField
from driftline.tables.blocks import RefusedRow, RowBlock
from driftline.tables.cells import Cell
from driftline.tables.doubt import Doubt
from driftline.tables.fields import CellReader, SecondsReader, reader_of
from driftline.tables.labels import LabelReader, label_reader
from driftline.tables.moments import formats_of, is_iso
from driftline.tables.numbers import DecimalMark, decide_decimals, evidence
from driftline.tables.reading import TableFile
from driftline.tables.target_columns import TargetColumns, by_output, joined, names_of


@dataclass(frozen=True)
class TableRow:
    """One row. ``inputs`` are as a request sends them. What is missing is None.

    ``time`` is when the label was known, ``came`` when the row came, both in seconds since 1970. ``others`` are the values of
    columns that are read besides, by their names.
    """

    number: int
    inputs: dict[str, Any]
    label: Label | None = None
    time: float | None = None
    came: float | None = None
    others: dict[str, Any] = field(default_factory=dict)


ReadCells: TypeAlias = Callable[[Sequence[Cell]], tuple[list[Any], dict[int, str]]]
"""The values of cells, and by its place why one is none."""


@dataclass(frozen=True)
class _Column:
    """What reads one column, and under which name a refusal tells of it."""

    column: str
    field: str
    read_many: ReadCells


class TableRows:
    """The rows of a table for one spec, in order: iterate over it once.

    ``doubts`` say what was decided of its columns before the first row.
    """

    def __init__(
        self,
        spec: ModelSpec,
        table: TableFile,
        target: TargetColumns | None,
        decimal: DecimalMark | Mapping[str, DecimalMark] | None,
        label_time: str | None,
        time: str | None,
        others: Mapping[str, ReadCells],
        has_inputs: bool,
    ) -> None:
        if spec.fields is None and has_inputs:
            message = f"{spec.name} takes tensors, and a table has rows of fields"
            raise InvalidInput(message, field="inputs", value=spec.name)
        targets = names_of(target)
        for column, option in (*((name, "target") for name in targets), (label_time, "label_time"), (time, "time")):
            if column is not None:
                table.check(column, option)
        self.table = table
        self.doubts: list[Doubt] = []
        self._decimals = _Decimals(table, decimal, self.doubts)
        self._inputs: list[_Column] = []
        if spec.fields is not None and has_inputs:
            self._inputs = self._input_columns(spec.fields, {*targets, label_time, time, *others})
        self._labels = [
            _Column(column, part, self._label_reader(spec, column).many)
            for part, column in by_output(spec, target).items()
        ]
        self._has_parts = spec.values.has_several
        self._time, self._came = (
            None if column is None else _Column(column, column, self._moments(spec, column).many)
            for column in (label_time, time)
        )
        self._others = [_Column(column, column, read_many) for column, read_many in others.items()]

    def __iter__(self) -> Iterator[TableRow | RefusedRow]:
        for block in self.table.blocks():
            yield from _in_order(block, self._of_block(block))

    def _input_columns(self, fields: FieldsSpec, others: set[str | None]) -> list[_Column]:
        named = {alias: name for name, each in fields.fields.items() for alias in (name, *each.aliases)}
        found: dict[str, _Column] = {}
        unknown = []
        for column in self.table.columns:
            name = named.get(column)
            if name is None:
                if column not in others:
                    unknown.append(column)
                continue
            if name in found:
                message = f"the columns {found[name].column!r} and {column!r} are both the field {name!r}"
                raise InvalidInput(message, field=column, value=name)
            each = fields.fields[name]
            if not isinstance(each, IgnoredField) and not each.dropped:
                found[name] = _Column(column, name, self._reader(each, column).many)
        if unknown and fields.unknown == "refuse":
            raise InvalidInput(f"the model has no field {unknown[0]!r}", field=unknown[0], value=unknown[0])
        if unknown:
            self.doubts.append(Doubt(f"the model has no field for {', '.join(map(repr, unknown))}, left out"))
        read = [name for name, each in fields.read.items() if not each.dropped]
        absent = [name for name in read if name not in found]
        if len(absent) == len(read):
            message = f"{self.table.name} has a column for none of the model's fields, which are {', '.join(read[:20])}"
            raise InvalidInput(message, field="inputs", value=self.table.columns[:20])
        # A column of NDJSON may come up late.
        late = {name: self._reader(fields.fields[name], name) for name in absent} if self.table.is_typed else {}
        if absent:
            self.doubts.append(Doubt(f"there is no column for {', '.join(map(repr, absent))}, missing in every row"))
        return [*found.values(), *(_Column(name, name, read.many) for name, read in late.items())]

    def _reader(self, each: RowField, column: str) -> CellReader[Any]:
        return reader_of(each, self._decimals.of(column, is_read=isinstance(each, NumberField)))

    def _label_reader(self, spec: ModelSpec, column: str) -> LabelReader:
        decimal = self._decimals.of(column, is_read=not spec.kind.has_classes)
        return label_reader(spec, decimal, self.table.is_typed)

    def _moments(self, spec: ModelSpec, column: str) -> SecondsReader:
        """What reads the moments of a column: as the field of its name does, else as its first cells are written."""
        each = None if spec.fields is None else spec.fields.fields.get(column)
        if not isinstance(each, TimeField):
            texts = [cell.strip() for cell in self.table.head.columns.get(column, []) if isinstance(cell, str)]
            texts = [text for text in dict.fromkeys(texts) if text and not is_iso(text)][:200]
            layouts = formats_of(texts[0]) if texts else []
            for text in texts:
                layouts = formats_of(text, layouts) or layouts
            each = TimeField(format=layouts[0] if layouts else None)
            if len(layouts) > 1:
                self.doubts.append(Doubt(f"times are read as {layouts[0]}, and might be {layouts[1]}", column))
        return SecondsReader(each)

    def _of_block(self, block: RowBlock) -> Iterator[TableRow | RefusedRow]:
        refused: dict[int, RefusedRow] = {}
        columns = [self._values(each, block, refused) for each in self._inputs if each.column in block.columns]
        names = [each.field for each in self._inputs if each.column in block.columns]
        labels = self._label_values(block, refused)
        times, came = (self._values(each, block, refused) for each in (self._time, self._came))
        others = [self._values(each, block, refused) for each in self._others]
        titles = [each.field for each in self._others]
        rows, besides = (zip(*each, strict=True) if each else (() for _ in block.numbers) for each in (columns, others))
        for number, row, label, time, come, rest in zip(block.numbers, rows, labels, times, came, besides, strict=True):
            wrong = refused.get(number)
            if wrong is not None:
                yield wrong
                continue
            inputs, named = dict(zip(names, row, strict=True)), dict(zip(titles, rest, strict=True))
            yield TableRow(number, inputs, label, time, come, named)

    def _label_values(self, block: RowBlock, refused: dict[int, RefusedRow]) -> list[Any]:
        parts = [self._values(each, block, refused) for each in self._labels]
        if not parts or not self._has_parts:
            return parts[0] if parts else [None] * len(block)
        labels, lacking = joined(parts)
        for place, part in lacking.items():
            number = block.numbers[place]
            reason = "it is missing, and a label has a number for each output"
            refused.setdefault(number, RefusedRow(number, self._labels[part].field, None, reason))
        return labels

    def _values(self, column: _Column | None, block: RowBlock, refused: dict[int, RefusedRow]) -> list[Any]:
        """The values of a column; of a row with a cell that cannot be read the first one is told."""
        if column is None:
            return [None] * len(block)
        cells = block.columns[column.column]
        values, reasons = column.read_many(cells)
        for place, reason in reasons.items():
            number = block.numbers[place]
            refused.setdefault(number, RefusedRow(number, column.field, cells[place], reason))
        return values


@dataclass
class _Decimals:
    """The mark of decimals of each column: the one given, else what the first rows say."""

    table: TableFile
    given: DecimalMark | Mapping[str, DecimalMark] | None
    doubts: list[Doubt]
    _found: dict[str, DecimalMark] = field(default_factory=dict)

    def of(self, column: str, is_read: bool) -> DecimalMark:
        """The mark of a column; a doubt about one that is not read as numbers is not told."""
        if isinstance(self.given, str):
            return self.given
        if self.given is not None:
            return self.given.get(column, ".")
        if self.table.is_typed and not is_read:
            return "."
        if not self._found:
            texts = {
                name: [cell for cell in cells if isinstance(cell, str)]
                for name, cells in self.table.head.columns.items()
            }
            self._evidence = {name: evidence(each) for name, each in texts.items()}
            self._found = decide_decimals(self._evidence)
        known = self._evidence.get(column)
        if is_read and known is not None and known.either and known.decides is None and "," in (known.example or ""):
            mark = "thousands" if self._found[column] == "." else "decimals"
            self.doubts.append(Doubt(f"the comma of `{known.example}` is read as that of {mark}", column, "--decimal"))
        return self._found.get(column, ".")


def _in_order(block: RowBlock, rows: Iterator[TableRow | RefusedRow]) -> Iterator[TableRow | RefusedRow]:
    """The rows of a block and those that were refused when it was read, by their numbers."""
    waiting = iter(block.refused)
    late = next(waiting, None)
    for row in rows:
        while late is not None and late.number < row.number:
            yield late
            late = next(waiting, None)
        yield row
    while late is not None:
        yield late
        late = next(waiting, None)


def rows_for(
    spec: ModelSpec,
    table: TableFile,
    *,
    target: TargetColumns | None = None,
    decimal: DecimalMark | Mapping[str, DecimalMark] | None = None,
    label_time: str | None = None,
    time: str | None = None,
    others: Mapping[str, ReadCells] | None = None,
    has_inputs: bool = True,
) -> TableRows:
    """The rows of ``table`` as ``spec`` takes them: each a :class:`TableRow`, or a :class:`RefusedRow` with its reason.

    Args:
        target: the column of the labels, if there is one, or those of several outputs. A missing label is None.
        decimal: the mark of decimals, of all columns or by column; by default what the first rows say.
        label_time: the column that says when the label was known.
        time: the column that says when the row came.
        others: columns that are read besides, and what reads their cells.
        has_inputs: whether there are columns of the model's fields.

    Raises:
        InvalidInput: the spec has no fields, a column that is named is not there, or no field has a column.
    """
    return TableRows(spec, table, target, decimal, label_time, time, others or {}, has_inputs)
