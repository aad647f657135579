"""Labelled rows as tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from driftline.networks.input_tensors import input_tensors
from driftline.networks.served_model import ServedModel
from driftline.records import Item, Label
from driftline.rows.rows import from_items
from driftline.spec import ModelSpec
from driftline.spec.classes import indices_of
from driftline.spec.row_layout import STATISTICS

NO_NOTE = float("nan")
NO_NUMBERS = torch.zeros(0, dtype=torch.int64)


class RowChange(Protocol):
    """What has become of rows since they came: their units are others, or their fields."""

    def of_inputs(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]: ...

    def of_targets(self, targets: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class Examples:
    """``inputs`` ``[rows, *shape]`` by name, ``targets`` ``[rows]`` (ids of classes, or values; of several outputs ``[rows,
    outputs]``, of a multi-label model 1 for the classes of a row, else 0, ``[rows, classes]``), ``weights`` ``[rows]``.

    ``notes`` ``[rows, width]`` by name are what a strategy remembers of a row; NaN stands where it has noted nothing.
    ``numbers`` ``[rows]`` are the log numbers by which a correction finds a row; 0 where a former release has kept it.
    """

    inputs: dict[str, Tensor]
    targets: Tensor
    weights: Tensor
    notes: dict[str, Tensor] = field(default_factory=dict)
    numbers: Tensor = NO_NUMBERS

    def __post_init__(self) -> None:
        if self.numbers is NO_NUMBERS and len(self.targets):
            object.__setattr__(self, "numbers", torch.zeros(len(self.targets), dtype=torch.int64))

    def __len__(self) -> int:
        # What ``len`` of a tensor does besides costs ten times as much.
        return self.targets.size(0)

    @classmethod
    def empty(cls, spec: ModelSpec) -> Examples:
        """No row of a spec's shape."""
        return cls.of(spec, [], {})

    @classmethod
    def of(
        cls,
        spec: ModelSpec,
        items: Sequence[Item],
        ids: Mapping[tuple[type, object], int],
        inputs: dict[str, Tensor] | None = None,
        numbers: Sequence[int] | None = None,
    ) -> Examples:
        """Checked items as tensors. ``ids`` gives the id of a class by its type and name.

        ``inputs`` are what :meth:`of_rows` gives, where that is known; ``numbers`` those of the items in the log.
        """
        inputs = cls.of_rows(spec, items) if inputs is None else inputs
        targets = _targets(spec, [item.label for item in items], ids)
        weights = _tensor([item.weight for item in items], "float32")
        known = NO_NUMBERS if numbers is None else _tensor(numbers, "int64")
        return cls(inputs, targets, weights, {}, known)

    @staticmethod
    def of_rows(spec: ModelSpec, items: Sequence[Item]) -> dict[str, Tensor]:
        """The rows of checked items as tensors ``[rows, *shape]`` by name."""
        rows = from_items(spec, [item.inputs for item in items])
        return input_tensors(spec, rows)

    def as_sent(self) -> dict[str, Tensor]:
        """The inputs without what an encoder knew of them when they were learned."""
        return {name: value for name, value in self.inputs.items() if name != STATISTICS}

    def with_inputs(self, inputs: dict[str, Tensor]) -> Examples:
        """The same labels for other inputs."""
        return Examples(inputs, self.targets, self.weights, self.notes, self.numbers)

    def take(self, rows: Tensor | slice) -> Examples:
        """Some rows, by index, mask or slice."""
        return self._map(lambda value: value[rows])

    def joined(self, other: Examples) -> Examples:
        """These rows, then the other's, with the notes that both have."""
        return Examples.all_of([self, other]) if len(other) else self

    @classmethod
    def all_of(cls, parts: Iterable[Examples]) -> Examples:
        """The rows of all parts, of which there is one, in order, with the notes that all have."""
        parts = list(parts)
        filled = [part for part in parts if len(part)] or parts[:1]
        if len(filled) == 1:
            return filled[0]
        first = filled[0]
        inputs = {name: torch.cat([part.inputs[name] for part in filled]) for name in first.inputs}
        shared = [name for name in first.notes if all(name in part.notes for part in filled)]
        notes = {name: torch.cat([part.notes[name] for part in filled]) for name in shared}
        targets, weights, numbers = (
            torch.cat([getattr(part, name) for part in filled]) for name in ("targets", "weights", "numbers")
        )
        return cls(inputs, targets, weights, notes, numbers)

    def answered_by(self, *modules: ServedModel) -> Examples:
        """The rows whose class all of these modules answer."""
        is_answered = torch.stack([module.answers(self.targets) for module in modules]).all(0)
        return self if bool(is_answered.all()) else self.take(is_answered)

    def without_notes(self) -> Examples:
        """These rows without what strategies remember of them."""
        return Examples(self.inputs, self.targets, self.weights, {}, self.numbers)

    def slots_of(self, others: Examples) -> list[tuple[int, int]]:
        """Which of these rows are those of others, by their log numbers: pairs of the row here and there."""
        rows = {int(number): row for row, number in enumerate(others.numbers.tolist()) if number}
        found = torch.isin(self.numbers, others.numbers).nonzero().flatten().tolist() if rows else []
        return [(row, rows[number]) for row in found if (number := int(self.numbers[row])) in rows]

    def revised(self, corrected: Examples) -> Examples:
        """These rows with the labels and weights that others of the same numbers have."""
        pairs = self.slots_of(corrected)
        if not pairs:
            return self
        own, theirs = torch.tensor(pairs).T
        targets, weights = self.targets.clone(), self.weights.clone()
        targets[own], weights[own] = corrected.targets[theirs], corrected.weights[theirs]
        return Examples(self.inputs, targets, weights, self.notes, self.numbers)

    def carried(self, change: RowChange) -> Examples:
        """These rows as they would come after a change of units or fields."""
        return Examples(
            change.of_inputs(self.inputs), change.of_targets(self.targets), self.weights, self.notes, self.numbers
        )

    def noted(self, **notes: Tensor) -> Examples:
        """These rows with ``notes`` ``[rows, width]``."""
        return Examples(self.inputs, self.targets, self.weights, {**self.notes, **notes}, self.numbers)

    def grown(self, size: int) -> Examples:
        """These rows, with zeros behind them up to ``size`` rows."""
        return self._map(lambda value: torch.cat([value, value.new_zeros((size - len(value), *value.shape[1:]))]))

    def with_room_for(self, other: Examples) -> Examples:
        """These rows, with every note of the other's, as wide as it is there."""
        notes = dict(self.notes)
        for name, value in other.notes.items():
            own = notes.get(name, value.new_zeros((len(self), 0)))
            missing = value.shape[1] - own.shape[1]
            notes[name] = torch.nn.functional.pad(own, (0, missing), value=NO_NOTE) if missing > 0 else own
        return Examples(self.inputs, self.targets, self.weights, notes, self.numbers) if other.notes else self

    def _map(self, change: Callable[[Tensor], Tensor]) -> Examples:
        inputs = {name: change(value) for name, value in self.inputs.items()}
        notes = {name: change(value) for name, value in self.notes.items()}
        return Examples(inputs, change(self.targets), change(self.weights), notes, change(self.numbers))

    def tensors(self) -> dict[str, Tensor]:
        """The rows as tensors by name, for a state dict."""
        inputs = {f"inputs.{name}": value for name, value in self.inputs.items()}
        notes = {f"notes.{name}": value for name, value in self.notes.items()}
        return {**inputs, **notes, "targets": self.targets, "weights": self.weights, "numbers": self.numbers}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Examples:
        """The rows that :meth:`tensors` gave."""

        def below(prefix: str) -> dict[str, Tensor]:
            return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}

        numbers = tensors.get("numbers", NO_NUMBERS)
        return cls(below("inputs."), tensors["targets"], tensors["weights"], below("notes."), numbers)


NO_EXAMPLES = Examples({}, torch.zeros(0), torch.zeros(0))
"""None, of no model in particular."""


def _tensor(numbers: Sequence[Any], dtype: str) -> Tensor:
    """Numbers as a tensor; of a few numpy makes an array in a fraction of the time that torch takes."""
    # Of none an array would have no stride.
    if not len(numbers):
        return torch.zeros(0, dtype=getattr(torch, dtype))
    return torch.from_numpy(np.array(numbers, dtype))


def _targets(spec: ModelSpec, labels: Sequence[Label], ids: Mapping[tuple[type, object], int]) -> Tensor:
    if spec.kind.is_multilabel:
        return _label_sets(spec.known_classes(), labels)
    wanted = [ids[type(label), label] if spec.kind.has_classes else label for label in labels]
    targets = _tensor(wanted, spec.kind.target_dtype)
    return targets.reshape(len(labels), spec.values.outputs) if spec.values.has_several else targets


def _label_sets(classes: Sequence[int | str], labels: Sequence[Any]) -> Tensor:
    """1 for the classes of each row, else 0, ``[rows, classes]``."""
    places, found = indices_of(classes), torch.zeros(len(labels), len(classes))
    for row, label in enumerate(labels):
        found[row, [places[type(name), name] for name in label]] = 1
    return found
