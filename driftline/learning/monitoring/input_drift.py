"""Looks out for drift in what comes in: in the inputs, and in what the network makes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from driftline.learning.monitoring.two_window_test import DriftReport, TwoWindowKS
from driftline.learning.stateful import Former, named, part
from driftline.networks.build import ServedModel, evaluating
from driftline.networks.clone import clone
from driftline.spec.parts.detectors import InputDetector

FIRST_LABELS = 1000
RENEWED_AFTER = 5000
EMBEDDING = "embedding"
ROWS_AT_ONCE = 32


class InputDriftMonitor:
    """Watches the inputs; and the activations in front of the output layer, as a ``frozen_copy`` has them.

    A network that learns changes its activations by itself, and has others for rows that it was trained on than for new ones.
    The witness is a copy of it that learns no more, and so was trained on no row that it sees. It is renewed now and then,
    since a network that has learned more tells more.
    """

    def __init__(self, detector: InputDetector) -> None:
        self.detector = detector
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
        found = [self.inputs.see(rows, numbers)]
        if self.detector.embedding and learned >= FIRST_LABELS:
            if self.frozen_copy is None or learned - self.born >= RENEWED_AFTER:
                self.dismiss_frozen_copy()
                self.frozen_copy, self.born = clone(module), learned
            found.append(self._see_embedding(self.frozen_copy, rows, numbers))
        return [moved for moved in found if moved is not None]

    def _see_embedding(
        self, frozen_copy: ServedModel, rows: dict[str, Tensor], numbers: Sequence[int]
    ) -> DriftReport | None:
        """Rows wait until there are some: the witness, which learns no more, says the same of them later, and all at once."""
        self.numbers += numbers
        self.waiting = (
            {name: torch.cat([self.waiting[name], value]) for name, value in rows.items()} if self.waiting else rows
        )
        if len(self.numbers) < ROWS_AT_ONCE:
            return None
        rows, numbers = self.waiting, self.numbers
        self.waiting, self.numbers = {}, []
        return self.embedding.see({EMBEDDING: embedding(frozen_copy, rows)}, numbers)

    def dismiss_frozen_copy(self) -> None:
        """Takes another witness at the next rows: the network is no longer the one it was a copy of."""
        self.frozen_copy, self.embedding = None, TwoWindowKS(self.detector)
        self.waiting, self.numbers = {}, []

    def tensors(self) -> dict[str, Tensor]:
        frozen_copy = named("witness", self.frozen_copy.state_dict()) if self.frozen_copy else {}
        return {
            **named("inputs", self.inputs.tensors()),
            **named("embedding", self.embedding.tensors()),
            **named("waiting", self.waiting),
            **frozen_copy,
        }

    def data(self) -> dict[str, Any]:
        return {
            "inputs": self.inputs.data(),
            "embedding": self.embedding.data(),
            "born": self.born,
            "numbers": self.numbers,
            "width": self.frozen_copy.width if self.frozen_copy else 0,
        }

    def load(self, tensors: Mapping[str, Tensor], data: Mapping[str, Any], former: Former) -> None:
        """Sets the state that :meth:`tensors` and :meth:`data` gave."""
        self.inputs.load(part(tensors, "inputs"), data["inputs"])
        self.embedding.load(part(tensors, "embedding"), data["embedding"])
        self.born, self.numbers = data["born"], list(data["numbers"])
        self.waiting = part(tensors, "waiting")
        frozen_copy = part(tensors, "witness")
        self.frozen_copy = former(frozen_copy, data["width"]) if frozen_copy else None


@torch.no_grad()
def embedding(module: ServedModel, inputs: dict[str, Tensor]) -> Tensor:
    """The activations in front of the output layer ``[rows, units]``."""
    found: list[Tensor] = []
    hook = module.output.register_forward_pre_hook(lambda _, arguments: found.append(arguments[0]))
    try:
        evaluating(module)(inputs)
    finally:
        hook.remove()
    return found[0].flatten(1)
