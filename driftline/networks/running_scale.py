"""The running scale: inputs and targets of any unit reach a network in one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from driftline.networks.robust import FARTHEST, FEW, NOISE, Floats, Indices, RobustSample, deviation
from driftline.networks.unit_change import UnitChange, power_of_ten, unit_change

LIMIT = 5.0
"""Where z-scores are clipped."""
SAMPLE = 128
"""The newest rows that are kept, where a row has one number for a mean."""
LARGE_SAMPLE, NUMBERS_OF_ROW = 2048, 32
"""The newest numbers that are kept for a mean over many numbers of a row, and how many of each row."""
MAX_KEPT, MIN_SAMPLE = 2**14, 32
STEP = 7
"""By how many places the numbers that are taken of a row move on with each row."""
LOOK = 16
"""Rows between two looks at whether the scale still fits."""
PATIENCE = 4
"""So many samples, one after the other, tell that numbers are closer together, or spread wider, than they were."""
WIDER, FLATTER = 3.0, 30.0
"""By how much, in deviations."""
NEARLY_ALL = 0.9
"""Where such a share of the newest quarter of a sample is far away, all that comes is of another scale."""
TRUSTED, LEAST_TRUST = 50.0, 1e-6
"""In deviations: what is set in one row of 2,500 is still trusted. And what is left to a row that is not."""
FORMER = frozenset({"mean", "variance", "inverse", "count", "limit"})
"""The state of a scale of release 0.2 or before."""


class RunningScale(nn.Module):
    """Z-scores by a running mean and deviation, clipped: inputs of any unit reach the network in one.

    One mean an element for rows of rank 1, one in all for rank 2, one a channel for rank 3 and more. It moves only in
    :meth:`observe`. Before the first row it changes nothing.

    A few broken numbers, whichever they are and wherever they come, do not move it. Until the sample of the newest rows is
    full, mean and variance are those of the sample, robustly (:class:`driftline.networks.robust.RobustSample`): what counted
    for too much in the first rows does not after the next. From then on they are exponential averages, in which a number
    that is farther than ``FARTHEST`` deviations away does not count at all. The sample then tells a few broken numbers from
    another unit: a mean begins again from the newest quarter of its sample when nearly all of that is so far away and may have
    been multiplied by a power of ten; from the newer half when most of the sample is, or when it is ``FLATTER`` or, with more
    than a few numbers far away, ``WIDER``, ``PATIENCE`` times in a row. What may be a power of ten is taken for exactly that.
    What was taken for another unit and was a burst of broken rows is taken back as soon as ``LOOK`` rows are as before it.

    Args:
        shape: of a row, without the batch.
        cap: the rows over which the averages go.
        limit: where z-scores are clipped.
    """

    mean: Tensor
    variance: Tensor
    centre: Tensor
    inverse: Tensor
    count: Tensor
    limit: Tensor
    seen: Tensor
    sample: Tensor
    misfits: Tensor
    before: Tensor

    def __init__(self, shape: tuple[int, ...], cap: float = 5000.0, limit: float = LIMIT) -> None:
        super().__init__()
        self.cap = cap
        kept = {0: (), 1: shape, 2: (1, 1)}.get(len(shape), (*shape[:1], *(1 for _ in shape[1:])))
        self._means = torch.Size(kept).numel()
        self._per_row = torch.Size(shape).numel() // max(self._means, 1)
        most = SAMPLE if self._per_row == 1 else LARGE_SAMPLE
        size = max(MIN_SAMPLE, min(most, MAX_KEPT // max(self._means, 1)))
        self._of_row = min(self._per_row, NUMBERS_OF_ROW, size // MIN_SAMPLE)
        self._rows = size // self._of_row
        self.register_buffer("mean", torch.zeros(kept, dtype=torch.float64))
        self.register_buffer("variance", torch.ones(kept, dtype=torch.float64))
        self.register_buffer("centre", torch.zeros(kept))
        self.register_buffer("inverse", torch.ones(kept))
        self.register_buffer("count", torch.zeros(kept, dtype=torch.float64))
        self.register_buffer("limit", torch.tensor(limit))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))
        self.register_buffer("sample", torch.zeros(self._means, self._rows * self._of_row, dtype=torch.float64))
        self.register_buffer("misfits", torch.zeros(self._means, dtype=torch.int64))
        # Mean, variance and count before the last change, and the rows until which it may be taken back.
        self.register_buffer("before", torch.zeros(4, self._means, dtype=torch.float64))

    def forward(self, input: Tensor) -> Tensor:
        """``[batch, *shape]`` → the same, scaled."""
        held: Any = self._buffers  # To find them as attributes takes as long as what is done with them.
        return ((input - held["centre"]) * held["inverse"]).clamp_(-held["limit"], held["limit"])  # type: ignore[no-any-return]

    def trust(self, input: Tensor) -> Tensor:
        """How much each row ``[batch, *shape]`` may teach ``[batch]``.

        All that it can, up to ``TRUSTED`` deviations. Beyond, a number is broken or in a unit that is not known yet: the row
        counts as the inverse square of it (weights as of Mallows 1975, "On some topics in robustness"). Of a feature that has
        been constant nothing is far: a flag that is set at last has much to teach.
        """
        varies = self.variance > (NOISE * torch.finfo(input.dtype).eps * self.mean).square_()
        distances = ((input - self.centre) * self.inverse).abs_().masked_fill_(~varies, 0.0)
        return (TRUSTED / distances.flatten(1).amax(1)).square_().clamp_(LEAST_TRUST, 1.0)

    def restore(self, scaled: Tensor) -> Tensor:
        """The inverse of :meth:`forward`, without the clipping."""
        return scaled / self.inverse + self.centre

    @property
    def is_fixed(self) -> bool:
        """Whether it never moves, as for weights that were trained elsewhere on inputs as they are."""
        return int(self.seen) < 0

    def fix(self) -> None:
        """Lets inputs through as they are, for good."""
        self.seen.fill_(-1)
        self.limit.fill_(float("inf"))

    @torch.no_grad()
    def observe(self, input: Tensor) -> UnitChange | None:
        """Lets the scale follow rows ``[batch, *shape]``; gives what has come into another unit, if anything has."""
        seen = int(self.seen)
        if seen < 0 or not len(input):
            return None
        rounding = torch.finfo(input.dtype).eps
        # A small array takes numpy a fraction of the time that it takes torch.
        numbers = input.detach().double().reshape(len(input), self._means, self._per_row).numpy()
        if not math.isfinite(numbers.sum()):
            # Nobody lets such rows in; should one come, the loss tells, and the step is taken back.
            self.centre.fill_(math.nan)
            return None
        room = max(0, self._rows - seen)
        change = None
        if room:
            self._begin(numbers[:room], seen)
        if room < len(numbers):
            change = self._follow(numbers[room:], seen + room, rounding)
        self.seen.fill_(seen + len(numbers))
        mean, variance, _ = self._moments()
        self.centre.copy_(self.mean)
        self.inverse.view(-1).copy_(torch.from_numpy(1 / deviation(mean, variance, rounding)))
        return change

    def _begin(self, numbers: Floats, seen: int) -> None:
        """Takes rows in while the sample has room for all that have come."""
        self._keep(numbers, seen)
        rows = seen + len(numbers)
        mean, variance, count = self._moments()
        mean[:], variance[:] = RobustSample.of(self.sample.numpy()[:, : rows * self._of_row]).moments()
        count[:] = rows

    def _follow(self, numbers: Floats, seen: int, rounding: float) -> UnitChange | None:
        """Takes rows into the averages, and looks now and then whether these still fit."""
        self._keep(numbers, seen)
        mean, variance, count = self._moments()
        distances = numbers - mean[:, None]
        is_near = np.abs(distances) <= FARTHEST * deviation(mean, variance, rounding)[:, None]
        distances = np.where(is_near, distances, 0.0)
        total = count + is_near.sum((0, 2)) / self._per_row
        shift = distances.sum((0, 2)) / (total * self._per_row)
        squares = np.square(distances).sum((0, 2)) / self._per_row
        variance[:] = np.maximum((variance * count + squares) / total - np.square(shift), 0)
        mean += shift
        count[:] = np.minimum(total, self.cap)
        after = seen + len(numbers)
        if seen // LOOK == after // LOOK:
            return None
        return self._look(after, rounding, is_new_sample=seen // self._rows != after // self._rows)

    def _look(self, seen: int, rounding: float, is_new_sample: bool) -> UnitChange | None:
        """Begins again where the sample is of another scale."""
        sample, misfits = self.sample.numpy(), self.misfits.numpy()
        mean, variance, _ = self._moments()
        known = deviation(mean, variance, rounding)
        is_far = np.abs(sample - mean[:, None]) > FARTHEST * known[:, None]
        far, half = is_far.sum(1), np.arange(seen - self._rows // 2, seen)
        has_left = 2 * far > sample.shape[1]
        is_flat = np.zeros(len(far), np.bool_)
        if is_new_sample:
            is_flat = self._count_misfits(far, known) & ~has_left
            has_left |= misfits >= PATIENCE
        is_back = self._are_back(half[-LOOK:], known, seen, rounding)
        has_left &= ~is_back
        # The sooner it is known the less is answered from clipped rows; of few rows, only a power of ten is clear.
        newest = half[-max(LOOK, len(half) // 2) :]
        is_new = (is_far[:, self._slots(newest)].mean(1) > NEARLY_ALL) & ~is_flat & ~is_back
        former = np.stack(self._moments())
        is_new &= self._begin_again(is_new, newest, rounding, has_any=False)
        self._begin_again(has_left & ~is_new, half, rounding)
        has_left |= is_new | is_back
        if not has_left.any():
            return None
        before = self.before.numpy()
        for moments, own in zip(self._moments(), before, strict=False):
            moments[is_back] = own[is_back]
        before[:3, has_left], before[3, has_left] = former[:, has_left], seen + self._rows
        before[3, is_back] = 0
        misfits[has_left] = 0
        change = unit_change(former[0], known, mean, deviation(mean, variance, rounding), has_left, is_flat | is_back)
        self.sample.copy_(change.carried(self.sample.T).T)
        return change

    def _are_back(self, newest: Indices, known: Floats, seen: int, rounding: float) -> NDArray[np.bool_]:
        """Which means have begun again from a burst of broken rows, so that what comes now is as before it."""
        mean, variance, _, until = self.before.numpy()
        found: NDArray[np.bool_] = seen < until
        if found.any():
            former = deviation(mean, variance, rounding)
            distances = np.abs(self.sample.numpy()[:, self._slots(newest)] - mean[:, None])
            found &= (distances <= FARTHEST * former[:, None]).mean(1) > NEARLY_ALL
            found &= former * FLATTER < known
        return found

    def _begin_again(
        self, is_one: NDArray[np.bool_], rows: Indices, rounding: float, has_any: bool = True
    ) -> NDArray[np.bool_]:
        """Lets some means begin again from rows of the sample: all of them, or those whose change was a power of ten."""
        which = is_one.nonzero()[0]
        if not len(which):
            return is_one
        mean, variance, count = self._moments()
        found, spread = RobustSample.of(self.sample.numpy()[which][:, self._slots(rows)]).moments()
        known, deviations = deviation(mean[which], variance[which], rounding), deviation(found, spread, rounding)
        powers = power_of_ten(mean[which], known, found, deviations, len(rows))
        is_power = np.isfinite(powers)
        same, others = which[is_power], which[~is_power]
        mean[same] *= powers[is_power]
        variance[same] *= np.square(powers[is_power])
        if has_any:
            mean[others], variance[others], count[others] = found[~is_power], spread[~is_power], len(rows)
        began = is_one.copy()
        began[others] = has_any
        return began

    def _count_misfits(self, far: Indices, known: Floats) -> NDArray[np.bool_]:
        """Counts the samples in a row that were wider or flatter than is known; those that were flat for long enough."""
        sample, misfits = self.sample.numpy(), self.misfits.numpy()
        variance = sample.var(1)
        suspect = ((far > sample.shape[1] // FEW) | (variance * FLATTER**2 < known**2)).nonzero()[0]
        wider, flatter = np.zeros((2, len(known)), np.bool_)
        if len(suspect):
            _, found = RobustSample.of(sample[suspect]).moments()
            wider[suspect] = (far[suspect] > sample.shape[1] // FEW) & (found > (WIDER * known[suspect]) ** 2)
            flatter[suspect] = (found > 0) & (found * FLATTER**2 < known[suspect] ** 2)
        misfits[:] = np.where(wider | flatter, misfits + 1, 0)
        return flatter & (misfits >= PATIENCE)

    def _moments(self) -> tuple[Floats, Floats, Floats]:
        """Mean, variance and count, flat: what is written there is written to the state."""
        mean, variance, count = (value.view(-1).numpy() for value in (self.mean, self.variance, self.count))
        return mean, variance, count

    def _keep(self, numbers: Floats, seen: int) -> None:
        """Puts the newest rows into the sample, in the places of the oldest."""
        newest = numbers[-self._rows :]
        rows = np.arange(seen + len(numbers) - len(newest), seen + len(numbers))
        if self._per_row == 1:
            self.sample.numpy()[:, rows % self._rows] = newest[:, :, 0].T
            return
        # Numbers that are spread over the row, from another place on in each.
        spread = np.arange(self._of_row) * self._per_row // self._of_row
        places = (rows[:, None] * STEP + spread) % self._per_row
        chosen = newest[np.arange(len(newest))[:, None], :, places]
        self.sample.numpy()[:, self._slots(rows)] = chosen.reshape(-1, self._means).T

    def _slots(self, rows: Indices) -> Indices:
        """Where the numbers of rows, by their place in the stream, are kept."""
        slots: Indices = (rows[:, None] % self._rows * self._of_row + np.arange(self._of_row)).reshape(-1)
        return slots

    def fitted(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A state by name in the present layout, from that or from that of a former release. It scales the same.

        Those kept no sample: one of a normal distribution takes its place. They did not clip a target.
        """
        if tensors.keys() != FORMER or tensors["mean"].shape != self.mean.shape:
            return {"before": torch.zeros_like(self.before), **tensors} if tensors else {}
        return _of_release_0_2(tensors, self, self._rows, self._of_row)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *arguments: Any) -> None:
        """Takes a state of the present layout, or of that of a former release."""
        own = {name.removeprefix(prefix): value for name, value in state_dict.items() if name.startswith(prefix)}
        state_dict.update({prefix + name: value for name, value in self.fitted(own).items()})
        super()._load_from_state_dict(state_dict, prefix, *arguments)


def _of_release_0_2(tensors: Mapping[str, Tensor], scale: RunningScale, rows: int, of_row: int) -> dict[str, Tensor]:
    """The state of a scale of then, in the present layout of one like it, which keeps so many numbers of so many rows."""
    seen, mean, variance = int(tensors["count"]), tensors["mean"].double(), tensors["variance"].double()
    filled = max(0, min(seen, rows)) * of_row
    normal = torch.special.ndtri((torch.arange(filled, dtype=torch.float64) + 0.5) / max(filled, 1))
    sample = torch.zeros_like(scale.sample)
    sample[:, :filled] = mean.view(-1, 1) + variance.sqrt().view(-1, 1) * normal
    return {
        "mean": mean,
        "variance": variance,
        "centre": tensors["mean"],
        "inverse": tensors["inverse"],
        "count": torch.full_like(scale.count, max(seen, 0)),
        "limit": tensors["limit"] if seen < 0 or tensors["limit"].isfinite() else scale.limit.clone(),
        "seen": torch.tensor(seen),
        "sample": sample,
        "misfits": torch.zeros_like(scale.misfits),
        "before": torch.zeros_like(scale.before),
    }


def with_scales(module: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A module's tensors by name, those of its running scales in the present layout."""
    found = dict(tensors)
    for path, scale in module.named_modules():
        if isinstance(scale, RunningScale):
            prefix = f"{path}."
            own = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
            found.update({prefix + name: value for name, value in scale.fitted(own).items()})
    return found
