"""Recursive least squares with forgetting, from sums."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from driftline.learning.stateful import Stateful
from driftline.networks.experts.linear import LinearHeads
from driftline.networks.kernels.views import BufferViews, array_of


class LeastSquares(Stateful):
    """Sums of ``φφᵀ`` and ``φyᵀ``, from which linear heads are solved: exactly, and as fresh as the sums.

    Sums, and not an inverse that is updated, since these can be brought into another unit exactly, and a penalty holds in them
    that is not forgotten.

    Args:
        penalty: what is added to the diagonal of ``φφᵀ``, but for the constant: so many rows count nothing.
        damping: a further penalty, as a share of the mean square that has been seen: keeps rounding from failing on millions of
            rows.
    """

    STATE = ("gram", "moment", "penalty")
    DERIVED = ("linear", "damping", "_kept", "_views")

    def __init__(self, linear: LinearHeads, *, penalty: float, damping: float = 0.0) -> None:
        self.linear = linear
        self.penalty = torch.full((len(linear.kept), 1), penalty, dtype=linear.heads.dtype)
        self.damping = damping
        heads, features, outputs = linear.heads.shape
        self.gram = torch.zeros(heads, features, features, dtype=linear.heads.dtype)
        self.moment = torch.zeros(heads, features, outputs, dtype=linear.heads.dtype)
        self._kept = torch.tensor(linear.kept, dtype=linear.heads.dtype).view(-1, 1, 1)

        self._views: BufferViews[list[NDArray[Any]]] = BufferViews()

    def arrays(self) -> tuple[Any, ...]:
        """The sums of float64, and the heads, as kernels take them: small ones are taken in and solved there at every label."""
        tensors = (self._kept, self.gram, self.moment, self.penalty, self.linear.heads)
        kept, gram, moment, penalty, heads = self._views.of(tensors, lambda: [array_of(each) for each in tensors])
        return kept.reshape(-1), gram, moment, penalty, self.damping, heads

    def forget(self) -> None:
        """Begins again."""
        self.gram.zero_()
        self.moment.zero_()

    def recall(self, features: Tensor, seen: int) -> None:
        """Sums that have the present heads as their solution, as of ``seen`` rows like these ``[rows, features]``."""
        self.gram.copy_(remembered_sums(features, self.linear.kept, seen))
        self.moment = self._penalised() @ self.linear.heads

    def continue_from(self, former: LeastSquares, places: Tensor) -> None:
        """Goes on with the sums of fewer features, which stand at ``places`` now: of the others nothing was seen."""
        for own in (self.gram, self.moment):
            own.zero_()
        self.gram[:, places.unsqueeze(1), places] = former.gram
        self.moment[:, places] = former.moment
        self.penalty = former.penalty.clone()

    def add(self, features: Tensor, targets: Tensor, weights: Tensor) -> None:
        """Takes rows in, in their order: ``[rows, features]``, ``[rows, outputs]``, ``[rows]``."""
        rows = len(features)
        ages = torch.arange(rows - 1, -1, -1, dtype=self._kept.dtype)
        shares = self._kept.pow(ages) * weights.to(self._kept.dtype)
        weighted = features.T * shares
        kept = self._kept**rows
        self.gram.mul_(kept).add_(torch.matmul(weighted, features))
        self.moment.mul_(kept).add_(torch.matmul(weighted, targets.to(self.moment.dtype)))

    def exchange(
        self, features: Tensor, ages: Tensor, former: tuple[Tensor, Tensor], now: tuple[Tensor, Tensor]
    ) -> None:
        """Lets rows ``[rows, features]`` of the sums have other targets ``[rows, outputs]`` and weights ``[rows]``.

        ``ages`` is how many rows came after each.
        """
        dtype = self.moment.dtype
        features, shares = features.to(dtype), self._kept.pow(ages.to(dtype))
        weights, before = now[1].to(dtype), former[1].to(dtype)
        difference = now[0].to(dtype) * weights.unsqueeze(1) - former[0].to(dtype) * before.unsqueeze(1)
        self.gram.add_(torch.matmul(features.T * (shares * (weights - before)), features))
        self.moment.add_(torch.matmul(features.T * shares, difference))

    def solve(self) -> None:
        """Sets the heads. They stay where the sums are not fit for it, and are no numbers where the sums are none."""
        factor, failed = torch.linalg.cholesky_ex(self._penalised())
        if not failed.any():
            self.linear.heads.copy_(torch.cholesky_solve(self.moment, factor))
        elif not self.gram.isfinite().all():
            self.linear.heads.fill_(torch.nan)

    def _penalised(self) -> Tensor:
        gram = self.gram.clone()
        diagonal = gram.diagonal(dim1=1, dim2=2)
        if self.damping:
            diagonal.add_(self.damping * diagonal.mean(1, keepdim=True))
        diagonal[:, :-1].add_(self.penalty)
        # Alone it must not stand on nothing.
        diagonal[:, -1].add_(1e-6)
        return gram

    def change_features(self, change: Tensor) -> None:
        """Goes on with features ``change @ φ``."""
        self.gram = change @ self.gram @ change.T
        self.moment = change @ self.moment

    def rescale_features(self, factor: Tensor, offset: Tensor) -> None:
        """Goes on with the first features as ``factor * φ + offset``, each ``[some]``; the last one is a constant."""
        some = len(factor)
        change = torch.eye(self.gram.shape[1], dtype=self.gram.dtype)
        change.diagonal()[:some] = factor
        change[:some, -1] = offset
        self.change_features(change)

    def change_targets(self, factor: Tensor, offset: Tensor) -> None:
        """Goes on with targets ``factor * y + offset``, each ``[outputs]``, as do the heads, until they are solved again.

        The last feature is a constant.
        """
        constant, heads = self.gram[:, :, -1:], self.linear.heads
        factor, offset = factor.to(heads.dtype), offset.to(heads.dtype)
        self.moment = self.moment * factor + constant * offset
        heads.mul_(factor)[:, -1].add_(offset)


def remembered_sums(features: Tensor, kept: Sequence[float], seen: int) -> Tensor:
    """Sums of ``φφᵀ`` ``[heads, features, features]`` as of ``seen`` rows like these ``[rows, features]``.

    Each head has forgotten all but the share that it has ``kept`` per row.
    """
    remembered = [min(seen, 1 / (1 - share)) if share < 1 else seen for share in kept]
    sums = features.T @ features
    return torch.stack([sums * (rows / max(len(features), 1)) for rows in remembered])
