"""How the members learn that foresee the difference to the last label."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from driftline.learning.stateful import Stateful
from driftline.learning.training.experts.least_squares import LeastSquares
from driftline.networks.experts.regression import RegressionMixture
from driftline.networks.kernels.levels import LAGS
from driftline.networks.kernels.values import learn_differences
from driftline.networks.kernels.views import array_of, rows_of


class Scored(NamedTuple):
    """Labels that have come, with what had been answered: rows, traces, labels ``[rows, outputs]`` and weights."""

    rows: Tensor
    traces: Tensor
    targets: Tensor
    weights: Tensor

    def take(self, chosen: Tensor) -> Scored:
        """The chosen rows, by a mask."""
        return self if bool(chosen.all()) else Scored(*(value[chosen] for value in self))


class Autoregression(Stateful):
    """Least squares on rows and the labels that were the last known when these were answered, as traces tell."""

    STATE = ("sums",)
    DERIVED = ("mixture",)

    def __init__(self, mixture: RegressionMixture) -> None:
        assert mixture.autoregressive is not None
        self.mixture = mixture
        self.sums = LeastSquares(mixture.autoregressive, penalty=1.0)

    def recall(self, seen: int) -> None:
        """Sums of which no row is kept: as if their features were independent."""
        size = self.sums.gram.shape[1]
        self.sums.recall(torch.eye(size, dtype=torch.float64), seen * size)

    @torch.no_grad()
    def learn(self, scored: Scored, errors: Tensor, has_errors: bool, robust: float) -> None:
        """Takes labels in, at the end of their step.

        Args:
            errors: the members' running errors ``[outputs, fadings, members]``, if there are any yet (``has_errors``).
            robust: so many of them a label counts for at most: one jump of the level is no rule for the next ones.
        """
        mixture = self.mixture
        given = (array_of(scored.traces), array_of(scored.targets), array_of(scored.weights), mixture.members)
        frame = mixture.encoding.arrays(), mixture.target_unit.arrays(), self.sums.arrays()
        rows = rows_of(scored.rows.reshape(len(scored.rows), mixture.features))
        learn_differences(rows, *given, *frame, array_of(errors), has_errors, robust)

    def change_target(self, factor: Tensor, offset: Tensor, is_near: bool) -> None:
        """Brings the sums, in which labels are features as well, into another unit of the target.

        Args:
            is_near: whether what was learned before is worth it; else they begin again.
        """
        if not is_near:
            self._begin_again()
            return
        features = self.mixture.features
        change = torch.eye(self.sums.gram.shape[1], dtype=torch.float64)
        change.diagonal()[features:-1] = factor.repeat(LAGS)
        change[features : features + len(factor), -1] = offset
        self.sums.change_features(change)
        self.sums.moment.mul_(factor)
        self.sums.solve()

    def change_inputs(self, factor: Tensor, offset: Tensor, is_near: bool) -> None:
        """Brings the sums to other z-scores: ``factor * former + offset``, each ``[features]``."""
        if not is_near:
            self._begin_again()
            return
        self.sums.rescale_features(factor, offset)
        self.sums.solve()

    def _begin_again(self) -> None:
        self.sums.forget()
        self.sums.linear.heads.zero_()
