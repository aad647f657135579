"""A retrain: trainees of its own, over examples and a teacher that it was given at its fork."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import torch
from torch import Tensor

from driftline.classes import added, are_in_place, class_indices
from driftline.learning import gate
from driftline.learning.examples import Examples
from driftline.learning.gate import Comparison
from driftline.learning.lineup import Lineup
from driftline.learning.race import Race
from driftline.learning.racer import Racer
from driftline.learning.state import named, part
from driftline.learning.trainee import Elders, Trainee
from driftline.networks.build import Served, rebuilt
from driftline.networks.draft import Draft
from driftline.networks.edits import Edited, Sources
from driftline.networks.twin import twin
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
        whole, experts = twin(module), self.module.experts
        whole.experts = twin(experts) if experts is not None else None
        if whole.experts is not None and module.width > self.module.width:
            whole.experts.add_classes(module.width - self.module.width)  # type: ignore[operator]
        return whole

    def answering(self, classes: Sequence[int | str]) -> Served:
        """The network with these classes as its outputs, up to the first that it does not know: whoever is held to it counts
        by index.
        """
        rows = list(takewhile(lambda index: index is not None, class_indices(classes, self.classes)))
        if rows == list(range(len(self.classes))):
            return self.module
        draft = Draft(self.spec, self.classes, self.module, Sources())
        draft.rehead(rows)
        draft.after.experts = None
        return draft.after


class Retraining:
    """A race over the examples of a job, most often of a single racer; ``arrived`` is what the stream has learned meanwhile.

    The examples count the classes of the job, and what arrives those of the stream, whose ``classes`` these were at the fork.
    ``is_waiting``: it is done, and it has been said that it waits for a promotion.
    """

    def __init__(self, job: str, race: Race, teacher: Teacher, classes: Sequence[int | str]) -> None:
        self.job = job
        self.race = race
        self.classes = list(classes)
        self.arrived = race.examples.take(slice(0, 0))
        self.is_waiting = False
        self.teacher = teacher
        for racer in race.racers:
            elder = teacher.answering(racer.trainee.classes)
            racer.trainee.elders = Elders(elder, elder)

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

        Args:
            examples: by the stream's classes; those of a class that some model does not answer are left out.

        Raises:
            InvalidInput: there are too few examples to judge a race by.
        """
        examples = examples.reclassed(class_indices(stream.classes, _shared([model.classes for model in models])))
        budget = lineup.budget([model.spec for model in models], len(examples), epochs)
        pairs = zip(budget.courses, models, strict=True)
        racers = [Racer(number, course, model, seed) for number, (course, model) in enumerate(pairs)]
        for racer in racers:
            racer.trainee.count(examples)
            racer.trainee.upkeep.inherit(stream.upkeep)
        race = Race([entry.as_json() for entry in lineup.entries], racers, budget.keeps, examples, seed)
        if len(racers) > 1:
            lineup.check_examples(race.split.distinct)
        return cls(job, race, teacher, stream.classes)

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
        """Once it has rejoined, the newest that were learned, here or by the stream meanwhile; ``count`` at most."""
        both = _last(self.examples, count).joined(_last(self.arrived, count))
        return _last(both, count)

    def rejoin(self, stream: Trainee, remembered: Examples) -> Comparison | None:
        """Makes the updates that are left, catches up with the stream, and takes over what is kept beside the network.

        Gives how the winner did on what has arrived meanwhile, before it learned that.

        Args:
            remembered: what the stream's memory keeps, by the classes of the stream.

        Raises:
            TrainingFailed: no racer is left.
        """
        while not self.is_done:
            self.race.advance()
        new = added(self.trainee.classes, stream.classes[len(self.classes) :])
        indices = class_indices(stream.classes, [*self.trainee.classes, *new])
        compared = self._compare_arrived(indices)
        self.trainee.add_classes(new)
        self.arrived = self.arrived.reclassed(indices)
        self.race.leader.go_through(self.arrived)
        self.trainee.renew_strategy(stream.method, remembered.reclassed(indices))
        return compared

    def _compare_arrived(self, indices: Sequence[int | None]) -> Comparison | None:
        """The winner and the champion of the fork, on the newest live labels since: neither was trained on these.

        None where their strategies differ, or the classes and what is served beside the network: that is made anew at the end.

        Args:
            indices: by which the job counts the stream's classes; of those that it does not know nothing is compared.
        """
        is_other_strategy = self.teacher.spec.strategy != self.trainee.spec.strategy
        is_made_anew = self.teacher.module.experts is not None and not are_in_place(indices)
        if is_other_strategy or is_made_anew or not len(self.arrived):
            return None
        is_live = self.arrived.notes["is_live"][:, 0] > 0
        live = _last(self.arrived.take(is_live & self.arrived.stay(indices)), MOST_COMPARED)
        candidate = self.teacher.beside(self.trainee.candidate())
        errors = [
            gate.errors(module, examples, in_order=False)
            for module, examples in ((candidate, live.reclassed(indices)), (self.teacher.module, live))
        ]
        return Comparison("labels since the fork", *errors)

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
            "classes": self.classes,
            "teacher": {"spec": self.teacher.spec.model_dump(mode="json"), "classes": self.teacher.classes},
        }

    @classmethod
    def from_state(cls, tensors: Mapping[str, Tensor], data: Mapping[str, Any], factories: Sequence[str]) -> Retraining:
        """The job that :meth:`tensors` and :meth:`data` gave."""
        examples = Examples.from_tensors(part(tensors, "examples"))
        race = Race.from_state(part(tensors, "race"), data["race"], examples, factories)
        teacher = _teacher(part(tensors, "teacher"), data["teacher"], factories)
        found = cls(data["job"], race, teacher, data["classes"])
        found.arrived = Examples.from_tensors(part(tensors, "arrived"))
        return found


def _teacher(tensors: Mapping[str, Tensor], data: Mapping[str, Any], factories: Sequence[str]) -> Teacher:
    spec, classes = parse(ModelSpec, data["spec"]), list(data["classes"])
    return Teacher(spec, classes, rebuilt(spec, classes, tensors, factories))


def _shared(classes: Sequence[Sequence[int | str]]) -> list[int | str]:
    """The classes that several models have at the same indices."""
    return [names[0] for names in takewhile(lambda names: len(set(names)) == 1, zip(*classes, strict=False))]


def _last(examples: Examples, count: int) -> Examples:
    return examples.take(slice(max(0, len(examples) - count), len(examples)))
