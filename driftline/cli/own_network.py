"""``models create --factory``: a model of a network of the user's own, whose spec follows from an example."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from driftline.cli.common import parse_json, read_text
from driftline.errors import InvalidInput

TASKS = Literal["classification", "multilabel", "regression"]


@dataclass(frozen=True)
class NetworkChoices:
    """The network, and what an example does not tell."""

    factory: Annotated[
        str | None,
        typer.Option(
            "--factory",
            metavar="MODULE:FUNCTION",
            help="Instead: a network of your own, as the server's DRIFTLINE_FACTORIES lists it. The argument is then its name.",
        ),
    ] = None
    arguments: Annotated[
        str, typer.Option("--arguments", metavar="JSON", help="Of the factory: what it is called with.")
    ] = "{}"
    example: Annotated[
        Path | None,
        typer.Option(
            "--example",
            metavar="FILE",
            help='Of the factory: {"inputs": …, "label": …}, or a list of these, as JSON.',
        ),
    ] = None
    classes: Annotated[
        str | None,
        typer.Option(
            "--classes",
            metavar="LIST",
            help="Of the factory: a class for each output, in order, as dog,cat; or how many: 10 is 0 to 9.",
        ),
    ] = None
    output: Annotated[
        Literal["own", "task"],
        typer.Option("--output", help="Of the factory: its own output layer, or a new one for the task."),
    ] = "own"

    def given(self) -> dict[str, Any]:
        """The options by their names, for a refusal of those that are given."""
        return {
            "--arguments": self.arguments != "{}",
            "--example": self.example,
            "--classes": self.classes,
            "--output": self.output != "own",
        }

    def read(self, name: str, task: TASKS | None) -> tuple[dict[str, Any], Any]:
        """The spec of a model of that name, and the rows of the example as a predict call has them.

        Args:
            task: None where the labels of the example tell.
        """
        if self.example is None:
            raise typer.BadParameter("--factory needs --example FILE: what an application sends, with its label")
        items = _items(parse_json(read_text(f"@{self.example}")), self.example)
        rows = [item["inputs"] for item in items]
        labels = [item["label"] for item in items if item.get("label") is not None]
        network = {"factory": self.factory, "arguments": parse_json(self.arguments), "output": self.output}
        inputs = inputs_like(rows)
        asked = asked_for(labels, task, _classes(self.classes))
        return {"name": name, **asked, "inputs": inputs, "network": network}, _batch(rows)


def inputs_like(rows: Sequence[Any]) -> dict[str, Any]:
    """The ``inputs`` of a spec for rows as they are sent: of one tensor, or of several by name.

    Raises:
        InvalidInput: rows differ in their shape, or hold what is no number.
    """
    if not isinstance(rows[0], dict):
        return _tensor(rows, "inputs")
    for row in rows:
        if not isinstance(row, dict) or row.keys() != rows[0].keys():
            raise InvalidInput("example: each of its rows has the same inputs by name", field="inputs")
    return {name: _tensor([row[name] for row in rows], f"inputs.{name}") for name in rows[0]}


def asked_for(labels: Sequence[Any], task: TASKS | None, classes: Sequence[int | str] | None) -> dict[str, Any]:
    """The task of a spec with its classes or outputs: as it is given, else as labels tell."""
    if task is None:
        task = _task_of(labels, has_classes=classes is not None)
    if task != "regression":
        if classes is None:
            raise typer.BadParameter("--classes: name a class for each output of the network, in their order")
        return {"task": task, "classes": list(classes)}
    outputs = {len(label) for label in labels if isinstance(label, list)}
    return {"task": task} | ({"outputs": max(outputs)} if outputs else {})


def _task_of(labels: Sequence[Any], *, has_classes: bool) -> TASKS:
    if not labels and not has_classes:
        raise typer.BadParameter("the example has no label: give --classes, or --task regression")
    values = [part for label in labels for part in (label if isinstance(label, list) else [label])]
    if values and not has_classes and any(isinstance(value, float) for value in values):
        return "regression"
    return "multilabel" if any(isinstance(label, list) for label in labels) else "classification"


def _items(value: Any, path: Path) -> list[Mapping[str, Any]]:
    items = value if isinstance(value, list) else [value]
    if not items or not all(isinstance(item, dict) and "inputs" in item for item in items):
        raise InvalidInput(f'{path}: an example is {{"inputs": …, "label": …}}, or a list of these', field="example")
    return items


def _classes(text: str | None) -> list[int | str] | None:
    if text is None:
        return None
    names = [name.strip() for name in text.split(",")]
    if len(names) == 1 and names[0].isdigit():
        return list(range(int(names[0])))
    are_numbers = all(name.lstrip("-").isdigit() for name in names)
    return [int(name) for name in names] if are_numbers else [*names]


def _batch(rows: Sequence[Any]) -> Any:
    return {name: [row[name] for row in rows] for name in rows[0]} if isinstance(rows[0], dict) else list(rows)


def _tensor(values: Sequence[Any], field: str) -> dict[str, Any]:
    shapes = [_shape(value, field) for value in values]
    if any(shape != shapes[0] for shape in shapes):
        raise InvalidInput(f"example: {field}: rows of the shapes {_listed(shapes)}, where all have one", field=field)
    has_fractions = any(isinstance(number, float) for value in values for number in _numbers(value, field))
    return {"shape": shapes[0], "dtype": "float32" if has_fractions else "int64"}


def _listed(shapes: Sequence[list[int]]) -> str:
    return ", ".join(map(str, dict.fromkeys(map(str, shapes))))


def _shape(value: Any, field: str) -> list[int]:
    if not isinstance(value, list):
        return []
    inner = [_shape(part, field) for part in value]
    if not inner or any(shape != inner[0] for shape in inner):
        raise InvalidInput(f"example: {field}: its lists are empty, or of different lengths", field=field)
    return [len(value), *inner[0]]


def _numbers(value: Any, field: str) -> list[int | float]:
    if isinstance(value, list):
        return [number for part in value for number in _numbers(part, field)]
    if isinstance(value, bool) or not isinstance(value, int | float):
        message = f"example: {field}: {value!r} is no number; rows of named fields go by SPEC.json, or --from FILE"
        raise InvalidInput(message, field=field, value=value)
    return [value]
