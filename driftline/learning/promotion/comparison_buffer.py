"""The labels since the last comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from driftline.learning.examples import Examples
from driftline.learning.promotion import gate
from driftline.learning.promotion.gate import Comparison
from driftline.learning.stateful import named, part
from driftline.networks.served_model import ServedModel

MOST_LATEST = 128


class ComparisonBuffer:
    """Labels that wait for a comparison, and how wrong the candidate was on each before it learned it ``errors`` ``[rows]``.

    In steps of one label or a few no step by itself can tell a loss from chance.
    """

    def __init__(self, empty: Examples) -> None:
        self.examples = empty
        self.errors = torch.zeros(0)

    def add(self, examples: Examples, errors: Tensor) -> None:
        """Takes labels in; where nobody compares, the newest are kept."""
        newest = slice(max(0, len(self.errors) + len(errors) - MOST_LATEST), None)
        self.examples = self.examples.joined(examples).take(newest)
        self.errors = torch.cat([self.errors, errors])[newest]

    def reclass(self, indices: Sequence[int | None]) -> None:
        """Counts classes by their new indices; labels of those that are gone wait no more."""
        self.errors = self.errors[self.examples.stay(indices)]
        self.examples = self.examples.reclassed(indices)

    def compare(self, champion: ServedModel) -> Comparison:
        """The candidate beside a champion that has stood still; the next comparison is about what comes from now on."""
        found = Comparison("latest labels", self.errors, gate.errors(champion, self.examples))
        self.examples, self.errors = self.examples.take(slice(0, 0)), self.errors[:0]
        return found

    def tensors(self) -> dict[str, Tensor]:
        return {**named("examples", self.examples.tensors()), "errors": self.errors}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Sets the state that :meth:`tensors` gave."""
        self.examples, self.errors = Examples.from_tensors(part(tensors, "examples")), tensors["errors"]
