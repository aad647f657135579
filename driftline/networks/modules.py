"""Modules that torch does not have."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class ClampedEmbedding(nn.Embedding):
    """An embedding whose last vector stands for every integer that has none of its own."""

    def forward(self, input: Tensor) -> Tensor:
        last = self.num_embeddings - 1
        has_its_own = (input >= 0) & (input < last)
        return super().forward(torch.where(has_its_own, input, last).long())


class AddChannel(nn.Module):
    """``[batch, height, width]`` → ``[batch, 1, height, width]``."""

    def forward(self, input: Tensor) -> Tensor:
        return input.unsqueeze(1)


class Blended(nn.Module):
    """A function that becomes another in ``steps`` updates: (1 − t)·old + t·new, with t from 0 to 1 (training counts)."""

    count: Tensor

    def __init__(self, old: nn.Module, new: nn.Module, steps: int) -> None:
        super().__init__()
        self.steps = steps
        self.old = old
        self.new = new
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def forward(self, input: Tensor) -> Tensor:
        share = (self.count / self.steps).clamp(max=1)
        if self.training:
            self.count += 1
        return torch.lerp(self.old(input), self.new(input), share)


class Branched(nn.Module):
    """A network beside others on the same rows: their outputs, flattened, one after the other."""

    def __init__(self, main: nn.Module, branches: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.main = main
        self.branch_names = list(branches)
        for name, branch in branches.items():
            self.add_module(name, branch)

    def forward(self, *rows: Tensor, **named: Tensor) -> Tensor:
        own = joined(named) if named else rows[0]
        branches = [self.get_submodule(name)(own) for name in self.branch_names]
        return torch.cat([flat(part) for part in (self.main(*rows, **named), *branches)], 1)


def flat(output: Tensor) -> Tensor:
    """``[batch, …]`` → ``[batch, numbers]``."""
    return output.flatten(1) if output.dim() > 1 else output.unsqueeze(1)


def joined(inputs: Mapping[str, Tensor]) -> Tensor:
    """A single input as it is; several, flattened, one after the other."""
    if len(inputs) == 1:
        return next(iter(inputs.values()))
    return torch.cat([value.reshape(len(value), -1).float() for value in inputs.values()], dim=1)


class RunningScale(nn.Module):
    """Z-scores by a running mean and deviation, clipped: inputs of any unit reach the network in one.

    One mean an element for rows of rank 1, one in all for rank 2, one a channel for rank 3 and more. It moves only in
    :meth:`observe`, and after ``cap`` rows as an exponential average, so that it keeps following. Before the first row it
    changes nothing.

    Args:
        shape: of a row, without the batch.
        cap: the rows over which the average goes.
        limit: where z-scores are clipped.
        settled_rows: the rows after which an outlier counts as one that is ``farthest`` deviations away.
    """

    mean: Tensor
    variance: Tensor
    inverse: Tensor
    count: Tensor
    limit: Tensor

    def __init__(
        self,
        shape: tuple[int, ...],
        cap: float = 5000.0,
        limit: float = 10.0,
        *,
        settled_rows: int = 100,
        farthest: float = 50.0,
    ) -> None:
        super().__init__()
        self.cap = cap
        self.settled_rows = settled_rows
        self.farthest = farthest
        kept = {0: (), 1: shape, 2: (1, 1)}.get(len(shape), (*shape[:1], *(1 for _ in shape[1:])))
        self.reduced = tuple(axis for axis in range(len(shape) + 1) if axis == 0 or kept[axis - 1] != shape[axis - 1])
        self.register_buffer("mean", torch.zeros(kept))
        self.register_buffer("variance", torch.ones(kept))
        self.register_buffer("inverse", torch.ones(kept))
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))
        self.register_buffer("limit", torch.tensor(limit))

    def forward(self, input: Tensor) -> Tensor:
        """``[batch, *shape]`` → the same, scaled."""
        return ((input - self.mean) * self.inverse).clamp_(-self.limit, self.limit)

    @property
    def is_fixed(self) -> bool:
        """Whether it never moves, as for weights that were trained elsewhere on inputs as they are."""
        return bool(self.count < 0)

    def fix(self) -> None:
        """Lets inputs through as they are, for good."""
        self.count.fill_(-1)
        self.limit.fill_(float("inf"))

    @torch.no_grad()
    def observe(self, input: Tensor) -> None:
        """Takes rows ``[batch, *shape]`` into the mean and the variance (Chan et al. 1979, in float64)."""
        rows = len(input)
        if self.is_fixed or not rows:
            return
        before = min(float(self.count), self.cap)
        wide = self._without_outliers(input.double(), before)
        # Two passes take a fraction of the time of torch's var_mean.
        mean = wide.mean(self.reduced).reshape(self.mean.shape)
        variance = (wide - mean).square_().mean(self.reduced).reshape(self.mean.shape)
        share = rows / (before + rows)
        delta = mean - self.mean
        merged = torch.lerp(self.variance.double(), variance, share)
        merged.addcmul_(delta, delta, value=share * (1 - share))
        self.mean.add_(delta, alpha=share)
        self.variance.copy_(merged.clamp(max=torch.finfo(self.variance.dtype).max))
        # A constant feature has only rounding noise around its mean: it must not be blown up.
        floor = self.mean.double().mul_(1e-6).square_().add_(1e-12)
        self.inverse.copy_(merged.add_(floor).rsqrt_())
        self.count.fill_(min(before + rows, self.cap))

    def _without_outliers(self, rows: Tensor, seen: float) -> Tensor:
        """A number that is absurdly far away counts as a far one: it must not hide all that comes after it.

        Where numbers really are larger from now on, the deviation grows by a factor with every few rows, and lets them in.
        """
        if seen < self.settled_rows:
            return rows
        far = self.variance.double().sqrt_().mul_(self.farthest)
        far.masked_fill_(far == 0, torch.inf)
        return rows.clamp(self.mean - far, self.mean + far)

    def restore(self, scaled: Tensor) -> Tensor:
        """The inverse of :meth:`forward`, without the clipping."""
        return scaled / self.inverse + self.mean
