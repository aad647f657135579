"""A retrain: a trainee of its own, over examples and a teacher that it was given at its fork."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from driftline.errors import InvalidInput
from driftline.learning import gate
from driftline.learning.examples import Examples
from driftline.learning.gate import Comparison
from driftline.learning.memory import Memory
from driftline.learning.rate_search import RateSearch
from driftline.learning.recipes import examples_an_update
from driftline.learning.search_budget import FEWEST_EXAMPLES
from driftline.learning.state import named, part
from driftline.learning.trainee import Elders, Trainee
from driftline.networks.build import Served, build, rebuilt
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


class Retraining:
    """Goes ``epochs`` times through its examples, an update at a time; ``arrived`` is what the stream has learned meanwhile.

    ``search`` is the race between learning rates that comes first, where one was asked for. ``is_waiting``: it is done, and it
    has been said that it waits for a promotion.
    """

    def __init__(
        self,
        job: str,
        spec: ModelSpec,
        classes: Sequence[int | str],
        module: Served,
        examples: Examples,
        epochs: int,
        seed: int,
        teacher: Teacher | None = None,
    ) -> None:
        self.job = job
        self.trainee = Trainee(spec, classes, module, seed)
        self.trainee.count(examples)
        self.examples = examples
        self.arrived = examples.take(slice(0, 0))
        self.total = epochs * math.ceil(len(examples) / self.batch_size)
        self.done = 0
        self.is_waiting = False
        self.seed = seed
        self.search: RateSearch | None = None
        self.teacher = teacher
        if teacher is not None:
            self.trainee.elders = Elders(teacher.module, teacher.module)

    @classmethod
    def fork(
        cls, job: str, edited: Edited, examples: Examples, epochs: int, seed: int, teacher: Teacher, stream: Trainee
    ) -> Retraining:
        """A job over an edited copy of the stream's model, with what its rules need of the stream."""
        if edited.spec.strategy != stream.spec.strategy:
            # What another strategy serves beside the network comes at the end; the job's state has its shape from here on.
            edited.module.experts = edited.spec.strategy.experts(edited.spec, len(edited.classes))
        forked = cls(job, edited.spec, edited.classes, edited.module, examples, epochs, seed, teacher)
        forked.trainee.upkeep.inherit(stream.upkeep)
        return forked

    def find_rate(self) -> None:
        """Lets a race between learning rates come first; with too few examples to judge it the recipe's own rate stays."""
        if len(self.examples) >= FEWEST_EXAMPLES:
            self.search = RateSearch.begin(self.trainee, self.examples, self.batch_size, self.seed)
            self.total += self.search.total

    @property
    def batch_size(self) -> int:
        """Examples an update."""
        return examples_an_update(self.trainee.spec)

    @property
    def is_done(self) -> bool:
        return self.done >= self.total

    @property
    def progress(self) -> float:
        """The share of the updates that are made, 0 to 1."""
        return min(1.0, self.done / self.total) if self.total else 1.0

    def advance(self, updates: int) -> None:
        """Makes some of the updates that are left."""
        with self.trainee.drawing():
            for _ in range(min(updates, self.total - self.done)):
                if self.search is not None and not self.search.is_done:
                    self.search.advance()
                else:
                    rows = torch.randint(len(self.examples), (self.batch_size,), generator=self.trainee.generator)
                    self._learn(self.examples.take(rows))
                self.done += 1

    def _learn(self, examples: Examples) -> None:
        self.trainee.labels += len(examples)
        self.trainee.descend(examples)

    def observe(self, examples: Examples, is_live: Sequence[bool]) -> None:
        """Notes what the stream learns meanwhile, and which of it the model was served to; the newest are kept."""
        noted = examples.noted(is_live=torch.tensor(is_live, dtype=torch.float32).unsqueeze(1))
        self.arrived = _last(self.arrived.joined(noted), MOST_ARRIVED)

    def newest(self, count: int) -> Examples:
        """The newest that were learned, here or by the stream meanwhile; ``count`` at most."""
        both = _last(self.examples, count).joined(_last(self.arrived, count))
        return _last(both, count)

    def rejoin(self, stream: Trainee, memory: Memory) -> Comparison | None:
        """Catches up with the stream that it was forked from, and takes over what its strategy keeps beside the network.

        Gives what :meth:`catch_up` gives.

        Raises:
            InvalidInput: the job has added a class in the place of one that has arrived meanwhile.
        """
        for arrived, added in zip(stream.classes, self.trainee.classes, strict=False):
            if (type(arrived), arrived) != (type(added), added):
                message = f"the job added the class {added!r}, and meanwhile {arrived!r} has arrived; retrain again"
                raise InvalidInput(message, code="classes_clash", field="edits", value=added)
        self.trainee.add_classes(stream.classes[len(self.trainee.classes) :])
        compared = self.catch_up()
        self.trainee.renew_strategy(stream.method, memory)
        return compared

    def catch_up(self) -> Comparison | None:
        """Makes the updates that are left, and goes once through what has arrived; gives how it did on that before."""
        self.advance(self.total - self.done)
        compared = self._compare_arrived()
        self.trainee.count(self.arrived)
        with self.trainee.drawing():
            for start in range(0, len(self.arrived), self.batch_size):
                self._learn(self.arrived.take(slice(start, start + self.batch_size)))
        return compared

    def _compare_arrived(self) -> Comparison | None:
        """The job and the champion that it was forked from, on the newest live labels since: neither was trained on these.

        None where their strategies differ: what another one serves beside the network comes at the end.
        """
        if self.teacher is None or self.teacher.spec.strategy != self.trainee.spec.strategy or not len(self.arrived):
            return None
        live = _last(self.arrived.take(self.arrived.notes["is_live"][:, 0] > 0), MOST_COMPARED)
        modules = self.trainee.candidate(), self.teacher.module
        errors = [gate.errors(module, live, in_order=False) for module in modules]
        return Comparison("labels since the fork", *errors)

    def report(self) -> dict[str, Any]:
        """What is to be told of the job beside the gate's decision: ``rates``, the table of a race between learning rates."""
        return {"rates": self.search.table()} if self.search is not None else {}

    def tensors(self) -> dict[str, Tensor]:
        return {
            **(named("teacher", self.teacher.module.state_dict()) if self.teacher else {}),
            **(named("search", self.search.tensors()) if self.search else {}),
            **named("trainee", self.trainee.tensors()),
            **named("examples", self.examples.tensors()),
            **named("arrived", self.arrived.tensors()),
        }

    def data(self) -> dict[str, Any]:
        teacher = self.teacher
        return {
            "job": self.job,
            "spec": self.trainee.spec.model_dump(mode="json"),
            "classes": self.trainee.classes,
            "total": self.total,
            "done": self.done,
            "seed": self.seed,
            "search": self.search.data() if self.search else None,
            "teacher": {"spec": teacher.spec.model_dump(mode="json"), "classes": teacher.classes} if teacher else None,
        }

    @classmethod
    def from_state(cls, tensors: Mapping[str, Tensor], data: Mapping[str, Any], factories: Sequence[str]) -> Retraining:
        """The job that :meth:`tensors` and :meth:`data` gave."""
        spec = parse(ModelSpec, data["spec"])
        module = build(spec, data["classes"], factories=factories, seed=0)
        examples = Examples.from_tensors(part(tensors, "examples"))
        teacher = _teacher(part(tensors, "teacher"), data["teacher"], factories) if data["teacher"] else None
        found = cls(data["job"], spec, data["classes"], module, examples, 0, data["seed"], teacher)
        if (search := data["search"]) is not None:
            found.search = RateSearch(found.trainee, examples, found.batch_size, search["seed"], search["rate"])
            found.search.load(part(tensors, "search"), search["done"])
        found.trainee.load(part(tensors, "trainee"))
        found.arrived = Examples.from_tensors(part(tensors, "arrived"))
        found.total, found.done = data["total"], data["done"]
        return found


def _teacher(tensors: Mapping[str, Tensor], data: Mapping[str, Any], factories: Sequence[str]) -> Teacher:
    spec, classes = parse(ModelSpec, data["spec"]), list(data["classes"])
    return Teacher(spec, classes, rebuilt(spec, classes, tensors, factories))


def _last(examples: Examples, count: int) -> Examples:
    return examples.take(slice(max(0, len(examples) - count), len(examples)))
