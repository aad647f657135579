"""Drift in what comes in: in the inputs, and in what the network makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from driftline.learning.monitoring.two_window_test import DriftReport, TwoWindowKS
from driftline.learning.monitoring.waiting_rows import WaitingRows
from driftline.learning.stateful import Former, State, Stateful, part
from driftline.networks.clone import sibling
from driftline.networks.served_model import ServedModel, evaluating
from driftline.spec.parts.detectors import InputDetector

EMBEDDING = "embedding"


class InputDriftMonitor(Stateful):
    """Compares inputs with those from before; and so the embedding, the activations before the output, of a ``frozen_copy``.

    A network that learns changes its activations by itself, and has others for rows that it was trained on than for new ones.
    The copy learns no more, and so was trained on no row that it sees. It is made again now and then, since a network that has
    learned more tells more.

    Args:
        former: makes the copy again from its tensors.
        first_labels: labels that the network has learned before the first copy.
        renewed_after: labels from one copy to the next.
        rows_at_once: rows whose embedding is computed together.
    """

    STATE = ("inputs", "embedding", "born", "numbers", "waiting", "frozen_copy")
    DERIVED = ("detector", "former", "first_labels", "renewed_after", "rows_at_once", "_waiting")

    def __init__(
        self,
        detector: InputDetector,
        former: Former,
        *,
        first_labels: int = 1000,
        renewed_after: int = 5000,
        rows_at_once: int = 32,
    ) -> None:
        self.detector = detector
        self.former = former
        self.first_labels, self.renewed_after, self.rows_at_once = first_labels, renewed_after, rows_at_once
        self.inputs = TwoWindowKS(detector)
        self.embedding = TwoWindowKS(detector)
        self.frozen_copy: ServedModel | None = None
        self.born = 0
        self.waiting: dict[str, Tensor] = {}
        self.numbers: list[int] = []

    def see(
        self, rows: dict[str, Tensor], numbers: Sequence[int], module: ServedModel, learned: int
    ) -> list[DriftReport]:
        """Takes rows in, in their order, with their log numbers; what has moved. The module has ``learned`` so many labels."""
        watched = module.watched(rows)
        # Of times and texts alone nothing tells.
        found = [self.inputs.see(watched, numbers)] if watched else []
        if self.detector.embedding and learned >= self.first_labels:
            if self.frozen_copy is None or learned - self.born >= self.renewed_after:
                self.dismiss_frozen_copy()
                self.frozen_copy, self.born = sibling(module), learned
            found.append(self._see_embedding(self.frozen_copy, rows, numbers))
        return [moved for moved in found if moved is not None]

    def _see_embedding(
        self, frozen_copy: ServedModel, rows: dict[str, Tensor], numbers: Sequence[int]
    ) -> DriftReport | None:
        """Rows wait until there are some: the copy, which learns no more, gives the same for them later, all at once."""
        self.numbers += numbers
        self._waiting.add(rows, len(numbers))
        if len(self.numbers) < self.rows_at_once:
            return None
        rows, numbers = self.waiting, self.numbers
        self.waiting, self.numbers = {}, []
        return self.embedding.see({EMBEDDING: embedding(frozen_copy, frozen_copy.timeless(rows))}, numbers)

    @property
    def waiting(self) -> dict[str, Tensor]:
        """The rows of ``numbers``, by name."""
        return self._waiting.joined

    @waiting.setter
    def waiting(self, rows: dict[str, Tensor]) -> None:
        self._waiting = WaitingRows()
        self._waiting.add(rows, len(next(iter(rows.values()), ())))

    @property
    def is_settled(self) -> bool:
        """Whether what comes in has been as it was since the last report."""
        return self.inputs.is_settled and self.embedding.is_settled

    def dismiss_frozen_copy(self) -> None:
        """Makes another copy at the next rows: the network is no longer the one that it was made of."""
        # Which unit is which has changed; that the embedding moves by nature has not.
        self.frozen_copy, self.embedding = None, TwoWindowKS(self.detector, self.embedding.highest_caution)
        self.waiting, self.numbers = {}, []

    def packed(self, name: str) -> Any:
        if name == "frozen_copy" and self.frozen_copy is not None:
            return State(dict(self.frozen_copy.state_dict()), {"width": self.frozen_copy.width})
        return super().packed(name)

    def restored(self, name: str, state: State) -> Any:
        if name != "frozen_copy":
            return super().restored(name, state)
        described = state.data[name]
        return None if described is None else self.former(part(state.tensors, name), described["width"])


@torch.no_grad()
def embedding(module: ServedModel, inputs: dict[str, Tensor]) -> Tensor:
    """The activations before the output layer ``[rows, units]``."""
    found: list[Tensor] = []
    hook = module.output.register_forward_pre_hook(lambda _, arguments: found.append(arguments[0]))
    try:
        evaluating(module)(inputs)
    finally:
        hook.remove()
    return found[0].flatten(1)
