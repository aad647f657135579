"""Recursive ridge regression with forgetting."""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from driftline.learning.stateful import State, Stateful
from driftline.learning.training.experts.least_squares import remembered_sums
from driftline.networks.experts.ridge import KEPT, Ridge

Factors: TypeAlias = tuple[NDArray[np.float32], ...]
NO_FACTORS: Factors = tuple(np.zeros((0,) * dimensions, np.float32) for dimensions in (3, 3, 3, 2))
MAX_FOLLOWED = 128
"""So many rows are followed one after the other between two solutions at most."""
MAX_FOLLOWING = 500
"""Heads on more units are solved now and then alone: to follow each row would cost more than all else."""


class RidgeLearner(Stateful):
    """Sums of ``φφᵀ`` and ``φtᵀ``, from which the heads are solved; ``t`` is one at the label: a softmax is blind to a mean.

    Between two solutions the heads follow each row by a rank-one update (recursive least squares, Plackett 1950): they are the
    exact solution at every row. Each new factorisation begins from sums, so that rounding does not add up.

    Args:
        penalty: what is added to the diagonal of ``φφᵀ``.
        amplitude: how large the random features are.
        sharpness: from a solution, which lies between 0 and 1, to logits.
        damping: a further penalty, as a share of the mean square that has been seen: keeps float32 from failing on millions of
            rows.
    """

    STATE = ("gram", "moment")
    DERIVED = ("ridge", "penalty", "amplitude", "sharpness", "damping", "follows", "kept", "_factors", "_followed")

    def __init__(
        self,
        ridge: Ridge,
        *,
        penalty: float = 1.0,
        amplitude: float = 4.0,
        sharpness: float = 6.0,
        damping: float = 1e-5,
    ) -> None:
        self.ridge = ridge
        self.penalty, self.amplitude, self.sharpness, self.damping = penalty, amplitude, sharpness, damping
        heads, units, columns = ridge.heads.shape
        self.follows = units <= MAX_FOLLOWING
        self.kept = np.array(KEPT, np.float32)
        self._factors: Factors | None = None
        self._followed = 0
        self.gram = torch.zeros(heads, units, units)
        self.moment = torch.zeros(heads, units, columns)

    @property
    def _amplitude(self) -> float:
        return self.amplitude * math.sqrt(2 / self.gram.shape[1])

    def learn(self, encoded: Tensor, targets: Tensor, weights: Tensor) -> None:
        """Takes rows ``[rows, width]`` into the sums and solves."""
        rows = len(targets)
        features = self.ridge.project(encoded).mul_(self._amplitude)
        weighted = features * weights.unsqueeze(1)
        wanted = torch.nn.functional.one_hot(targets, self.moment.shape[2]).float()
        kept = torch.tensor([rate**rows for rate in KEPT]).view(-1, 1, 1)
        self.gram.mul_(kept).add_(weighted.T @ features)
        self.moment.mul_(kept).add_(weighted.T @ wanted)
        factor = self._factored()
        if factor is not None:
            self.ridge.heads.copy_(torch.cholesky_solve(self.moment, factor).mul_(self._amplitude * self.sharpness))

    def exchange(
        self, encoded: Tensor, ages: Tensor, former: tuple[Tensor, Tensor], now: tuple[Tensor, Tensor]
    ) -> None:
        """Lets rows ``[rows, width]`` of the sums have other targets and weights; ``ages`` is how many rows came after each."""
        features = self.ridge.project(encoded).mul_(self._amplitude)
        wanted, was = (
            torch.nn.functional.one_hot(targets, self.moment.shape[2]) * weights.unsqueeze(1)
            for targets, weights in (now, former)
        )
        for head, rate in enumerate(KEPT):
            kept = features.T * rate ** ages.float()
            self.gram[head] += kept * (now[1] - former[1]) @ features
            self.moment[head] += kept @ (wanted - was)
        self._factors = None

    def following(self, unsolved: int, new: int) -> tuple[int, Factors]:
        """What the heads follow ``new`` rows by, where ``unsolved`` ones before these are not in the sums.

        Returns:
            How many of these have their directions already, and the factors; ``NO_FACTORS`` where the heads do not follow.
        """
        known = unsolved
        if self._factors is None or self._followed != unsolved:
            # What follows from the sums and these rows is no state: here it is made again.
            self._factored()
            known = 0
        self._followed = unsolved + new
        return known, self._factors or NO_FACTORS

    @property
    def scales(self) -> tuple[float, float]:
        """How large the random features are, and what solutions are multiplied by to be heads."""
        return self._amplitude, self._amplitude * self.sharpness

    def _factored(self) -> Tensor | None:
        """The Cholesky factor of the sums, ``LLᵀ``; None where there is none, as of numbers that are too large."""
        factor: Tensor
        factor, failed = torch.linalg.cholesky_ex(self._penalised())
        self._followed, self._factors = 0, None
        if failed.any():
            return None
        if self.follows:
            heads, units, _ = factor.shape
            directions = np.empty((heads, MAX_FOLLOWED, units), np.float32), np.empty((heads, MAX_FOLLOWED), np.float32)
            self._factors = (factor.mT.contiguous().numpy(), factor.contiguous().numpy(), *directions)
        return factor

    def recall(self, encoded: Tensor, seen: int) -> None:
        """Sums that have the present heads as their solution, as of ``seen`` rows like those of ``encoded``."""
        features = self.ridge.project(encoded).mul_(self._amplitude)
        self._factors = None
        self.gram.copy_(remembered_sums(features, KEPT, seen))
        self.moment.copy_(self._penalised() @ self.ridge.heads / (self._amplitude * self.sharpness))

    def _penalised(self) -> Tensor:
        gram = self.gram.clone()
        diagonal = gram.diagonal(dim1=1, dim2=2)
        diagonal.add_(self.penalty + self.damping * diagonal.mean(1, keepdim=True))
        return gram

    def add_columns(self, count: int) -> None:
        self.moment = nn.functional.pad(self.moment, (0, count))

    def select(self, columns: Tensor) -> None:
        # Rows that the sums do not have may have gone.
        self._factors = None
        self.moment = self.moment[:, :, columns]

    def load_state_dict(self, state: State) -> None:
        super().load_state_dict(state)
        self._factors = None
