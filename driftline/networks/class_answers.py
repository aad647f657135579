"""Which class each output of a model is of, and which of them is answered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from driftline.networks.running_prior import RunningPrior, decisions
from driftline.spec import Recipe


class ClassAnswers(nn.Module):
    """A module that answers classes by the ids that a learner knows them by.

    ``class_ids`` are those of the outputs; None where output ``i`` is of class ``i``. ``prior`` is what decisions are corrected
    by; None where the most probable class is answered.
    """

    width: Any
    """How many numbers are answered."""

    def __init__(self) -> None:
        super().__init__()
        self.class_ids: list[int] | None = None
        self._positions: Tensor | None = None
        self.prior: RunningPrior | None = None

    def set_class_ids(self, ids: Sequence[int]) -> None:
        """Says which class each output is of, by its id; without it output ``i`` is of class ``i``."""
        self.class_ids = self._positions = None
        if list(ids) != list(range(len(ids))):
            self.class_ids = list(ids)
            # One place more stands for all ids that are not among these.
            self._positions = torch.full((max(ids) + 2,), len(ids))
            self._positions[self.class_ids] = torch.arange(len(ids))

    def positions(self, targets: Tensor) -> Tensor:
        """The output of each class, by its id ``[rows]``: past the last one where it is not answered. All else stays."""
        if self._positions is None:
            return targets
        return self._positions[targets.clamp(max=len(self._positions) - 1)]

    def answers(self, targets: Tensor) -> Tensor:
        """Whether each class, by its id ``[rows]``, is answered; values, and all classes of a row at once, always are."""
        if targets.is_floating_point():
            return torch.ones(len(targets), dtype=torch.bool)
        is_answered: Tensor = self.positions(targets) < self.width
        return is_answered

    def follow_recipe(self, recipe: Recipe) -> None:
        """Decides as a recipe says; a prior that is not known yet begins even."""
        if recipe.decide == "accuracy":
            self.prior = None
        elif self.prior is None:
            self.prior = RunningPrior(self.width)

    def decided(self, probabilities: Tensor) -> Tensor:
        """The index of the class that is answered to each row ``[rows]``; there is a class."""
        factors = None if self.prior is None else self.prior.factors.numpy()
        return torch.from_numpy(decisions(probabilities.numpy(), factors))

    def follow_prior(self, other: ClassAnswers) -> None:
        """Goes on with what another module knows of how common classes are; that of the same classes may be one for both."""
        if self.prior is None or other.prior is None:
            return
        own, others = (each.class_ids or range(each.width) for each in (self, other))
        if list(own) == list(others):
            self.prior = other.prior
            return
        places = {number: place for place, number in enumerate(others)}
        self.prior = other.prior.reclassed([places.get(number) for number in own])
