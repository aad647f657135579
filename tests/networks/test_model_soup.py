"""A greedy soup takes in what does not make it worse."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from driftline.networks.model_soup import greedy, mean


def at(value: float) -> dict[str, Tensor]:
    return {"w": torch.tensor([value, 1.0]), "count": torch.tensor(int(value))}


def distance(weights: Mapping[str, Tensor]) -> float:
    """From 10."""
    return abs(float(weights["w"][0]) - 10)


def test_the_mean_leaves_counters_alone() -> None:
    found = mean([at(1), at(2), at(6)])
    assert found["w"].tolist() == [3, 1] and found["count"].item() == 1 and found["w"].dtype == torch.float32


def test_it_begins_with_the_best_and_takes_in_what_helps() -> None:
    soup = greedy([at(50), at(12), at(9), at(7)], distance)
    assert soup.members == [2, 1], "the others would have made it worse"
    assert soup.error == pytest.approx(distance(soup.weights)) == 0.5


def test_it_is_never_worse_than_the_best() -> None:
    assert greedy([at(10), at(11)], distance).members == [0]
    assert greedy([at(11)], distance).error == 1


def test_of_equals_the_first_comes_first() -> None:
    assert greedy([at(9), at(11), at(9)], distance).members[0] == 0
