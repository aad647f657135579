"""A retrain: a trainee of its own, over examples that it was given at its fork."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from driftline.learning.examples import Examples
from driftline.learning.recipes import examples_an_update
from driftline.learning.state import named, part
from driftline.learning.trainee import Trainee
from driftline.networks.build import Served, build
from driftline.spec import ModelSpec, parse

MOST_ARRIVED = 20_000


class Retraining:
    """Goes ``epochs`` times through its examples, an update at a time; ``arrived`` is what the stream has learned meanwhile.

    ``is_waiting``: it is done, and it has been said that it waits for a promotion.
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
    ) -> None:
        self.job = job
        self.classes = list(classes)
        self.trainee = Trainee(spec, module, seed)
        self.examples = examples
        self.arrived = examples.take(slice(0, 0))
        self.total = epochs * math.ceil(len(examples) / self.batch_size)
        self.done = 0
        self.is_waiting = False

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
                rows = torch.randint(len(self.examples), (self.batch_size,), generator=self.trainee.generator)
                self.trainee.descend(self.examples.take(rows))
                self.done += 1

    def observe(self, examples: Examples) -> None:
        """Notes what the stream learns meanwhile; the newest are kept."""
        self.arrived = _last(self.arrived.joined(examples), MOST_ARRIVED)

    def newest(self, count: int) -> Examples:
        """The newest that were learned, here or by the stream meanwhile; ``count`` at most."""
        both = _last(self.examples, count).joined(_last(self.arrived, count))
        return _last(both, count)

    def catch_up(self) -> None:
        """Makes the updates that are left, and goes once through what has arrived."""
        self.advance(self.total - self.done)
        with self.trainee.drawing():
            for start in range(0, len(self.arrived), self.batch_size):
                self.trainee.descend(self.arrived.take(slice(start, start + self.batch_size)))

    def tensors(self) -> dict[str, Tensor]:
        return {
            **named("trainee", self.trainee.tensors()),
            **named("examples", self.examples.tensors()),
            **named("arrived", self.arrived.tensors()),
        }

    def data(self) -> dict[str, Any]:
        spec = self.trainee.spec.model_dump(mode="json")
        return {"job": self.job, "spec": spec, "classes": self.classes, "total": self.total, "done": self.done}

    @classmethod
    def from_state(cls, tensors: Mapping[str, Tensor], data: Mapping[str, Any], factories: Sequence[str]) -> Retraining:
        """The job that :meth:`tensors` and :meth:`data` gave."""
        spec = parse(ModelSpec, data["spec"])
        module = build(spec, data["classes"], factories=factories, seed=0)
        examples = Examples.from_tensors(part(tensors, "examples"))
        found = cls(data["job"], spec, data["classes"], module, examples, 0, 0)
        found.trainee.load(part(tensors, "trainee"))
        found.arrived = Examples.from_tensors(part(tensors, "arrived"))
        found.total, found.done = data["total"], data["done"]
        return found


def _last(examples: Examples, count: int) -> Examples:
    return examples.take(slice(max(0, len(examples) - count), len(examples)))
