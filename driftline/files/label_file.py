"""``feedback``: a file of labels, for predictions that were made or with rows of their own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from driftline.client.clients import Client
from driftline.client.feedback import EncodedItem
from driftline.errors import InvalidInput
from driftline.files.refusals import Refusals
from driftline.files.sending import Progress, RowSender, Watch, digest_of, doubts_of
from driftline.spec import ModelSpec, parse
from driftline.spec.parts.fields import NumberField, TimeField
from driftline.tables.blocks import RefusedRow
from driftline.tables.cells import Cell, is_missing, plain
from driftline.tables.fields import NumberReader, SecondsReader
from driftline.tables.numbers import DecimalMark
from driftline.tables.reading import ReadingOptions, open_table
from driftline.tables.rows import ReadCells, TableRow, TableRows, rows_for
from driftline.tables.target_columns import TargetColumns, names_of

PREDICTION_ID, KEY = "prediction_id", "key"
LABEL = "label"


@dataclass(frozen=True)
class LabelFile:
    """A file of labels: ``target`` names their column, by default ``label``; of several outputs by default their names."""

    path: str
    target: TargetColumns | None = None
    reading: ReadingOptions | None = None
    decimal: DecimalMark | None = None


@dataclass
class LabelOutcome:
    """What became of a file of labels; ``duplicates`` were in the log already."""

    progress: Progress
    duplicates: int


def send_labels(client: Client, model: str, file: LabelFile, refusals: Refusals, watch: Watch) -> LabelOutcome:
    """Hands in the labels of a file: those of what ``prediction_id`` or ``key`` names, else with the rows beside them.

    These columns, and ``id``, ``weight`` and ``time``, are those of an item, where the model has no fields of these names.

    Raises:
        InvalidInput: the file cannot be read, or does not fit the model.
    """
    spec = parse(ModelSpec, client.model(model)["spec"])
    with open_table(file.path, file.reading) as table:
        fields = set(spec.fields.fields) if spec.fields is not None else set()
        named = next((name for name in (PREDICTION_ID, KEY) if name in table.columns and name not in fields), None)
        target = file.target or spec.values.names or LABEL
        absent = [name for name in names_of(target) if name not in table.columns]
        if absent and not file.target:
            message = f"{table.name} has no column {absent[0]!r}: name that of the labels with --target"
            raise InvalidInput(message, field="target", value=table.columns[:20])
        others = {
            name: reader
            for name, reader in _readers(file.decimal).items()
            if name in table.columns and name not in fields
        }
        rows = rows_for(spec, table, target=target, decimal=file.decimal, others=others, has_inputs=named is None)
        progress = Progress(doubts=doubts_of(table, rows))
        prefix = f"file:{digest_of(Path(file.path).name, table)}"
        with RowSender(client, model, refusals, progress, watch) as sender:
            for number, item in _items(rows, prefix, named, sender):
                sender.send(number, item)
            progress.is_read, progress.doubts = True, doubts_of(table, rows)
            sender.flush()
            return LabelOutcome(progress, sender.duplicates)


def _items(rows: TableRows, prefix: str, named: str | None, sender: RowSender) -> Iterator[tuple[int, EncodedItem]]:
    for row in rows:
        sender.progress.read += 1
        if isinstance(row, RefusedRow):
            sender.refuse(row)
        elif row.label is None:
            sender.progress.unlabelled += 1
        elif named is not None and row.others[named] is None:
            what = "there is no id of a prediction" if named == PREDICTION_ID else "there is no key"
            sender.refuse(RefusedRow(row.number, named, None, what))
        else:
            yield row.number, _item(row, prefix, named)


def _item(row: TableRow, prefix: str, named: str | None) -> EncodedItem:
    item: dict[str, Any] = {name: value for name, value in row.others.items() if value is not None}
    item["label"] = row.label
    if named is None:
        item.setdefault("id", f"{prefix}:{row.number}")
        item["inputs"] = row.inputs
    elif named == PREDICTION_ID:
        # A row is of one prediction, whatever else its file calls it.
        item.pop(KEY, None)
    name = f"p:{item.get(PREDICTION_ID)}" if named == PREDICTION_ID else f"key:{item.get(KEY)}"
    return EncodedItem(str(item.get("id", name)), orjson.dumps(item))


def _readers(decimal: DecimalMark | None) -> dict[str, ReadCells]:
    return {
        PREDICTION_ID: _texts,
        KEY: _texts,
        "id": _texts,
        "weight": NumberReader(NumberField(), decimal or ".").many,
        "time": SecondsReader(TimeField()).many,
    }


def _texts(cells: Sequence[Cell]) -> tuple[list[str | None], dict[int, str]]:
    return [None if is_missing(cell) else str(plain(cell)).strip() for cell in cells], {}
