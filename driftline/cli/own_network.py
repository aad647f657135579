"""``models create --factory``: a model of a network of the user's own, whose spec follows from an example."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
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
    dtype: Annotated[
        str | None,
        typer.Option(
            "--dtype",
            metavar="TYPE",
            help="Of the factory: the type of its inputs, as uint8 or bfloat16.",
            show_default="float32, or int64 of whole numbers",
        ),
    ] = None
    tokenizer: Annotated[
        str | None,
        typer.Option(
            "--tokenizer",
            metavar="FILE",
            help="Of the factory: what makes token ids of texts: a file of the tokenizers library, where the server runs.",
        ),
    ] = None
    mask: Annotated[
        str | None,
        typer.Option(
            "--mask",
            metavar="ARGUMENT",
            help="Of the factory: how it is told where a sequence is filled up.",
            show_default="mask",
        ),
    ] = None
    max_length: Annotated[
        int | None,
        typer.Option("--max-length", min=1, help="Of the factory: the longest sequence.", show_default="512"),
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
            "--dtype": self.dtype,
            "--tokenizer": self.tokenizer,
            "--mask": self.mask,
            "--max-length": self.max_length,
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
        sequence = {"tokenizer": self.tokenizer, "mask": self.mask, "max_length": self.max_length}
        inputs = inputs_like(rows, self.dtype, {name: value for name, value in sequence.items() if value is not None})
        asked = asked_for(labels, task, listed_classes(self.classes))
        return {"name": name, **asked, "inputs": inputs, "network": network}, _batch(rows)


def inputs_like(
    rows: Sequence[Any], dtype: str | None = None, sequence: Mapping[str, Any] = MappingProxyType({})
) -> dict[str, Any]:
    """The ``inputs`` of a spec for rows as they are sent: of one tensor, or of several by name.

    Args:
        dtype: None where the numbers tell.
        sequence: what a sequence has beside its shape; rows are one where their lengths differ, or where they are texts.

    Raises:
        InvalidInput: rows differ in their shape, or hold what is no number.
    """
    if not isinstance(rows[0], dict):
        return _tensor(rows, "inputs", dtype, sequence)
    for row in rows:
        if not isinstance(row, dict) or row.keys() != rows[0].keys():
            raise InvalidInput("example: each of its rows has the same inputs by name", field="inputs")
    return {name: _tensor([row[name] for row in rows], f"inputs.{name}", dtype, sequence) for name in rows[0]}


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


def listed_classes(text: str | None) -> list[int | str] | None:
    """Classes as an option names them: ``dog,cat``, or how many there are."""
    if text is None:
        return None
    names = [name.strip() for name in text.split(",")]
    if len(names) == 1 and names[0].isdigit():
        return list(range(int(names[0])))
    are_numbers = all(name.lstrip("-").isdigit() for name in names)
    return [int(name) for name in names] if are_numbers else [*names]


def _batch(rows: Sequence[Any]) -> Any:
    return {name: [row[name] for row in rows] for name in rows[0]} if isinstance(rows[0], dict) else list(rows)


def _tensor(values: Sequence[Any], field: str, dtype: str | None, sequence: Mapping[str, Any]) -> dict[str, Any]:
    if any(isinstance(value, str) for value in values):
        if "tokenizer" not in sequence:
            raise typer.BadParameter(f"{field} is a text: give --tokenizer FILE")
        return {"shape": [None], "dtype": dtype or "int64", **sequence}
    shapes = [_shape(value, field) for value in values]
    is_named_one = bool(sequence) and "tokenizer" not in sequence and bool(shapes[0])
    is_sequence = is_named_one or any(shape != shapes[0] for shape in shapes)
    if is_sequence and not all(shape and shape[1:] == shapes[0][1:] for shape in shapes):
        message = f"example: {field}: rows of the shapes {_listed(shapes)}, which differ in more than their length"
        raise InvalidInput(message, field=field)
    has_fractions = any(isinstance(number, float) for value in values for number in _numbers(value, field))
    kind = dtype or ("float32" if has_fractions else "int64")
    return (
        {"shape": [None, *shapes[0][1:]], "dtype": kind, **sequence}
        if is_sequence
        else {"shape": shapes[0], "dtype": kind}
    )


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
