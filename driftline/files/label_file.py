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

PREDICTION_ID = "prediction_id"
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
    """Hands in the labels of a file: those of the predictions that ``prediction_id`` names, else with the rows beside them.

    The columns ``id``, ``weight`` and ``time`` are those of an item, where the model has no fields of these names.

    Raises:
        InvalidInput: the file cannot be read, or does not fit the model.
    """
    spec = parse(ModelSpec, client.model(model)["spec"])
    with open_table(file.path, file.reading) as table:
        fields = set(spec.fields.fields) if spec.fields is not None else set()
        has_ids = PREDICTION_ID in table.columns and PREDICTION_ID not in fields
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
        rows = rows_for(spec, table, target=target, decimal=file.decimal, others=others, has_inputs=not has_ids)
        progress = Progress(doubts=doubts_of(table, rows))
        prefix = f"file:{digest_of(Path(file.path).name, table)}"
        with RowSender(client, model, refusals, progress, watch) as sender:
            for number, item in _items(rows, prefix, has_ids, sender):
                sender.send(number, item)
            progress.is_read, progress.doubts = True, doubts_of(table, rows)
            sender.flush()
            return LabelOutcome(progress, sender.duplicates)


def _items(rows: TableRows, prefix: str, has_ids: bool, sender: RowSender) -> Iterator[tuple[int, EncodedItem]]:
    for row in rows:
        sender.progress.read += 1
        if isinstance(row, RefusedRow):
            sender.refuse(row)
        elif row.label is None:
            sender.progress.unlabelled += 1
        elif has_ids and row.others[PREDICTION_ID] is None:
            sender.refuse(RefusedRow(row.number, PREDICTION_ID, None, "there is no id of a prediction"))
        else:
            yield row.number, _item(row, prefix, has_ids)


def _item(row: TableRow, prefix: str, has_ids: bool) -> EncodedItem:
    item: dict[str, Any] = {name: value for name, value in row.others.items() if value is not None}
    item["label"] = row.label
    if not has_ids:
        item.setdefault("id", f"{prefix}:{row.number}")
        item["inputs"] = row.inputs
    return EncodedItem(str(item["id"]) if "id" in item else f"p:{item[PREDICTION_ID]}", orjson.dumps(item))


def _readers(decimal: DecimalMark | None) -> dict[str, ReadCells]:
    return {
        PREDICTION_ID: _texts,
        "id": _texts,
        "weight": NumberReader(NumberField(), decimal or ".").many,
        "time": SecondsReader(TimeField()).many,
    }


def _texts(cells: Sequence[Cell]) -> tuple[list[str | None], dict[int, str]]:
    return [None if is_missing(cell) else str(plain(cell)).strip() for cell in cells], {}
