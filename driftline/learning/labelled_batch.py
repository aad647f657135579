"""The labels of a step."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from driftline.errors import InvalidInput
from driftline.learning.examples import Examples
from driftline.networks.served_model import ServedModel
from driftline.records import Item
from driftline.rows.rows import misfits
from driftline.spec import ModelSpec
from driftline.spec.classes import ClassTable

NOTHING = np.zeros(0, np.float32)


@dataclass(frozen=True)
class LabelledBatch:
    """Items in the order of the log, their log numbers, and the same as tensors."""

    numbers: list[int]
    items: list[Item]
    examples: Examples

    def __len__(self) -> int:
        return len(self.items)

    @classmethod
    def of(
        cls,
        spec: ModelSpec,
        table: ClassTable,
        numbers: list[int],
        items: list[Item],
        inputs: dict[str, Tensor] | None = None,
    ) -> LabelledBatch:
        """Items that fit the spec, and whose labels are in the ``table``. ``inputs``: their rows, where they are known."""
        return cls(numbers, items, Examples.of(spec, items, table.ids, inputs, numbers))

    def with_examples(self, examples: Examples) -> LabelledBatch:
        """The same items, with what else is known of their rows."""
        return LabelledBatch(self.numbers, self.items, examples)

    @property
    def live(self) -> LabelledBatch:
        """Those that came as the model was served to all: it is judged by them."""
        return self.where([item.route == "live" for item in self.items])

    def served_values(self, outputs: int, width: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The values ``[rows, outputs]`` of those that bring an answer of ``width`` numbers, and these ``[rows, width]``."""
        numbers = [np.frombuffer(item.answer.outputs, "<f4") if item.answer else NOTHING for item in self.items]
        has_answer = [len(row) == width for row in numbers]
        served = [row for row in numbers if len(row) == width]
        labels = self.where(has_answer).examples.targets.reshape(len(served), outputs).double().numpy()
        return labels, np.array(served, np.float64).reshape(len(served), width)

    def show_prior(self, module: ServedModel, since: int) -> None:
        """Shows a module's prior what was answered to each row: by version ``since`` or a later one, else as if its label had
        been.
        """
        assert module.prior is not None
        positions = module.positions(self.examples.targets)
        chances = torch.nn.functional.one_hot(positions, module.width).float()
        for row, item in zip(chances.numpy(), self.items, strict=True):
            if item.answer is not None and item.answer.version >= since and item.answer.outputs:
                outputs = np.frombuffer(item.answer.outputs, "<f4")[: len(row)]
                row[:] = 0
                row[: len(outputs)] = np.nan_to_num(outputs)
        module.prior.observe(chances, positions, self.examples.weights)

    def where(self, is_chosen: Sequence[bool]) -> LabelledBatch:
        """Those that are chosen."""
        if all(is_chosen):
            return self
        rows = [row for row, chosen in enumerate(is_chosen) if chosen]
        examples = self.examples.take(torch.tensor(rows, dtype=torch.int64))
        return LabelledBatch([self.numbers[row] for row in rows], [self.items[row] for row in rows], examples)


def usable(spec: ModelSpec, classes: Container[tuple[type, object]], items: Sequence[Item]) -> list[Item]:
    """The items that count, fit the spec and are of one of the ``classes``, which are given by type and name."""
    unfit = refused(spec, range(len(items)), items)
    fit = [item for n, item in enumerate(items) if n not in unfit and item.weight > 0]
    if not spec.kind.has_one_class:
        return fit
    return [item for item in fit if (type(item.label), item.label) in classes]


def refused(spec: ModelSpec, numbers: Sequence[int], items: Sequence[Item]) -> dict[int, str]:
    """Why items no longer fit the spec, by log number, as when it was edited after their acknowledgement."""
    found = {}
    unfit = misfits(spec, [item.inputs for item in items])
    for place, (n, item) in enumerate(zip(numbers, items, strict=True)):
        if place in unfit:
            found[n] = unfit[place]
            continue
        try:
            spec.check_label(item.label)
        except InvalidInput as error:
            found[n] = error.message
    return found
