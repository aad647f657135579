"""Recorded streams: rows in the order of arrival with their labels, and the spec of a model for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import msgspec

from driftline.backtest.arrivals import Arrivals
from driftline.errors import InvalidInput
from driftline.ingest.rows import RowReader, json_type
from driftline.records import Label
from driftline.rows.rows import Rows
from driftline.spec import ModelSpec, parse


@dataclass(frozen=True)
class Stream:
    """Rows with their labels, in order.

    Args:
        spec: the spec of a model for them.
        inputs: the rows.
        labels: one for each row; None where there is none: such a row is predicted, and neither scored nor learned.
        features: the names of what a row holds, where they come from the columns of a table.
        skipped: how many rows of a file could not be read.
        weights: how much each row counts; empty: 1.
        served: the class or value that was served for a row, where it is known of some; only these rows are scored.
        arrivals: when each label comes, where the stream itself says so.
        callers: who each label comes from, as in a record of the log; None: from nobody in particular.
    """

    spec: ModelSpec
    inputs: Rows
    labels: list[Label | None]
    features: list[str] = field(default_factory=list)
    skipped: int = 0
    weights: list[float] | None = None
    served: dict[int, Label | None] | None = None
    arrivals: Arrivals | None = None
    callers: list[str] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def labelled(self) -> list[int]:
        """The rows that have a label."""
        return [row for row, label in enumerate(self.labels) if label is not None]

    @cached_property
    def classes(self) -> list[int | str]:
        """Those of the spec, then others in the order of their first labels; none of a regression."""
        if not self.spec.kind.has_classes:
            return []
        found = dict.fromkeys((type(name), name) for name in self.spec.known_classes())
        found |= dict.fromkeys((type(label), label) for label in self.labels if isinstance(label, int | str))
        return [name for _, name in found]


def _corrected(items: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The items of a log, each with the label that it has in the end."""
    rows: list[Mapping[str, Any]] = []
    place_of: dict[int, int] = {}
    for item in items:
        place = place_of.get(item.get("revises", 0))
        if place is None:
            place = len(rows)
            rows.append(item)
        else:
            rows[place] = {**rows[place], "label": item["label"], "weight": item["weight"]}
        if "n" in item:
            place_of[item["n"]] = place
    return rows


def _served(spec: ModelSpec, answer: Mapping[str, Any]) -> Label | None:
    """What was answered, as a label is."""
    found: Label | None = answer[spec.answer_field]
    return spec.check_label(found) if spec.values.has_several else found


def of_log(spec: Mapping[str, Any], items: Iterable[Mapping[str, Any]]) -> Stream:
    """The log of a model, as the API gives it.

    Args:
        spec: the model's.
        items: each with ``inputs``, ``label`` and ``weight``, and ``answer`` where one was served. One that ``revises``
            another, by its number ``n``, is the label of that one.
    """
    parsed, rows = parse(ModelSpec, spec), _corrected(items)
    if not rows:
        raise InvalidInput(f"the log of {parsed.name} holds no label", value=parsed.name)
    reader = RowReader(parsed)
    if parsed.fields is not None:
        inputs = reader.batch([item["inputs"] for item in rows])
    else:
        kind = json_type(parsed, batched=False)
        inputs = Rows.joined([reader.row(msgspec.convert(item["inputs"], kind)) for item in rows])
    served: dict[int, Label | None] = {
        row: _served(parsed, item["answer"]) for row, item in enumerate(rows) if item.get("answer")
    }
    return Stream(
        parsed,
        inputs,
        [parsed.check_label(item["label"]) for item in rows],
        weights=[item["weight"] for item in rows],
        served=served or None,
    )
