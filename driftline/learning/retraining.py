"""A retrain: trainees of its own, over examples and a teacher that it was given at its fork."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from driftline.errors import InvalidInput
from driftline.learning import gate
from driftline.learning.examples import Examples
from driftline.learning.gate import Comparison
from driftline.learning.lineup import Lineup
from driftline.learning.memory import Memory
from driftline.learning.race import Race
from driftline.learning.racer import Racer
from driftline.learning.state import named, part
from driftline.learning.trainee import Elders, Trainee
from driftline.networks.build import Served, rebuilt
from driftline.networks.edits import Edited
from driftline.spec import ModelSpec, parse

MOST_ARRIVED = 20_000
MOST_COMPARED = 500


@dataclass(frozen=True)
class Teacher:
    """The champion at a fork: its spec, its classes and its module."""

    spec: ModelSpec
    classes: list[int | str]
    module: Served

    def beside(self, module: Served) -> Served:
        """A copy of a network that answers these and maybe more classes, with what the champion served beside its own."""
        whole, experts = copy.deepcopy(module), copy.deepcopy(self.module.experts)
        if experts is not None and module.width > self.module.width:
            experts.add_classes(module.width - self.module.width)  # type: ignore[operator]
        whole.experts = experts
        return whole


class Retraining:
    """A race over the examples of a job, most often of a single racer; ``arrived`` is what the stream has learned meanwhile.

    ``is_waiting``: it is done, and it has been said that it waits for a promotion.
    """

    def __init__(self, job: str, race: Race, teacher: Teacher) -> None:
        self.job = job
        self.race = race
        self.arrived = race.examples.take(slice(0, 0))
        self.is_waiting = False
        self.teacher = teacher
        for racer in race.racers:
            racer.trainee.elders = Elders(teacher.module, teacher.module)

    @classmethod
    def fork(
        cls,
        job: str,
        lineup: Lineup,
        models: Sequence[Edited],
        examples: Examples,
        epochs: int,
        seed: int,
        teacher: Teacher,
        stream: Trainee,
    ) -> Retraining:
        """A job over what a lineup makes of the stream's model, with what its rules need of the stream.

        Raises:
            InvalidInput: there are too few examples to judge a race by.
        """
        budget = lineup.budget([model.spec for model in models], len(examples), epochs)
        pairs = zip(budget.courses, models, strict=True)
        racers = [Racer(number, course, model, seed) for number, (course, model) in enumerate(pairs)]
        for racer in racers:
            racer.trainee.count(examples)
            racer.trainee.upkeep.inherit(stream.upkeep)
        race = Race([entry.as_json() for entry in lineup.entries], racers, budget.keeps, examples, seed)
        if len(racers) > 1:
            lineup.check_examples(race.split.distinct)
        return cls(job, race, teacher)

    @property
    def examples(self) -> Examples:
        """Those that the job was given."""
        return self.race.examples

    @property
    def trainee(self) -> Trainee:
        """That of the winner; while there is none yet, of the first racer that runs."""
        return self.race.leader.trainee

    @property
    def is_done(self) -> bool:
        return self.race.is_done

    @property
    def progress(self) -> float:
        """The share of the updates that are made, 0 to 1. Where a race costs less than it can, it leaps."""
        done, left = self.race.done, self.race.left
        return done / (done + left) if left else 1.0

    def advance(self, updates: int) -> None:
        """Makes some of the updates that are left.

        Raises:
            TrainingFailed: no racer is left.
        """
        for _ in range(updates):
            if not self.is_done:
                self.race.advance()

    def observe(self, examples: Examples, is_live: Sequence[bool]) -> None:
        """Notes what the stream learns meanwhile, and which of it the model was served to; the newest are kept."""
        noted = examples.noted(is_live=torch.tensor(is_live, dtype=torch.float32).unsqueeze(1))
        self.arrived = _last(self.arrived.joined(noted), MOST_ARRIVED)

    def newest(self, count: int) -> Examples:
        """The newest that were learned, here or by the stream meanwhile; ``count`` at most."""
        both = _last(self.examples, count).joined(_last(self.arrived, count))
        return _last(both, count)

    def rejoin(self, stream: Trainee, memory: Memory) -> Comparison | None:
        """Makes the updates that are left, catches up with the stream, and takes over what is kept beside the network.

        Gives how the winner did on what has arrived meanwhile, before it learned that.

        Raises:
            InvalidInput: the job has added a class in the place of one that has arrived meanwhile.
            TrainingFailed: no racer is left.
        """
        while not self.is_done:
            self.race.advance()
        compared = self._compare_arrived()
        self._add_arrived(stream.classes)
        self.race.leader.go_through(self.arrived)
        self.trainee.renew_strategy(stream.method, memory)
        return compared

    def _compare_arrived(self) -> Comparison | None:
        """The winner and the champion of the fork, on the newest live labels since: neither was trained on these.

        None where their strategies differ: what another one serves beside the network comes at the end.
        """
        if self.teacher.spec.strategy != self.trainee.spec.strategy or not len(self.arrived):
            return None
        live = _last(self.arrived.take(self.arrived.notes["is_live"][:, 0] > 0), MOST_COMPARED)
        modules = self.teacher.beside(self.trainee.candidate()), self.teacher.module
        errors = [gate.errors(module, live, in_order=False) for module in modules]
        return Comparison("labels since the fork", *errors)

    def _add_arrived(self, classes: Sequence[int | str]) -> None:
        for arrived, added in zip(classes, self.trainee.classes, strict=False):
            if (type(arrived), arrived) != (type(added), added):
                message = f"the job added the class {added!r}, and meanwhile {arrived!r} has arrived; retrain again"
                raise InvalidInput(message, code="classes_clash", field="edits", value=added)
        self.trainee.add_classes(classes[len(self.trainee.classes) :])

    def report(self) -> dict[str, Any]:
        """What is to be told of the job beside the gate's decision: the table of its ``race``, if it was one."""
        return {"race": self.race.table()} if len(self.race.entries) > 1 else {}

    def tensors(self) -> dict[str, Tensor]:
        return {
            **named("teacher", self.teacher.module.state_dict()),
            **named("race", self.race.tensors()),
            **named("examples", self.examples.tensors()),
            **named("arrived", self.arrived.tensors()),
        }

    def data(self) -> dict[str, Any]:
        return {
            "job": self.job,
            "race": self.race.data(),
            "teacher": {"spec": self.teacher.spec.model_dump(mode="json"), "classes": self.teacher.classes},
        }

    @classmethod
    def from_state(cls, tensors: Mapping[str, Tensor], data: Mapping[str, Any], factories: Sequence[str]) -> Retraining:
        """The job that :meth:`tensors` and :meth:`data` gave."""
        examples = Examples.from_tensors(part(tensors, "examples"))
        race = Race.from_state(part(tensors, "race"), data["race"], examples, factories)
        found = cls(data["job"], race, _teacher(part(tensors, "teacher"), data["teacher"], factories))
        found.arrived = Examples.from_tensors(part(tensors, "arrived"))
        return found


def _teacher(tensors: Mapping[str, Tensor], data: Mapping[str, Any], factories: Sequence[str]) -> Teacher:
    spec, classes = parse(ModelSpec, data["spec"]), list(data["classes"])
    return Teacher(spec, classes, rebuilt(spec, classes, tensors, factories))


def _last(examples: Examples, count: int) -> Examples:
    return examples.take(slice(max(0, len(examples) - count), len(examples)))
