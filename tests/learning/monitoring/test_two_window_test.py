"""A change of what comes in is heard without any label, and the alarm says what has moved and since when."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from driftline.learning.monitoring.two_window_test import MAX_FEATURES, MAX_NAMED, DriftReport, TwoWindowKS
from driftline.spec.parts.detectors import InputDetector
from tests.learning.conftest import assert_same, through_files


def normal(count: int, *shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(count, *shape)).astype(np.float32))


def watched(
    stream: Tensor, watch: TwoWindowKS | None = None, step: int = 32, first: int = 1
) -> list[tuple[int, DriftReport]]:
    """What was heard, and at which log number; every other number is a command's."""
    watch = watch or TwoWindowKS(InputDetector())
    heard = []
    for start in range(0, len(stream), step):
        some = stream[start : start + step]
        numbers = [2 * (first + start + n) for n in range(len(some))]
        moved = watch.see({"inputs": some}, numbers)
        if moved is not None:
            heard.append((numbers[-1], moved))
    return heard


@pytest.mark.parametrize("step", [1, 32, 700])
def test_an_alarm_names_the_feature_and_since_when(step: int) -> None:
    stream = normal(2800, 8)
    stream[2000:, 3] += 2
    ((at, moved),) = watched(stream, step=step)
    assert 2 * 2000 < at <= 2 * 2000 + 2 * max(250, 800)
    assert abs(moved.since - 2 * 2001) <= 10
    assert [(feature["input"], feature["index"]) for feature in moved.features] == [("inputs", [3])]
    assert moved.features[0]["statistic"] > 0.2


def test_a_feature_of_an_image_is_told_by_row_and_column() -> None:
    stream = normal(2000, 6, 5)
    stream[1000:, 4, 2] *= 5
    _, moved = watched(stream)[0]
    assert moved.features[0]["index"] == [4, 2]


def test_more_moved_features_than_can_be_told_are_cut_off() -> None:
    stream = normal(2000, 50)
    stream[1000:] += torch.linspace(2, 4, 50)
    _, moved = watched(stream)[0]
    assert len(moved.features) == MAX_NAMED
    statistics = [feature["statistic"] for feature in moved.features]
    assert statistics == sorted(statistics, reverse=True)


@pytest.mark.parametrize("seed", range(5))
def test_what_does_not_change_is_no_alarm(seed: int) -> None:
    assert watched(normal(20_000, 12, seed=seed)) == []


def test_integers_and_constants_that_change_are_heard() -> None:
    stream = torch.from_numpy(np.random.default_rng(0).integers(0, 2**40, size=(1500, 3)))
    stream[:, 1] = 7
    stream[1000:, 1] = 3
    _, moved = watched(stream)[0]
    assert [feature["index"] for feature in moved.features] == [[1]]


def test_after_an_alarm_the_new_is_the_reference() -> None:
    stream = normal(8000, 4)
    stream[2000:, 0] += 2
    stream[5000:, 0] -= 2
    heard = watched(stream)
    assert len(heard) == 2
    assert abs(heard[0][1].since - 4002) <= 10 and abs(heard[1][1].since - 10_002) <= 10


def test_a_row_of_one_number_has_no_index() -> None:
    stream = normal(2000)
    stream[1000:] += 2
    assert watched(stream)[0][1].features[0]["index"] == []


def test_a_wide_row_is_watched_here_and_there() -> None:
    stream = normal(1000, 3 * MAX_FEATURES)
    stream[600:, -300:] += 3
    (index,) = watched(stream)[0][1].features[0]["index"]
    assert index >= 3 * MAX_FEATURES - 300


@pytest.mark.parametrize("cut", [0, 100, 500, 777, 1000, 1300])
def test_it_goes_on_from_its_state(cut: int) -> None:
    stream = normal(2600, 4)
    stream[1000:, 2] += 2
    one = TwoWindowKS(InputDetector())
    watched(stream[:cut], one, step=7)
    other = TwoWindowKS(InputDetector())
    other.load_state_dict(through_files(one.state_dict()))
    heard = [watched(stream[cut:], each, step=7, first=cut + 1) for each in (one, other)]
    assert heard[0] == heard[1]
    assert_same(one.state_dict(), other.state_dict())


def test_its_size_is_bounded() -> None:
    watch = TwoWindowKS(InputDetector(reference=100, recent=50))
    watched(normal(5000, 4), watch)
    assert {name: len(value) for name, value in watch.state_dict().tensors.items()} == {
        "reference.rows.inputs": 100,
        "recent.rows.inputs": 50,
    }
