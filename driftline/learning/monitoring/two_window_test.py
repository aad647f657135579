"""Whether rows are distributed as those before them: a Kolmogorov-Smirnov test of two windows, feature by feature."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from driftline.learning.monitoring.waiting_rows import WaitingRows
from driftline.learning.stateful import State, Stateful, part
from driftline.spec.parts.detectors import InputDetector

EDGES = 15
MAX_FEATURES = 1024
AT_ONCE = 32
"""So many rows are written at once: each by itself costs many times what it is."""
MAX_NAMED = 10
CAUTION = 3.0
"""How many times as far a feature that has moved must move next."""
CALM_REFERENCES = 20
"""After so many references without an alarm caution is half of what it was."""
SIDES = (np.less, np.less_equal)
NEAR_LIMIT, FAR_LIMIT = 2.0, 3.5
"""What the autocorrelation of independent rows does not exceed, in standard errors: at the next lag, and at any lag."""


WIDE = (torch.float32, torch.float64, torch.int64)


@dataclass(frozen=True)
class DriftReport:
    """Since which log number rows are distributed otherwise, and the features that tell, the furthest first.

    A feature is ``{"input", "index", "statistic"}``: where it stands (a field has no index), and the distance of its two
    distribution functions.
    """

    since: int
    features: list[dict[str, Any]]

    @property
    def furthest(self) -> str:
        """The features that have moved furthest, in words."""
        return ", ".join(f"{feature['input']}{feature['index'] or ''}" for feature in self.features[:3])

    def __str__(self) -> str:
        return f"what comes in is distributed otherwise since record {self.since}; most in {self.furthest}"


class TwoWindowKS(Stateful):
    """A Kolmogorov-Smirnov test of two windows of rows: a reference, which stays, and the newest.

    :class:`InputDetector` says how they are compared.

    Args:
        caution: how many times the bound a feature must move at first.
    """

    STATE = ("reference", "recent", "unseen", "is_settled", "caution", "cautions")
    DERIVED = ("detector", "_profiles")

    def __init__(self, detector: InputDetector, caution: float = 1.0) -> None:
        self.detector = detector
        self.caution = caution
        self.cautions: dict[str, Tensor] = {}
        """The same of each feature that has been watched when some had moved: those that had must move further."""
        self.reference = _Window(detector.reference)
        self.recent = _Window(detector.recent)
        self.unseen = 0
        self.is_settled = True
        """Whether rows have been as those of the reference since it last began again."""
        self._profiles: dict[str, _Profile] = {}

    def see(self, rows: Mapping[str, Tensor], numbers: Sequence[int]) -> DriftReport | None:
        """Takes rows in, in their order, with their log numbers; what has moved, if something has.

        Where a field has another name now, both windows begin again.
        """
        if len(self.reference) and self.reference.names != rows.keys():
            self.reference, self.recent = _Window(self.detector.reference), _Window(self.detector.recent)
            self._profiles, self.cautions = {}, {}
        room = self.detector.reference - len(self.reference)
        if room:
            self.reference.add({name: value[:room] for name, value in rows.items()}, numbers[:room])
            rows, numbers = {name: value[room:] for name, value in rows.items()}, numbers[room:]
        self.recent.add(rows, numbers)
        self.unseen += len(numbers)
        if 2 * self.unseen < self.detector.recent:
            return None
        calm = 0.5 ** (self.unseen / (CALM_REFERENCES * self.detector.reference))
        self.caution = max(1.0, self.caution * calm)
        self.cautions = {name: (caution * calm).clamp_(min=1) for name, caution in self.cautions.items()}
        self.unseen = 0
        return self._compare()

    @property
    def highest_caution(self) -> float:
        """That of the feature that has moved most often."""
        return max([self.caution, *(float(caution.max()) for caution in self.cautions.values() if caution.numel())])

    def _compare(self) -> DriftReport | None:
        newest = self.recent.ordered()
        self._profiles = self._profiles or {name: _Profile(rows) for name, rows in self.reference.ordered().items()}
        features = sum(profile.width for profile in self._profiles.values())
        bound = _bound(self.detector.alpha / max(1, features), len(self.reference), len(self.recent))
        moved = {
            name: profile.beyond(newest[name], bound * self._caution_of(name))
            for name, profile in self._profiles.items()
        }
        found = [(distance, name, index) for name, each in moved.items() for distance, index in each]
        if not found:
            self.is_settled = True
            return None
        self._take_caution(moved)
        found = sorted(found, key=lambda feature: -feature[0])[:MAX_NAMED]
        _, name, index = found[0]
        since = list(self.recent.numbers)[self._profiles[name].beginning(newest[name], index)]
        features_told = [
            {"input": name, "index": self._profiles[name].place(index), "statistic": round(distance, 4)}
            for distance, name, index in found
        ]
        self._begin_again(since)
        return DriftReport(since, features_told)

    def _caution_of(self, name: str) -> NDArray[np.float32]:
        """``[features]``"""
        known = self.cautions.get(name)
        return np.full(self._profiles[name].width, self.caution, np.float32) if known is None else known.numpy()

    def _take_caution(self, moved: Mapping[str, Sequence[tuple[float, int]]]) -> None:
        """Features that have moved move by nature, as with a season that a reference does not show: they must move further."""
        for name, each in moved.items():
            caution = np.maximum(self._caution_of(name), np.float32(self.caution))
            caution[[index for _, index in each]] *= CAUTION
            self.cautions[name] = torch.from_numpy(caution)

    def _begin_again(self, since: int) -> None:
        rows, numbers = self.recent.ordered(), list(self.recent.numbers)
        first = numbers.index(since)
        self.is_settled = False
        self.recent.clear()
        self.reference.clear()
        self._profiles = {}
        self.reference.add({name: value[first:] for name, value in rows.items()}, numbers[first:])

    def restored(self, name: str, state: State) -> Any:
        # States from before rows could settle, and features were treated with caution, have neither.
        known = {"is_settled": True, "caution": 1.0}
        return state.data.get(name, known[name]) if name in known else super().restored(name, state)


class _Window(Stateful):
    """The newest ``size`` rows, each with its log number, in tensors that are written over in turn, some rows at once."""

    STATE = ("numbers", "rows")
    DERIVED = ("size", "next", "names", "waiting")

    def __init__(self, size: int) -> None:
        self.size = size
        self.rows: dict[str, Tensor] = {}
        self.names: frozenset[str] = frozenset()
        self.numbers: deque[int] = deque(maxlen=size)
        self.waiting = WaitingRows()
        self.next = 0

    def __len__(self) -> int:
        return len(self.numbers)

    def add(self, rows: Mapping[str, Tensor], numbers: Sequence[int]) -> None:
        """Takes rows in; the oldest go."""
        if not len(numbers):
            return
        if not self.numbers:
            self.names = frozenset(rows)
        self.waiting.add(rows, len(numbers))
        self.numbers.extend(numbers)
        if len(self.waiting) >= AT_ONCE:
            self._write_waiting()

    def _write_waiting(self) -> None:
        """Puts rows that have come into the places of the oldest."""
        count, rows = len(self.waiting), self.waiting.taken()
        for start in range(0, count, self.size):
            self._write({name: value[start : start + self.size] for name, value in rows.items()})

    def _write(self, rows: Mapping[str, Tensor]) -> None:
        count = next(iter(rows.values())).size(0)
        if not self.rows:
            self.rows = {name: value.new_zeros((self.size, *value.shape[1:])) for name, value in rows.items()}
        before_end = min(count, self.size - self.next)
        for name, value in rows.items():
            kept = self.rows[name]
            kept[self.next : self.next + before_end] = value[:before_end]
            if before_end < count:
                kept[: count - before_end] = value[before_end:]
        self.next = (self.next + count) % self.size

    def ordered(self) -> dict[str, Tensor]:
        """A copy of the rows, oldest first."""
        self._write_waiting()
        slots = torch.arange(self.next - len(self), self.next) % self.size
        return {name: value[slots] for name, value in self.rows.items()}

    def clear(self) -> None:
        self.numbers.clear()
        self.waiting.clear()

    def packed(self, name: str) -> Any:
        return State(self.ordered(), {}) if name == "rows" else super().packed(name)

    def load_state_dict(self, state: State) -> None:
        self.clear()
        self.add(part(state.tensors, "rows"), state.data["numbers"])


class _Profile:
    """How a window's features ``[rows, *shape]`` are distributed: which share of each lies below, and up to, its quantiles.

    Of more than ``MAX_FEATURES`` features as many are taken, evenly spread.
    """

    def __init__(self, values: Tensor) -> None:
        self.shape = values.shape[1:]
        self.stride = math.ceil(max(1, self.shape.numel()) / MAX_FEATURES)
        flat = self._flat(values)
        ranks = np.arange(1, EDGES + 1) * len(flat) // (EDGES + 1)
        self.edges = np.sort(flat, axis=0)[ranks]
        self.shares = self._shares(flat)
        self.correlation_times = correlation_times(flat)

    @property
    def width(self) -> int:
        return int(self.edges.shape[1])

    def _flat(self, values: Tensor) -> NDArray[Any]:
        flat = values.reshape(len(values), -1)[:, :: self.stride]
        # Numbers of few bits have no room for what is reckoned with them, and numpy has not all of their types.
        return (flat if flat.dtype in WIDE else flat.float()).numpy()

    def _shares(self, flat: NDArray[Any]) -> NDArray[np.float64]:
        """``[edges × sides, features]``."""
        features, edges = np.ascontiguousarray(flat.T)[:, np.newaxis], self.edges.T[:, :, np.newaxis]
        counts = np.stack([np.count_nonzero(side(features, edges), axis=2) for side in SIDES], axis=2)
        return counts.reshape(self.width, -1).T / len(flat)

    def beyond(self, values: Tensor, bounds: NDArray[np.float32]) -> list[tuple[float, int]]:
        """The features whose distribution in ``values`` is further from the window's than its bound for independent rows
        ``[features]`` allows, the furthest first: by how much at most, and which."""
        distances = np.abs(self._shares(self._flat(values)) - self.shares).max(0)
        order = np.argsort(-distances, kind="stable")
        order = order[distances[order] > (bounds * np.sqrt(self.correlation_times))[order]]
        return list(zip(distances[order].tolist(), order.tolist(), strict=True))

    def beginning(self, values: Tensor, feature: int) -> int:
        """The row from which on a feature that has moved is distributed otherwise (a cumulative sum, Page 1954)."""
        flat = self._flat(values)
        row = int(np.abs(self._shares(flat) - self.shares)[:, feature].argmax())
        edge, side = divmod(row, len(SIDES))
        flags = SIDES[side](flat[:, feature], self.edges[edge, feature]).astype(np.float64)
        before, now = float(self.shares[row, feature]), float(flags.mean())
        gains = (flags - (before + now) / 2) * math.copysign(1.0, now - before)
        return int(gains[::-1].cumsum()[::-1].argmax())

    def place(self, feature: int) -> list[int]:
        """Where a feature stands in a row, an index a dimension."""
        return [int(index) for index in np.unravel_index(feature * self.stride, self.shape)]


def correlation_times(values: NDArray[Any]) -> NDArray[np.float64]:
    """How many rows of ``values`` ``[rows, features]``, in their order, tell of each feature as much as one independent row.

    It is ``1 + 2 Σ ρ``, over the lags up to half of the rows at which the autocorrelation ρ is more than chance (Bayley &
    Hammersley 1946). A feature that follows a season, or a trend, has few independent rows however many there are.
    """
    rows = len(values)
    centred = values.astype(np.float64) - values.mean(0, dtype=np.float64)
    spectrum = np.fft.rfft(centred, 2 * rows, axis=0)
    products = np.fft.irfft(np.abs(spectrum) ** 2, axis=0)[: max(1, rows // 2)]
    correlations = np.divide(products[1:], products[0], out=np.zeros_like(products[1:]), where=products[0] > 0)
    near = np.logical_and.accumulate(correlations > NEAR_LIMIT / math.sqrt(rows), axis=0)
    far = correlations > FAR_LIMIT / math.sqrt(rows)
    return np.asarray(1 + 2 * np.where(near | far, correlations, 0).sum(0), np.float64)


def _bound(alpha: float, one: int, other: int) -> float:
    """The distance that two samples of one distribution pass with probability ``alpha`` at most (Wei & Dudley 2012)."""
    return math.sqrt(math.log(2 / alpha) / 2 * (one + other) / (one * other))
