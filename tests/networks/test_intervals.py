"""Intervals around answers: they hold their levels on any labels, and are null until enough are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from driftline.networks.intervals import RunningIntervals

LEVELS = (0.1, 0.9)


def played(labels: NDArray[np.float64], values: NDArray[np.float64], step: int = 1) -> NDArray[np.float64]:
    """The ends that each label was served, which it was then learned with, ``step`` labels at a time."""
    intervals, found = RunningIntervals(LEVELS, 1), []
    for first in range(0, len(labels), step):
        answers = torch.tensor(values[first : first + step, None], dtype=torch.float32)
        served = torch.cat([answers, intervals(answers)], 1).double().numpy()
        intervals.observe(labels[first : first + step, None], served)
        found.append(served[:, 1:])
    return np.concatenate(found)


def coverage(labels: NDArray[np.float64], ends: NDArray[np.float64]) -> float:
    is_known = ~np.isnan(ends[:, 0])
    labels, ends = labels[is_known], ends[is_known]
    return float(((ends[:, 0] <= labels) & (labels <= ends[:, 1])).mean())


NOISES = {
    "normal": lambda random: random.normal(size=2000),
    "skewed": lambda random: random.exponential(size=2000),
    "heavy": lambda random: random.standard_t(2, size=2000),
    "louder at once": lambda random: random.normal(size=2000) * np.repeat([1, 20], 1000),
    "ever louder": lambda random: random.normal(size=2000) * np.exp(np.arange(2000) / 300),
    "a trend": lambda random: random.normal(size=2000) + np.arange(2000) / 20,
}


@pytest.mark.parametrize("step", [1, 32])
@pytest.mark.parametrize("noise", list(NOISES))
def test_four_fifths_of_the_labels_lie_between_the_ends_of_a_tenth_and_nine_tenths(noise: str, step: int) -> None:
    labels = NOISES[noise](np.random.default_rng(3))
    ends = played(labels, np.zeros(2000), step)
    assert 0.76 < coverage(labels, ends) < 0.84
    assert 0.07 < (labels[100:] < ends[100:, 0]).mean() < 0.13, "each end holds its own level"


def test_there_is_no_interval_before_enough_labels_are_known() -> None:
    labels = np.random.default_rng(1).normal(size=30)
    ends = played(labels, np.zeros(30))
    assert np.isnan(ends[:20]).all() and np.isfinite(ends[20:]).all()


def test_a_rare_level_needs_as_many_labels_as_it_takes_to_lie_beyond_it() -> None:
    assert RunningIntervals((0.01, 0.99), 1).needed == 99


def test_a_label_that_never_changes_has_no_width() -> None:
    ends = played(np.full(300, 3.5), np.full(300, 3.5))
    assert (ends[50:] == 3.5).all()


def test_an_answer_that_is_no_number_teaches_nothing() -> None:
    intervals = RunningIntervals(LEVELS, 1)
    intervals.observe(np.array([[1.0]]), np.array([[math.inf, math.nan, math.nan]]))
    assert int(intervals.seen) == 0 and all(value.isfinite().all() for value in intervals.state_dict().values())


def test_ends_rise_with_their_levels() -> None:
    intervals = RunningIntervals((0.4, 0.5, 0.6), 2)
    random = np.random.default_rng(2)
    for _ in range(200):
        answers = torch.zeros(1, 2)
        served = torch.cat([answers, intervals(answers)], 1).double().numpy()
        intervals.observe(random.normal(size=(1, 2)) * [1, 1000], served)
    ends = intervals(torch.zeros(1, 2)).reshape(2, 3)
    assert (ends.diff(dim=1) >= 0).all()
    assert ends[1].abs().max() > 50 * ends[0].abs().max(), "each output has ends of its own"
