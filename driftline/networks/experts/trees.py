"""Gradient-boosted trees, as an expert."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from driftline.networks.kernels.trees import sums
from driftline.networks.kernels.views import Viewed, array_of, rows_of

TREES = 64
DEPTH = 5
NODES, LEAVES = 2**DEPTH - 1, 2**DEPTH
MAX_OUTPUTS = 64
NEVER = torch.finfo(torch.float32).max
"""The cut of a node that was never split. (What is served must be finite.)"""
NO_TREES = (np.zeros((0, 0), np.int64), *(np.zeros((0,) * dimensions, np.float32) for dimensions in (2, 3, 1)))
"""What kernels take where there are no trees."""


class Trees(Viewed):
    """A sum of small trees (Friedman 2001, "Greedy Function Approximation"), which all are asked at once.

    An inner node asks ``row[features] > cuts``; a row of which this is true goes right. A node that was never split has the
    cut ``NEVER``. Inner nodes lie in the order of a heap: the children of node n are 2n + 1 and 2n + 2, and the leaves come
    after them. Untrained they answer evenly, and so they do of more than ``max_outputs`` outputs.

    ``values`` are what each leaf adds to each output ``[trees, leaves, outputs]``, and ``base`` is where the sum begins
    ``[outputs]``: of classes these are logits, of a regression values (:meth:`scores`).
    """

    features: Tensor
    cuts: Tensor
    values: Tensor
    base: Tensor

    def __init__(self, max_outputs: int = MAX_OUTPUTS) -> None:
        super().__init__()
        self.max_outputs = max_outputs
        self.outputs = 0
        self.register_buffer("features", torch.zeros(NODES, TREES, dtype=torch.int64))
        self.register_buffer("cuts", torch.full((NODES, TREES), NEVER))
        self.register_buffer("values", torch.zeros(TREES, LEAVES, 0))
        self.register_buffer("base", torch.zeros(0))

    @property
    def members(self) -> int:
        return 1

    @property
    def is_silent(self) -> bool:
        """Whether there are too many outputs."""
        return not self.values.shape[2]

    def sums(self, rows: Tensor) -> Tensor:
        """What the trees add up to for rows ``[batch, features]``, without the base ``[batch, outputs]``."""
        features, cuts, values, _ = self.arrays()
        return torch.from_numpy(sums(rows_of(rows), features, cuts, values))

    def _viewed(self) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """``features``, ``cuts``, ``values`` and ``base``, as kernels take them."""
        return array_of(self.features), array_of(self.cuts), array_of(self.values), array_of(self.base)

    def scores(self, rows: Tensor) -> Tensor:
        """Rows ``[batch, features]`` → logits or values ``[batch, outputs]``."""
        if self.is_silent:
            return rows.new_zeros(len(rows), self.outputs)
        return self.sums(rows).add_(self.base)

    def forward(self, rows: Tensor) -> Tensor:
        """Rows ``[batch, features]``, not encoded → log-probabilities ``[members, batch, columns]``."""
        return self.scores(rows).log_softmax(1).unsqueeze(0)

    def continue_from(self, former: Trees, places: Tensor) -> None:
        """Goes on as trees of rows with fewer numbers, which stand at ``places`` now."""
        self.outputs, self.features = former.outputs, places[former.features]
        self.cuts, self.values, self.base = former.cuts.clone(), former.values.clone(), former.base.clone()

    def add_columns(self, count: int) -> None:
        self.outputs += count
        if self.outputs > self.max_outputs:
            self.clear()
        else:
            self.values = nn.functional.pad(self.values, (0, count))
            self.base = nn.functional.pad(self.base, (0, count))

    def select(self, columns: Tensor) -> None:
        was_silent = self.is_silent
        self.outputs = len(columns)
        if was_silent or not len(columns):
            self.clear()
        else:
            self.values, self.base = self.values[:, :, columns].contiguous(), self.base[columns]

    def clear(self) -> None:
        """Forgets all trees."""
        outputs = self.outputs if self.outputs <= self.max_outputs else 0
        self.features.zero_()
        self.cuts.fill_(NEVER)
        self.values, self.base = self.values.new_zeros(TREES, LEAVES, outputs), self.base.new_zeros(outputs)
