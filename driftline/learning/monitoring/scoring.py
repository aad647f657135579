"""What was served, compared with the labels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

from driftline.learning.monitoring.label_metrics import ScoredLabels, scored_labels
from driftline.learning.monitoring.ranking import LEAST_LEVEL, MAX_RANKED, levels_of
from driftline.learning.monitoring.running_metrics import ScoredPrediction, brier_score, surprise
from driftline.learning.monitoring.value_metrics import ScoredValues
from driftline.learning.stateful import State, Stateful
from driftline.records import Item
from driftline.spec.classes import indices_of
from driftline.spec.task import LARGEST_VALUE
from driftline.spec.value_layout import ValueLayout

Scored: TypeAlias = Any
"""A scored label, of the kind that the task's metrics sum: :class:`ScoredPrediction`, :class:`ScoredLabels` or
:class:`ScoredValues`."""

FLOAT32 = np.dtype("<f4")
Places: TypeAlias = Mapping[tuple[type, object], int]


class ServedScores(Stateful):
    """Scores what was served for labels. Classes are numbered as they are seen, in ``names``.

    Args:
        layout: how the numbers of a regression's answers stand; by default each is one value.
        several: the classes where a row may be of several, in the order of answers; None where it is of one.
    """

    STATE: ClassVar[tuple[str, ...]] = ("names",)
    DERIVED: ClassVar[tuple[str, ...]] = ("is_regression", "layout", "several", "_numbers", "_places", "_order")

    def __init__(
        self, is_regression: bool, layout: ValueLayout | None = None, several: Sequence[int | str] | None = None
    ) -> None:
        self.is_regression = is_regression
        self.layout = layout or ValueLayout()
        self.several = several
        self.names: list[int | str] = list(several or ())
        self._numbers = indices_of(self.names)
        self._places: Places | None = None
        self._order: list[int] = []

    @property
    def has_one_class(self) -> bool:
        """Whether a label is one class."""
        return not self.is_regression and self.several is None

    def score(
        self, n: int, item: Item, places: Places | None = None, unit: NDArray[np.float32] | None = None
    ) -> Scored:
        """Compares what was served for an item with its label: one of :meth:`scores`."""
        return self.scores([(n, item)], [places], unit)[0]

    def scores(
        self,
        records: Sequence[tuple[int, Item]],
        places: Sequence[Places | None],
        unit: NDArray[np.float32] | None = None,
    ) -> list[Scored]:
        """Compares what was served for items, each with its log number, with their labels.

        Args:
            places: where each class, by type and name, stands in each of the answers; None where that is not known, and of
                values.
            unit: of several outputs, what the error of each is divided by ``[outputs]``.
        """
        if not self.has_one_class:
            return [self._score_values(n, item, unit) for n, item in records]
        # All at once: to look at the numbers of each answer by itself costs many times as much as to look at them.
        data = [item.answer.outputs if item.answer is not None else b"" for _, item in records]
        outputs = np.frombuffer(b"".join(data), FLOAT32)
        if not np.isfinite(outputs).all():
            outputs = np.nan_to_num(outputs, posinf=1.0, neginf=0.0)
        chances: list[float] = outputs.tolist()
        levels = levels_of(chances) if len(self.names) <= MAX_RANKED else []
        found, first = [], 0
        for (n, item), own, where in zip(records, data, places, strict=True):
            end = first + len(own) // FLOAT32.itemsize
            found.append(self._score_class(n, item, chances[first:end], levels[first:end], where))
            first = end
        return found

    def _score_class(
        self, n: int, item: Item, chances: list[float], levels: list[int], places: Places | None
    ) -> ScoredPrediction:
        assert item.answer is not None
        served, label = item.answer.label, item.label
        is_right = type(served) is type(label) and served == label
        if places is not None and len(places) <= MAX_RANKED:
            self._number_all(places)
        truth = self._number(label)  # type: ignore[arg-type]
        answer = -1 if served is None else truth if is_right else self._number(served)
        error, weight = float(not is_right), item.weight
        if not chances:
            return ScoredPrediction(n, truth, answer, error, None, 0.0, weight)
        if places is None:
            confidence = min(1.0, max(0.0, float(np.frombuffer(item.answer.outputs, FLOAT32).max())))
            likelihood = confidence if is_right else (1 - confidence) / max(1, len(chances) - 1)
            return ScoredPrediction(n, truth, answer, error, surprise(likelihood), confidence, weight)
        own = places.get((type(served), served), len(chances))
        confidence = min(1.0, max(0.0, chances[own])) if own < len(chances) else 0.0
        place = places[type(label), label]
        loss = brier = None
        if place < len(chances):
            loss, brier = surprise(chances[place]), brier_score(chances, place)
        return ScoredPrediction(n, truth, answer, error, loss, confidence, weight, brier, self._by_number(levels))

    def _number_all(self, places: Places) -> None:
        """Numbers the classes of answers in their order, once."""
        if places is not self._places:
            self._places = places
            ordered = sorted(places, key=lambda key: places[key])
            self._order = [-1] * len(self.names)
            for key in ordered:
                number = self._number(key[1])  # type: ignore[arg-type]
                self._order += [-1] * (number + 1 - len(self._order))
                self._order[number] = places[key]

    def _by_number(self, levels: Sequence[int]) -> Sequence[int]:
        """The levels of the probabilities by the numbers of their classes; that of one that is not answered is the least."""
        if len(self.names) > MAX_RANKED:
            return ()
        # A class may have been numbered since the order was made, by a label or an answer of former times.
        order = self._order + [-1] * (len(self.names) - len(self._order))
        answered = len(levels)
        return [levels[place] if 0 <= place < answered else LEAST_LEVEL for place in order]

    def _score_values(self, n: int, item: Item, unit: NDArray[np.float32] | None) -> Scored:
        assert item.answer is not None
        outputs = np.frombuffer(item.answer.outputs, FLOAT32)
        if self.several is not None:
            truths = [self._numbers[type(name), name] for name in item.label]  # type: ignore[union-attr]
            return scored_labels(n, truths, outputs)._replace(weight=item.weight)
        numbers: list[float] = outputs.tolist()
        truth: list[float] = (
            [float(label) for label in item.label] if isinstance(item.label, list) else [float(item.label)]
        )
        values = [value if math.isfinite(value) else LARGEST_VALUE for value in numbers[: self.layout.outputs]]
        errors = [abs(value - label) for value, label in zip(values, truth, strict=True)]
        if self.layout.is_plain:
            return ScoredPrediction(n, truth[0], values[0], errors[0], weight=item.weight)
        if unit is not None:
            errors = [error / size for error, size in zip(errors, unit.tolist(), strict=True)]
        return ScoredValues(n, truth, values, sum(errors) / len(errors), self.layout.ends(numbers), item.weight)

    def _number(self, name: int | str) -> int:
        """Classes are numbered as they are seen: an edit may give the network's own order another meaning."""
        key = (type(name), name)
        if key not in self._numbers:
            self._numbers[key] = len(self.names)
            self.names.append(name)
        return self._numbers[key]

    @property
    def scored_kind(self) -> Any:
        """What :meth:`score` gives."""
        if self.several is not None:
            return ScoredLabels
        return ScoredValues if self.is_regression and not self.layout.is_plain else ScoredPrediction

    def load_state_dict(self, state: State) -> None:
        super().load_state_dict(state)
        self._numbers = indices_of(self.names)
        self._places = None
