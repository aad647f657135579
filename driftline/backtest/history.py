"""A file of the past as a stream that can be played."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from driftline.backtest.arrivals import Arrivals, at_times
from driftline.backtest.stream import Stream
from driftline.errors import InvalidInput
from driftline.ingest.rows import RowReader, as_float32
from driftline.records import Label
from driftline.rows.number_types import as_type, is_whole
from driftline.rows.rows import Rows
from driftline.spec import SINGLE_INPUT, ModelSpec, TensorSpec, parse
from driftline.spec.parts.fields import TimeField
from driftline.spec.row_layout import NUMBERS
from driftline.tables.blocks import RefusedRow
from driftline.tables.doubt import Doubt
from driftline.tables.numbers import DecimalMark
from driftline.tables.reading import ReadingOptions, TableFile, open_table
from driftline.tables.rows import TableRow, rows_for
from driftline.tables.target_columns import TargetColumns, names_of

CODED_AT_ONCE = 4096
KEPT_REFUSALS = 100


@dataclass(frozen=True)
class HistoryOptions:
    """How a file is played.

    Args:
        drop: columns that are left out.
        decimal: the mark of decimals, of all columns or by column; None: as it seems.
        time: the column that says when a row came; rows are played in its order. None: the order of the file, or, with
            ``label_time``, the only field of times.
        label_time: the column that says when a row's label was known.
        limit: the first rows of the file only.
    """

    drop: Collection[str] = ()
    decimal: DecimalMark | Mapping[str, DecimalMark] | None = None
    time: str | None = None
    label_time: str | None = None
    limit: int | None = None
    reading: ReadingOptions | None = None


@dataclass(frozen=True)
class History:
    """A stream, what was in doubt when it was read, and the first rows that could not be read."""

    stream: Stream
    doubts: list[Doubt]
    refused: list[RefusedRow]


@dataclass
class _ReadRows:
    """What the rows of a file hold, in its order."""

    parts: list[Rows] = field(default_factory=list)
    labels: list[Label | None] = field(default_factory=list)
    known_at: list[float | None] = field(default_factory=list)
    refused: list[RefusedRow] = field(default_factory=list)
    skipped: int = 0


def read_history(
    path: Path | str, target: TargetColumns, spec: ModelSpec, options: HistoryOptions | None = None
) -> History:
    """The rows of a file as a model of ``spec`` would have got them, with the column ``target`` as the label; of several
    outputs with a column for each.

    A spec of a single tensor takes all other columns, in their order, as its numbers; a row in which one is missing cannot be
    read. What says when a label was known is no field of its row.

    Raises:
        InvalidInput: the file cannot be read, a column that is named is not there, or no row has a label.
    """
    options = options or HistoryOptions()
    _check_roles(target, options)
    with open_table(path, options.reading) as table:
        for column in options.drop:
            table.check(column, "drop")
        for option, name in (("time", options.time), ("label_time", options.label_time)):
            if name is not None:
                table.check(name, option)
        reads, takes = _specs(spec, table, target, options)
        time = _time_field(takes, options)
        rows = rows_for(reads, table, target=target, decimal=options.decimal, label_time=options.label_time)
        read = _read(rows, takes, options.limit)
        doubts = rows.doubts
    if not read.labels:
        first = f": {read.refused[0]}" if read.refused else ""
        raise InvalidInput(f"{table.name} has no row that can be played{first}", value=table.name)
    if all(label is None for label in read.labels):
        names = ", ".join(map(repr, names_of(target)))
        raise InvalidInput(f"the target {names} is missing in every row", field="target", value=target)
    inputs, labels, arrivals = _in_time(Rows.joined(read.parts), read, takes, time, options.label_time)
    if arrivals is not None:
        come = set(arrivals.rows)
        labels = [label if row in come else None for row, label in enumerate(labels)]
    features = list(takes.fields.read) if takes.fields is not None else list(reads.fields.read if reads.fields else ())
    return History(
        Stream(takes, inputs, labels, features, skipped=read.skipped, arrivals=arrivals), doubts, read.refused
    )


def _check_roles(target: TargetColumns, options: HistoryOptions) -> None:
    named: dict[str, list[str | None]] = {
        "drop": [*options.drop],
        "time": [options.time],
        "label_time": [options.label_time],
    }
    for option, columns in named.items():
        for name in names_of(target):
            if name in columns:
                raise InvalidInput(f"{name!r} is the target", field=option, value=name)
    if options.time is not None and options.time == options.label_time:
        message = f"{options.time!r} says when a row came, or when its label was known, not both"
        raise InvalidInput(message, field="label_time", value=options.time)
    for option in ("time", "label_time"):
        column = named[option][0]
        if column is not None and column in options.drop:
            raise InvalidInput(f"{column!r} is left out, and cannot be a time", field=option, value=column)


def _specs(
    spec: ModelSpec, table: TableFile, target: TargetColumns, options: HistoryOptions
) -> tuple[ModelSpec, ModelSpec]:
    """How the file is read, and the spec that is played: what is left out stands in neither, the label's time in the first."""
    if spec.fields is None:
        columns = _tensor_columns(spec, table, {*names_of(target), options.label_time, *options.drop})
        # A network of the user's own takes the tensor, not fields: it is no part of how the file is read.
        label = spec.model_dump(include={"task", "classes", "outputs", "intervals"}, exclude_none=True)
        fields = {"fields": dict.fromkeys(columns, "number")}
        return parse(ModelSpec, {"name": spec.name, **label, "inputs": fields}), spec
    reads = _without(spec, options.drop)
    return reads, reads if options.label_time is None else _without(reads, [options.label_time])


def _without(spec: ModelSpec, columns: Collection[str]) -> ModelSpec:
    assert spec.fields is not None
    fields = spec.fields.fields
    left_out = {name: each for name, each in fields.items() if not {name, *each.aliases}.isdisjoint(columns)}
    if not left_out:
        return spec
    if not any(each.is_read and not each.dropped for name, each in fields.items() if name not in left_out):
        message = f"without {', '.join(map(repr, columns))} there is no field to learn from"
        raise InvalidInput(message, field="drop", value=list(columns))
    inputs = spec.fields.model_dump(mode="json")
    inputs["fields"] |= {name: {"type": "ignore", "aliases": each.aliases} for name, each in left_out.items()}
    return parse(ModelSpec, {**spec.model_dump(mode="json"), "inputs": inputs})


def _tensor_columns(spec: ModelSpec, table: TableFile, others: set[str | None]) -> list[str]:
    if not isinstance(spec.inputs, TensorSpec):
        message = f"{spec.name} takes tensors by name; a table is read as fields, or as one tensor"
        raise InvalidInput(message, field="spec", value=list(spec.tensors))
    columns = [column for column in table.columns if column not in others]
    size = spec.inputs.size
    if len(columns) != size:
        message = (
            f"{table.name} has {len(columns)} columns besides the target, and the input of {spec.name} {size} numbers"
        )
        raise InvalidInput(message, field="spec", value=len(columns))
    return columns


def _time_field(spec: ModelSpec, options: HistoryOptions) -> str | None:
    """The field that says when a row came, where that matters."""
    if options.time is None and options.label_time is None:
        return None
    fields = {} if spec.fields is None else spec.fields.read
    times = [name for name, each in fields.items() if isinstance(each, TimeField) and not each.dropped]
    if options.time is None:
        if len(times) == 1:
            return times[0]
        which = f"there are {', '.join(times)}" if times else "no column is one of times"
        message = f"a label time needs the time of the row, and {which}: name its column with --time"
        raise InvalidInput(message, field="time", value=times)
    for name in times:
        if options.time in (name, *fields[name].aliases):
            return name
    message = f"{options.time!r} is no field of times; they are {', '.join(times) or 'none'}"
    raise InvalidInput(message, field="time", value=options.time)


def _read(rows: Iterable[TableRow | RefusedRow], spec: ModelSpec, limit: int | None) -> _ReadRows:
    found, waiting = _ReadRows(), list[TableRow]()
    code = _coder(spec)
    for row in islice(rows, limit):
        if isinstance(row, TableRow) and spec.fields is None:
            row = _without_gaps(row)
        if isinstance(row, RefusedRow):
            found.skipped += 1
            found.refused += [row][: KEPT_REFUSALS - len(found.refused)]
            continue
        waiting.append(row)
        found.labels.append(row.label)
        found.known_at.append(row.time)
        if len(waiting) == CODED_AT_ONCE:
            found.parts.append(code([each.inputs for each in waiting]))
            waiting = []
    if waiting:
        found.parts.append(code([each.inputs for each in waiting]))
    return found


def _without_gaps(row: TableRow) -> TableRow | RefusedRow:
    for name, value in row.inputs.items():
        if value is None:
            return RefusedRow(row.number, name, None, "it is missing, and a tensor has no place for that")
    return row


def _coder(spec: ModelSpec) -> Any:
    """What makes rows of objects the model's own."""
    reader = RowReader(spec)
    return reader.batch if spec.fields is not None else lambda rows: _as_tensor(spec, rows)


def _as_tensor(spec: ModelSpec, rows: Sequence[Mapping[str, Any]]) -> Rows:
    tensor = spec.tensors[SINGLE_INPUT]
    wide = np.array([list(row.values()) for row in rows], np.float64)
    shape = (len(rows), *tensor.shape)
    if tensor.dtype == "float32":
        return Rows({SINGLE_INPUT: as_float32(wide, SINGLE_INPUT).reshape(shape)})
    if not is_whole(tensor.dtype):
        return Rows({SINGLE_INPUT: as_type(wide, tensor.dtype, SINGLE_INPUT).reshape(shape)})
    fractions = np.argwhere(wide != np.rint(wide))
    if len(fractions):
        row, column = fractions[0]
        name = list(rows[row])[column]
        message = f"the input is of whole numbers, and {name!r} holds {wide[row, column]:g}"
        raise InvalidInput(message, field=name, value=float(wide[row, column]))
    return Rows({SINGLE_INPUT: as_type(wide.astype(np.int64), tensor.dtype, SINGLE_INPUT).reshape(shape)})


def _in_time(
    inputs: Rows, read: _ReadRows, spec: ModelSpec, time: str | None, label_time: str | None
) -> tuple[Rows, list[Label | None], Arrivals | None]:
    """Rows and labels in the order of the rows' times, where these are known; and when each label comes."""
    if time is None:
        return inputs, read.labels, None
    times = _filled(inputs.tensors[NUMBERS][:, spec.layout.quantities.index(time)])
    order = np.argsort(times, kind="stable")
    labels = [read.labels[row] for row in order.tolist()]
    assert inputs.records is not None
    records = [inputs.records[row] for row in order.tolist()]
    inputs = Rows({name: array[order] for name, array in inputs.tensors.items()}, records)
    if label_time is None:
        return inputs, labels, None
    known_at = np.array([np.nan if moment is None else moment for moment in read.known_at], np.float64)
    return inputs, labels, at_times(labels, times[order], known_at[order])


def _filled(times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Times where each missing one is that of the row before it, and the first ones are older than all."""
    newest = np.maximum.accumulate(np.where(np.isnan(times), -1, np.arange(len(times))))
    return np.where(newest < 0, -np.inf, times[newest])
