"""Soups: one set of weights from several of the same structure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

Weights: TypeAlias = Mapping[str, Tensor]


@dataclass(frozen=True)
class ModelSoup:
    """The mean of the ``members``, which are indices in the order in which they were taken in, and its error."""

    weights: dict[str, Tensor]
    members: list[int]
    error: float


def mean(weights: Sequence[Weights]) -> dict[str, Tensor]:
    """The mean of weights of the same structure, summed in float64; what is no floating-point number is the first's."""
    first = weights[0]
    return {
        name: torch.stack([each[name].double() for each in weights]).mean(0).to(value.dtype)
        if value.is_floating_point()
        else value.clone()
        for name, value in first.items()
    }


def greedy(weights: Sequence[Weights], error: Callable[[Weights], float]) -> ModelSoup:
    """A greedy soup (Wortsman et al. 2022, recipe 1): the best first, and then each that does not make it worse.

    Args:
        weights: at least one, of the same structure.
        error: judges weights, as on the holdout; lower is better.
    """
    errors = [error(each) for each in weights]
    best, *others = sorted(range(len(weights)), key=lambda index: (errors[index], index))
    soup = ModelSoup(mean([weights[best]]), [best], errors[best])
    for index in others:
        members = [*soup.members, index]
        mixed = mean([weights[member] for member in members])
        found = error(mixed)
        if found <= soup.error:
            soup = ModelSoup(mixed, members, found)
    return soup
