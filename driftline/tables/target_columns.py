"""The columns of a table that are the label: one, or those of several outputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from driftline.errors import InvalidInput
from driftline.spec.model import ModelSpec

TargetColumns: TypeAlias = str | Sequence[str]
"""A column's name; or those of several outputs."""


def names_of(target: TargetColumns | None) -> list[str]:
    """The columns that are named; :class:`InvalidInput` where one is twice."""
    names = [] if target is None else [target] if isinstance(target, str) else list(target)
    for name in names:
        if names.count(name) > 1:
            raise InvalidInput(f"the target {name!r} is named twice", field="target", value=name)
    return names


def by_output(spec: ModelSpec, target: TargetColumns | None) -> dict[str, str]:
    """The column of each part of a label, by what a refusal calls that part; of several outputs in their order.

    Columns that are called as the outputs are go by their names, others in the order in which they are given.

    Raises:
        InvalidInput: there are not as many columns as a label has parts.
    """
    columns, layout = names_of(target), spec.values
    if not columns:
        return {}
    if not layout.has_several:
        if len(columns) > 1:
            message = f"a label of {spec.name} is one column; --target names {', '.join(map(repr, columns))}"
            raise InvalidInput(message, field="target", value=columns)
        return {"label": columns[0]}
    if len(columns) != layout.outputs:
        message = (
            f"{spec.name} has {layout.outputs} outputs, {', '.join(layout.labels)}: name a column for each with --target, "
            f"not {', '.join(map(repr, columns))} alone"
        )
        raise InvalidInput(message, field="target", value=columns)
    if layout.names is not None and set(columns) == set(layout.names):
        columns = list(layout.names)
    return {f"label.{name}": column for name, column in zip(layout.labels, columns, strict=True)}


def of_one_output(spec: ModelSpec) -> ModelSpec:
    """A spec whose label is a part of the given one's."""
    return spec.changed(outputs=None, intervals=None) if spec.values.has_several else spec


def joined(parts: Sequence[Sequence[Any]]) -> tuple[list[Any], dict[int, int]]:
    """Labels of several outputs, None where no part is there; and, by its place, the part that one lacks (it is None)."""
    labels: list[Any] = []
    lacking = {}
    for place, label in enumerate(zip(*parts, strict=True)):
        is_whole = None not in label
        labels.append(list(label) if is_whole else None)
        if not is_whole and any(value is not None for value in label):
            lacking[place] = label.index(None)
    return labels, lacking
