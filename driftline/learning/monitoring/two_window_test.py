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

from driftline.learning.stateful import State, Stateful, part
from driftline.spec.parts.detectors import InputDetector

EDGES = 15
MAX_FEATURES = 1024
MAX_NAMED = 10
SIDES = (np.less, np.less_equal)


@dataclass(frozen=True)
class DriftReport:
    """Since which log number rows are distributed otherwise, and the features that tell, the furthest first.

    A feature is ``{"input", "index", "statistic"}``: where it stands (a field has no index), and the distance of its two
    distribution functions.
    """

    since: int
    features: list[dict[str, Any]]

    def __str__(self) -> str:
        furthest = ", ".join(f"{feature['input']}{feature['index'] or ''}" for feature in self.features[:3])
        return f"what comes in is distributed otherwise since record {self.since}; most in {furthest}"


class TwoWindowKS(Stateful):
    """A Kolmogorov-Smirnov test of two windows of rows: a reference, which stays, and the newest.

    :class:`InputDetector` says how they are compared.
    """

    STATE = ("reference", "recent", "unseen")
    DERIVED = ("detector", "_profiles")

    def __init__(self, detector: InputDetector) -> None:
        self.detector = detector
        self.reference = _Window(detector.reference)
        self.recent = _Window(detector.recent)
        self.unseen = 0
        self._profiles: dict[str, _Profile] = {}

    def see(self, rows: Mapping[str, Tensor], numbers: Sequence[int]) -> DriftReport | None:
        """Takes rows in, in their order, with their log numbers; what has moved, if something has.

        Where a field has another name now, both windows begin again.
        """
        if self.reference.rows and self.reference.rows.keys() != rows.keys():
            self.reference, self.recent = _Window(self.detector.reference), _Window(self.detector.recent)
            self._profiles = {}
        room = self.detector.reference - len(self.reference)
        if room:
            self.reference.add({name: value[:room] for name, value in rows.items()}, numbers[:room])
            rows, numbers = {name: value[room:] for name, value in rows.items()}, numbers[room:]
        self.recent.add(rows, numbers)
        self.unseen += len(numbers)
        if 2 * self.unseen < self.detector.recent:
            return None
        self.unseen = 0
        return self._compare()

    def _compare(self) -> DriftReport | None:
        newest = self.recent.ordered()
        self._profiles = self._profiles or {name: _Profile(rows) for name, rows in self.reference.ordered().items()}
        features = sum(profile.width for profile in self._profiles.values())
        bound = _bound(self.detector.alpha / max(1, features), len(self.reference), len(self.recent))
        found = [
            (distance, name, index)
            for name, profile in self._profiles.items()
            for distance, index in profile.furthest(newest[name])
            if distance > bound
        ]
        if not found:
            return None
        found = sorted(found, key=lambda feature: -feature[0])[:MAX_NAMED]
        _, name, index = found[0]
        since = list(self.recent.numbers)[self._profiles[name].beginning(newest[name], index)]
        features_told = [
            {"input": name, "index": self._profiles[name].place(index), "statistic": round(distance, 4)}
            for distance, name, index in found
        ]
        self._begin_again(since)
        return DriftReport(since, features_told)

    def _begin_again(self, since: int) -> None:
        rows, numbers = self.recent.ordered(), list(self.recent.numbers)
        first = numbers.index(since)
        self.recent.clear()
        self.reference.clear()
        self._profiles = {}
        self.reference.add({name: value[first:] for name, value in rows.items()}, numbers[first:])


class _Window(Stateful):
    """The newest ``size`` rows, each with its log number, in tensors that are written over in turn."""

    STATE = ("numbers", "rows")
    DERIVED = ("size", "next")

    def __init__(self, size: int) -> None:
        self.size = size
        self.rows: dict[str, Tensor] = {}
        self.numbers: deque[int] = deque(maxlen=size)
        self.next = 0

    def __len__(self) -> int:
        return len(self.numbers)

    def add(self, rows: Mapping[str, Tensor], numbers: Sequence[int]) -> None:
        """Takes rows in; the oldest go."""
        for start in range(0, len(numbers), self.size):
            self._write({name: value[start : start + self.size] for name, value in rows.items()})
        self.numbers.extend(numbers)

    def _write(self, rows: Mapping[str, Tensor]) -> None:
        count = len(next(iter(rows.values())))
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
        slots = torch.arange(self.next - len(self), self.next) % self.size
        return {name: value[slots] for name, value in self.rows.items()}

    def clear(self) -> None:
        self.numbers.clear()

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

    @property
    def width(self) -> int:
        return int(self.edges.shape[1])

    def _flat(self, values: Tensor) -> NDArray[Any]:
        return values.reshape(len(values), -1)[:, :: self.stride].numpy()

    def _shares(self, flat: NDArray[Any]) -> NDArray[np.float64]:
        """``[edges × sides, features]``."""
        features, edges = np.ascontiguousarray(flat.T)[:, np.newaxis], self.edges.T[:, :, np.newaxis]
        counts = np.stack([np.count_nonzero(side(features, edges), axis=2) for side in SIDES], axis=2)
        return counts.reshape(self.width, -1).T / len(flat)

    def furthest(self, values: Tensor) -> list[tuple[float, int]]:
        """The features whose distribution in ``values`` is furthest from the window's: by how much at most, and which."""
        distances = np.abs(self._shares(self._flat(values)) - self.shares).max(0)
        order = np.argsort(-distances, kind="stable")[:MAX_NAMED]
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


def _bound(alpha: float, one: int, other: int) -> float:
    """The distance that two samples of one distribution pass with probability ``alpha`` at most (Wei & Dudley 2012)."""
    return math.sqrt(math.log(2 / alpha) / 2 * (one + other) / (one * other))
