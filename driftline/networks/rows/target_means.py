"""How the target was, of late, with each of many values."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from driftline.networks.kernels.rows import follow


class TargetMeans(nn.Module):
    """Running means of the target, one for each of some entries, held to the mean of all (Micci-Barreca 2001).

    They are *ordered* (Prokhorenkova et al. 2018, "CatBoost"): whoever learns a row with them asks before the row's own label
    is taken in, or they would tell it.

    Args:
        entries: how many there are.
        targets: numbers of a target.
        is_share: whether these are between 0 and 1, as those of classes are.
        strength: how many labels the mean of all counts for.
        memory: over how many of its labels an entry goes.
    """

    counts: Tensor
    means: Tensor
    prior: Tensor

    def __init__(
        self, entries: int, targets: int, is_share: bool, *, strength: float = 4.0, memory: float = 1000.0
    ) -> None:
        super().__init__()
        # Kernels compute in float32.
        self.is_share, self.strength, self.memory = is_share, np.float32(strength), np.float32(memory)
        self.register_buffer("counts", torch.zeros(entries))
        self.register_buffer("means", torch.zeros(entries, targets))
        # The mean of all labels, and how many they were.
        self.register_buffer("prior", torch.zeros(targets + 1))

    @property
    def arrays(self) -> tuple[NDArray[np.float32], ...]:
        """What kernels take of them."""
        return self.counts.numpy(), self.means.numpy(), self.prior.numpy()

    def observe(self, entries: NDArray[np.int64], targets: NDArray[np.float32], weights: NDArray[np.float32]) -> None:
        """Takes labels in: of each, its entry, its target ``[labels, targets]`` and how much it counts."""
        follow(entries, targets, weights, self.counts.numpy(), self.means.numpy(), self.memory)

    def observe_all(self, targets: NDArray[np.float32], weights: NDArray[np.float32]) -> None:
        """Takes labels into the mean of all."""
        prior, weight = self.prior.numpy(), float(weights.sum())
        if weight > 0:
            prior[-1] = min(prior[-1] + weight, self.memory)
            prior[:-1] += min(weight / float(prior[-1]), 1.0) * (
                (weights[:, None] * targets).sum(0) / weight - prior[:-1]
            )


def folded(labels: NDArray[np.float32], targets: int) -> NDArray[np.float32]:
    """Which of several classes rows are of ``[rows, classes]``, as so many targets: class ``c`` counts for ``c % targets``.

    >>> folded(np.array([[0, 1, 0, 0, 1]], np.float32), 3).tolist()
    [[0.0, 1.0, 0.0]]
    """
    missing = -labels.shape[1] % targets
    found: NDArray[np.float32] = np.pad(labels, ((0, 0), (0, missing))).reshape(len(labels), -1, targets).max(1)
    return found
