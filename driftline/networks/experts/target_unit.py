"""The unit in which members learn numbers, and how far answers go."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from driftline.networks.kernels.levels import believe
from driftline.networks.kernels.views import Viewed, array_of
from driftline.networks.robust import Floats, RobustSample

STRETCH = 0.5
"""By what share of the range of labels answers may leave it, at either end."""
NEWEST = 16
"""So many of the newest labels tell of a range of their own: what has only now come is not far from all else."""
SETTLING = 128
"""Labels until which the unit follows them closely."""
CLOSE, LOOSE = 1.25, 1.6
"""By what factor the deviation of labels may differ from the unit, before and after that."""
BROKEN = 16
"""One label in so many may be a broken one. What comes more often is foreseen like others, however far it is from these."""
SHARE = 1e-6
"""Of a constant target the unit is this share of it."""
SMALLEST = 1e-30
LARGEST = float(torch.finfo(torch.float32).max)


class TargetUnit(Viewed):
    """Centre and scale of the targets, and the range ``low`` to ``high`` of answers; each float64 ``[outputs]``.

    Centre and scale stand still while they fit: what members have learned in them holds for long, and is brought into the
    next ones exactly. A few broken labels move neither these nor the range
    (:class:`driftline.networks.robust.RobustSample`). Before the first label any answer is in the range.
    """

    centre: Tensor
    scale: Tensor
    low: Tensor
    high: Tensor

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(outputs, dtype=torch.float64))
        self.register_buffer("scale", torch.ones(outputs, dtype=torch.float64))
        self.register_buffer("low", torch.full((outputs,), -LARGEST, dtype=torch.float64))
        self.register_buffer("high", torch.full((outputs,), LARGEST, dtype=torch.float64))

    def scaled(self, targets: Tensor) -> Tensor:
        """Targets ``[..., outputs]`` in this unit; what is out of range counts as its end."""
        return (self.clamped(targets.double()) - self.centre) / self.scale

    def restored(self, values: Tensor) -> Tensor:
        """The inverse of :meth:`scaled`, float64."""
        return values.double() * self.scale + self.centre

    def clamped(self, values: Tensor) -> Tensor:
        """Values ``[..., outputs]`` within the range."""
        return values.clamp(self.low, self.high)

    def believed(self, labels: Tensor) -> Tensor:
        """Labels ``[..., outputs]`` as what is told by them alone takes them; only what is absurd is brought nearer."""
        _, _, low, high = self.arrays()
        flat = array_of(labels.double().reshape(-1, len(low)).contiguous())
        return torch.from_numpy(believe(flat, low, high)).reshape(labels.shape)

    def _viewed(self) -> tuple[Floats, Floats, Floats, Floats]:
        """Centre, scale and range, as kernels take them."""
        return array_of(self.centre), array_of(self.scale), array_of(self.low), array_of(self.high)

    @torch.no_grad()
    def follow_range(self, newest: Tensor, window: Tensor | None = None) -> None:
        """Lets the range follow the labels: at once where it widens, and otherwise where the ``window`` is given.

        Args:
            newest: ``[rows, outputs]``, the last labels.
            window: ``[rows, outputs]``, all that are kept.
        """
        if window is None and self._holds(array_of(newest[-NEWEST:])):
            return
        low, high = _range(newest[-NEWEST:])
        if window is not None:
            lowest, highest = _range(window)
            low, high = np.minimum(low, lowest), np.maximum(high, highest)
        reach = STRETCH * (high - low)
        low, high = low - reach, high + reach
        if window is None:
            low, high = np.minimum(low, self.low.numpy()), np.maximum(high, self.high.numpy())
        self.low.copy_(torch.from_numpy(low))
        self.high.copy_(torch.from_numpy(high))

    def _holds(self, labels: NDArray[np.float32]) -> bool:
        """Whether the range need not widen for labels ``[rows, outputs]``, even if none of them were left out."""
        low, high = (of(labels, axis=0).astype(np.float64) for of in (np.min, np.max))
        reach = STRETCH * (high - low)
        return bool((low - reach >= self.low.numpy()).all() and (high + reach <= self.high.numpy()).all())

    @torch.no_grad()
    def follow(self, window: Tensor, is_settled: bool) -> tuple[Tensor, Tensor] | None:
        """Takes another unit where the present one does not fit the labels ``[rows, outputs]`` any more.

        Returns:
            ``(factor, offset)``, each ``[outputs]``: a former value in the new unit is ``factor * value + offset``. None where
            the unit stays.
        """
        mean, variance = RobustSample.of(window.double().numpy().T, BROKEN).moments()
        deviation = np.sqrt(variance)
        deviation = np.where(deviation > 0, deviation, np.maximum(np.abs(mean) * SHARE, SMALLEST))
        centre, scale = self.centre.numpy(), self.scale.numpy()
        most, farthest = (LOOSE, 1.0) if is_settled else (CLOSE, 0.25)
        ratio = deviation / scale
        has_changed = (ratio > most) | (ratio < 1 / most) | (np.abs(mean - centre) > farthest * scale)
        if not has_changed.any():
            return None
        mean, deviation = np.where(has_changed, mean, centre), np.where(has_changed, deviation, scale)
        factor, offset = torch.from_numpy(scale / deviation), torch.from_numpy((centre - mean) / deviation)
        self.centre.copy_(torch.from_numpy(mean))
        self.scale.copy_(torch.from_numpy(deviation))
        return factor, offset


def _range(labels: Tensor) -> tuple[Floats, Floats]:
    """The least and the largest of labels ``[rows, outputs]`` that are not far from all others."""
    sample = RobustSample.of(labels.double().numpy().T, BROKEN)
    low, high = (_at(sample.ordered, places) for places in (sample.first, sample.last))
    return low, high


def _at(ordered: Floats, places: NDArray[np.int64]) -> Floats:
    found: Floats = np.take_along_axis(ordered, places[:, None], 1)[:, 0]
    return found
