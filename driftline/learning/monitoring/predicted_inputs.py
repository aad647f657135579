"""Drift in the inputs of predicted rows, whether or not a label of them ever comes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from driftline.learning.monitoring.two_window_test import MAX_FEATURES, DriftReport, TwoWindowKS
from driftline.networks.input_tensors import input_tensors
from driftline.rows.rows import from_items, misfits
from driftline.spec import ModelSpec
from driftline.spec.row_layout import CATEGORIES, NUMBERS

KIND = "predicted_inputs"
"""What the alarm is called."""


class PredictedInputs:
    """Compares rows that are predicted with those from before, as the recipe's ``input_detector`` says; without one never.

    It asks neither a label nor a network, so that it is no part of a learner's state: of categories it compares the keys, where
    a learner compares what its network makes of them. Of rows wider than ``MAX_FEATURES`` it keeps as many numbers, evenly
    spread.
    """

    def __init__(self, spec: ModelSpec) -> None:
        self.spec = spec
        self._test = self._made()

    def _made(self) -> TwoWindowKS | None:
        detector = self.spec.recipe.input_detector
        if detector is None:
            return None
        test = TwoWindowKS(detector)
        test.is_settled = False  # Until rows have been compared nobody knows.
        return test

    @property
    def is_settled(self) -> bool:
        """Whether rows have been as those before, since the last report or the first comparison."""
        return self._test is not None and self._test.is_settled

    @property
    def is_watching(self) -> bool:
        """Whether the recipe has an ``input_detector``."""
        return self._test is not None

    def follow(self, spec: ModelSpec) -> None:
        """Goes on by another spec; it begins again where that compares otherwise, or other rows."""
        former, self.spec = self.spec, spec
        detectors = former.recipe.input_detector, spec.recipe.input_detector
        if former.inputs != spec.inputs or detectors[0] != detectors[1]:
            self._test = self._made()

    def see_items(self, rows: Sequence[Mapping[str, bytes]], numbers: Sequence[int]) -> list[DriftReport]:
        """:meth:`see`, of rows as they are recorded; those that do not fit the spec, as after an edit, are left out."""
        unfit = misfits(self.spec, rows)
        fit = [place for place in range(len(rows)) if place not in unfit]
        if not fit:
            return []
        found = input_tensors(self.spec, from_items(self.spec, [rows[place] for place in fit]))
        return self.see(found, [numbers[place] for place in fit])

    def see(self, rows: Mapping[str, Tensor], numbers: Sequence[int]) -> list[DriftReport]:
        """Takes rows ``[rows, *shape]`` by name in, each with a number that says when it came; what has moved."""
        watched, test, found = self._watched(rows), self._test, list[DriftReport]()
        # Of times and texts alone nothing tells.
        if test is None or not watched:
            return []
        thinned, at_once = {name: _thinned(value) for name, value in watched.items()}, test.detector.recent // 2
        for start in range(0, len(numbers), at_once):
            part = slice(start, start + at_once)
            report = test.see({name: value[part] for name, value in thinned.items()}, numbers[part])
            if report is not None:
                found.append(DriftReport(report.since, [_placed(each, watched) for each in report.features]))
        return found

    def _watched(self, rows: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Each field by its name ``[rows]``, or the tensors as they came. Times always move."""
        if self.spec.fields is None:
            return rows
        layout = self.spec.layout
        numbers = {name: place for place, name in enumerate(layout.quantities) if place not in layout.times}
        return (
            {name: rows[NUMBERS][:, place] for name, place in numbers.items()}
            | {name: rows[CATEGORIES][:, place] for place, name in enumerate(layout.categories)}
            | {name: rows[key] for name, key in layout.tensor_keys.items()}
        )


def _stride(value: Tensor) -> int:
    return -(-max(1, value.shape[1:].numel()) // MAX_FEATURES)


def _thinned(value: Tensor) -> Tensor:
    """At most ``MAX_FEATURES`` numbers of each row; narrower rows as they are."""
    stride = _stride(value)
    return value if stride == 1 else value.reshape(len(value), -1)[:, ::stride]


def _placed(feature: dict[str, Any], rows: Mapping[str, Tensor]) -> dict[str, Any]:
    """A feature that was found among thinned rows, by its place in the whole ones."""
    value = rows[feature["input"]]
    if (stride := _stride(value)) == 1:
        return feature
    index = np.unravel_index(feature["index"][0] * stride, value.shape[1:])
    return feature | {"index": [int(place) for place in index]}
