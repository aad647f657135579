"""One trial of a retrain job: a train state on its way through the examples."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from driftline.errors import DriftlineError
from driftline.learning.course import Course
from driftline.learning.examples import Examples
from driftline.learning.retraining.budget import RungSchedule
from driftline.learning.retraining.recipe_changes import examples_an_update
from driftline.learning.retraining.validation_scores import evaluate
from driftline.learning.stateful import State, Stateful
from driftline.networks.build import build
from driftline.networks.model import Model
from driftline.spec import ModelSpec, parse
from driftline.spec.classes import ClassTable


class TrainingFailed(DriftlineError):
    """A trial, or every one of a job, could not be trained."""

    default_code = "training_failed"


class Trial(Stateful):
    """Trains on examples that it draws, as far as its ``rung_schedule`` goes.

    What a strategy serves beside the network is no part of a trial: a job takes that from the stream at its end.

    ``number`` is its place at the start. ``done`` counts updates, ``rung`` the rungs that it has passed; ``scores`` are those
    of the last one. ``has_learned`` says whether any of its updates had a finite loss and gradient.
    """

    STATE = ("number", "rung_schedule", "done", "rung", "scores", "has_learned", "course")

    def __init__(self, number: int, rung_schedule: RungSchedule, model: Model, table: ClassTable, seed: int) -> None:
        self.number = number
        self.rung_schedule = rung_schedule
        model.module.experts = None
        self.course = Course.begin(model, table, seed)
        self.done = self.rung = 0
        self.scores: dict[str, float] = {}
        self.has_learned = False

    @property
    def batch_size(self) -> int:
        """Examples an update."""
        return examples_an_update(self.course.spec)

    @property
    def is_at_rung(self) -> bool:
        """Whether it has come to the end of its next rung."""
        return self.done >= self.rung_schedule.rungs[self.rung]

    @property
    def raced(self) -> int:
        """The updates that it has made up to the last rung; all of them where there is none."""
        return min([self.done, *self.rung_schedule.rungs[-1:]])

    @property
    def stages(self) -> list[int]:
        """The updates that are left on the way through each rung, and behind the last."""
        return self.rung_schedule.stages(self.done)

    def advance(self, examples: Examples, rows: Tensor) -> None:
        """One update with examples drawn from some ``rows`` of them."""
        with self.course.state.drawing():
            drawn = torch.randint(len(rows), (self.batch_size,), generator=self.course.state.generator)
            self._learn(examples.take(rows[drawn]))
        self.done += 1

    def go_through(self, examples: Examples) -> None:
        """Learns each example once, in order."""
        self.course.state.count(examples)
        with self.course.state.drawing():
            for start in range(0, len(examples), self.batch_size):
                self._learn(examples.take(slice(start, start + self.batch_size)))

    def _learn(self, examples: Examples) -> None:
        self.course.state.labels += len(examples)
        self.has_learned = self.course.step(examples) is None or self.has_learned

    def validate(self, examples: Examples, rows: Tensor) -> None:
        """Ends a rung with the scores on some ``rows`` of the examples.

        Raises:
            TrainingFailed: there is nothing to judge.
        """
        if not self.has_learned:
            raise TrainingFailed("neither loss nor gradient was a finite number in any update")
        self.scores = evaluate(self.course.candidate(), examples, rows)
        self.rung += 1

    def packed(self, name: str) -> Any:
        if name == "rung_schedule":
            return dataclasses.asdict(self.rung_schedule)
        if name == "course":
            state = self.course.state_dict()
            described = {"spec": self.course.spec.model_dump(mode="json"), "classes": self.course.classes}
            return State(state.tensors, {**described, **state.data})
        return super().packed(name)

    def restored(self, name: str, state: State) -> Any:
        if name == "rung_schedule":
            return RungSchedule(**state.data[name])
        return super().restored(name, state)

    @classmethod
    def from_state(cls, state: State, table: ClassTable, factories: Sequence[str]) -> Trial:
        """The trial that :meth:`state_dict` described."""
        described = state.data["course"]
        spec, classes = parse(ModelSpec, described["spec"]), described["classes"]
        model = Model(spec, classes, build(spec, classes, factories=factories, seed=0))
        found = cls(state.data["number"], RungSchedule(**state.data["rung_schedule"]), model, table, 0)
        found.load_state_dict(state)
        return found
