"""Recorded streams: labelled rows in the order of arrival, and the spec of a model for them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from driftline.backtest.table import Column, Numbers, Table, Texts
from driftline.errors import InvalidInput
from driftline.ingest.rows import RowReader, as_float32, json_type
from driftline.records import Label
from driftline.rows.rows import Rows
from driftline.spec import SINGLE_INPUT, ModelSpec, parse

Task = Literal["classification", "regression"]
Missing = Literal["last", "error"]

MAX_CLASSES = 50
MAX_TEXTS = 20


@dataclass(frozen=True)
class Stream:
    """Rows with their labels, in order.

    Args:
        spec: the spec of a model for them.
        inputs: the rows.
        labels: one for each row.
        features: the names of the numbers of a row, where they come from the columns of a table.
        skipped: how many rows were left out because they had no label.
        weights: how much each row counts; empty: 1.
        served: the class or value that was served for a row, where it is known of some; only these rows are scored.
    """

    spec: ModelSpec
    inputs: Rows
    labels: list[Label]
    features: list[str] = field(default_factory=list)
    skipped: int = 0
    weights: list[float] | None = None
    served: dict[int, Label | None] | None = None

    def __len__(self) -> int:
        return len(self.labels)


def of_table(
    table: Table,
    target: str,
    *,
    task: Task | None = None,
    drop: Collection[str] = (),
    missing: Missing = "last",
    name: str = "backtest",
) -> Stream:
    """The rows of a table, in its order, with the column ``target`` as the label.

    A column of numbers is a feature. A column of at most 20 different texts becomes a feature for each of them, 0 or 1. A
    missing value is replaced by the last one of its column, and by 0 before the first one. A row without a label is left out.
    Classes are open: a model knows a class from its first label on.

    Args:
        task: default: regression for numbers with many different values, else classification.
        drop: columns to leave out.
        missing: ``error`` refuses a table with a missing value.

    Raises:
        InvalidInput: it names the column that does not fit, and what to do.
    """
    for column in (target, *drop):
        if column not in table.columns:
            known = ", ".join(table.columns)
            raise InvalidInput(f"{table.path} has no column {column!r}; it has {known}", field=column)
    if missing == "error":
        _refuse_missing(table, drop)
    task = task or _task_of(table.columns[target])
    labels = _labels(target, table.columns[target], task)
    rows, features = _rows(table, {target, *drop})
    is_known = np.array([label is not None for label in labels])
    if not is_known.any():
        raise InvalidInput(f"the target {target!r} is missing in every row", field=target)
    spec = {"name": name, "task": task, "inputs": {"shape": [len(features)]}}
    if task == "classification":
        spec["classes"] = "open"
    return Stream(
        parse(ModelSpec, spec),
        Rows({SINGLE_INPUT: rows[is_known]}),
        [label for label in labels if label is not None],
        features,
        skipped=int((~is_known).sum()),
    )


def _refuse_missing(table: Table, drop: Collection[str]) -> None:
    for name, column in table.columns.items():
        is_missing = _is_missing(column)
        if name not in drop and is_missing.any():
            row = int(is_missing.argmax()) + 1
            message = f"the column {name!r} has no value in row {row}; --missing last takes the one before, --drop {name} none"
            raise InvalidInput(message, field=name, value=row)


def _is_missing(column: Column) -> NDArray[np.bool_]:
    if isinstance(column, list):
        return np.array([text is None for text in column])
    return np.isnan(column)


def _task_of(target: Column) -> Task:
    if isinstance(target, list):
        return "classification"
    few = max(2, min(MAX_CLASSES, len(target) // 2))
    return "classification" if len(np.unique(target[~np.isnan(target)])) <= few else "regression"


def _labels(name: str, target: Column, task: Task) -> Sequence[Label | None]:
    """The labels of a column: texts, whole numbers as integers, other numbers as texts; of a regression floats."""
    if task == "regression":
        if isinstance(target, list):
            text = next(text for text in target if text is not None)
            raise InvalidInput(f"the target {name!r} of a regression holds {text!r}, no number", field=name, value=text)
        as_float32(np.where(np.isnan(target), 0.0, target), name)
        return [None if np.isnan(value) else float(value) for value in target]
    if isinstance(target, list):
        return target
    known = target[~np.isnan(target)]
    is_whole = bool(np.all(np.isfinite(known) & (known == np.round(known))))
    return [None if np.isnan(value) else int(value) if is_whole else f"{value:g}" for value in target.tolist()]


def _rows(table: Table, left_out: Collection[str]) -> tuple[NDArray[np.float32], list[str]]:
    """The features ``[rows, features]``, and the name of each."""
    columns: dict[str, Numbers] = {}
    for name, column in table.columns.items():
        if name not in left_out:
            columns |= _of_texts(name, column) if isinstance(column, list) else {name: _filled(column)}
    if not columns:
        raise InvalidInput(f"{table.path} has no column besides the target to learn from", value=str(table.path))
    narrow = [as_float32(column, name) for name, column in columns.items()]
    return np.stack(narrow, axis=1), list(columns)


def _of_texts(name: str, column: Texts) -> dict[str, Numbers]:
    texts = list(dict.fromkeys(text for text in column if text is not None))
    if len(texts) > MAX_TEXTS:
        raise InvalidInput(
            f"the column {name!r} holds {len(texts)} different texts, such as {texts[0]!r}, where {MAX_TEXTS} is the most; "
            f"leave it out with --drop {name}, or write it as numbers",
            field=name,
            value=len(texts),
        )
    number_of = {text: number for number, text in enumerate(texts)}
    codes = _filled(np.array([np.nan if text is None else number_of[text] for text in column]), before=-1.0)
    return {f"{name}={text}": (codes == number).astype(np.float64) for number, text in enumerate(texts)}


def _filled(column: Numbers, before: float = 0.0) -> Numbers:
    """A column where each missing value is replaced by the one before it, or by ``before`` at the start."""
    newest = np.maximum.accumulate(np.where(np.isnan(column), -1, np.arange(len(column))))
    return np.where(newest < 0, before, column[newest])


def of_log(spec: Mapping[str, Any], items: Iterable[Mapping[str, Any]]) -> Stream:
    """The log of a model, as the API gives it.

    Args:
        spec: the model's.
        items: each with ``inputs``, ``label`` and ``weight``, and ``answer`` where one was served.
    """
    parsed, rows = parse(ModelSpec, spec), list(items)
    if not rows:
        raise InvalidInput(f"the log of {parsed.name} holds no label", value=parsed.name)
    reader = RowReader(parsed)
    kind = json_type(parsed, batched=False)
    inputs = Rows.joined([reader.row(msgspec.convert(item["inputs"], kind)) for item in rows])
    key = parsed.kind.answer_field
    served = {row: item["answer"][key] for row, item in enumerate(rows) if item.get("answer")}
    return Stream(
        parsed,
        inputs,
        [parsed.check_label(item["label"]) for item in rows],
        weights=[item["weight"] for item in rows],
        served=served or None,
    )
