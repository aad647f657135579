"""A race between learning rates."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from driftline.learning.examples import Examples
from driftline.learning.search_budget import FACTORS, held_rows, updates_a_rate
from driftline.learning.state import named, part
from driftline.learning.trainee import Trainee
from driftline.spec import ModelSpec

HIGHEST_RATE = 100.0


class RateSearch:
    """Trains from the same start at several rates, for as many updates each, and takes the one with the lowest loss on examples
    that none was trained on.

    The rates stand around the recipe's own. A fifth of the shuffled examples is held. ``losses`` are those of the rates that
    have run, infinite where training broke down.
    """

    def __init__(self, trainee: Trainee, examples: Examples, batch_size: int, seed: int, rate: float) -> None:
        self.trainee, self.batch_size, self.seed, self.rate = trainee, batch_size, seed, rate
        self.rates = [min(HIGHEST_RATE, float(f"{rate * factor:.3g}")) for factor in FACTORS]
        order = torch.randperm(len(examples), generator=torch.Generator().manual_seed(seed))
        held = held_rows(len(examples))
        self.held, self.trained = examples.take(order[:held]), examples.take(order[held:])
        self.updates = updates_a_rate(len(examples), batch_size)
        self.start: dict[str, Tensor] = {}
        self.losses: list[float] = []
        self.done = 0

    @classmethod
    def begin(cls, trainee: Trainee, examples: Examples, batch_size: int, seed: int) -> RateSearch:
        """The search before its first update, around the rate of the trainee's recipe."""
        found = cls(trainee, examples, batch_size, seed, trainee.spec.recipe.optimizer.learning_rate)
        found.start = {name: value.clone() for name, value in trainee.tensors().items()}
        trainee.spec = found._spec(found.rates[0])
        trainee.load(found.start)
        return found

    @property
    def total(self) -> int:
        """The updates of all rates."""
        return self.updates * len(self.rates)

    @property
    def is_done(self) -> bool:
        return self.done >= self.total

    def advance(self) -> None:
        """The next update of the rate that runs; behind its last one the next rate's turn comes, behind all the best one's."""
        rows = torch.randint(len(self.trained), (self.batch_size,), generator=self.trainee.generator)
        self.trainee.labels += self.batch_size
        self.trainee.descend(self.trained.take(rows))
        self.done += 1
        if self.done % self.updates:
            return
        self.losses.append(self._loss())
        self._return_to_start(self.best if self.is_done else self.rates[len(self.losses)])

    @property
    def best(self) -> float:
        """The rate with the lowest loss; of several, the lowest rate."""
        return min(zip(self.losses, self.rates, strict=False))[1]

    def _loss(self) -> float:
        self.trainee.module.eval()
        with torch.no_grad():
            loss = float(self.trainee.loss(self.held))
        return loss if math.isfinite(loss) else math.inf

    def _return_to_start(self, rate: float) -> None:
        self.trainee.spec = self._spec(rate)
        self.trainee.load(self.start)
        # The search runs while the trainee is drawing: torch's generator stands for its chance.
        torch.set_rng_state(self.trainee.chance)

    def _spec(self, rate: float) -> ModelSpec:
        recipe = self.trainee.spec.recipe
        optimizer = recipe.optimizer.model_copy(update={"learning_rate": rate})
        return self.trainee.spec.changed(recipe=recipe.model_copy(update={"optimizer": optimizer}))

    def table(self) -> list[dict[str, float | None]]:
        """``{"learning_rate", "loss"}`` of each rate that has run; ``loss`` is None where training broke down."""
        return [
            {"learning_rate": rate, "loss": loss if math.isfinite(loss) else None}
            for rate, loss in zip(self.rates, self.losses, strict=False)
        ]

    def tensors(self) -> dict[str, Tensor]:
        return {**named("start", self.start), "losses": torch.tensor(self.losses, dtype=torch.float64)}

    def data(self) -> dict[str, Any]:
        """The plain part of the state."""
        return {"seed": self.seed, "rate": self.rate, "done": self.done}

    def load(self, tensors: Mapping[str, Tensor], done: int) -> None:
        """Sets the state that :meth:`tensors` and :meth:`data` gave."""
        self.start, self.losses, self.done = part(tensors, "start"), tensors["losses"].tolist(), done
