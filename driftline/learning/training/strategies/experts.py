"""A mixture of experts beside the network, weighted by how well they had predicted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from driftline.learning.examples import Examples
from driftline.learning.runtime import ExampleSource
from driftline.learning.stateful import State
from driftline.learning.training.experts.mixture import MixtureLearner, continued
from driftline.learning.training.strategies import StrategyRuntime
from driftline.learning.training.train_state import ModuleEdit, TrainState
from driftline.learning.training.training_step import TrainingStep
from driftline.learning.training.updates_per_step import updates_for
from driftline.networks.clone import clone
from driftline.networks.experts.mixture import Mixture, experts_of, has_other_rows
from driftline.networks.served_model import Rescaling
from driftline.spec import ModelSpec
from driftline.spec.classes import class_indices
from driftline.spec.parts.strategies import Experts


class ExpertsRuntime(StrategyRuntime[Experts]):
    """Trains the network by replay, and the mixture that is served with it by its own rules.

    ``mixture`` is None where the network is served alone. ``waiting`` are rows that the network has not been trained on: it
    takes ``min_rows`` at once, since an update of it costs more than a row is worth. ``updates`` are those of the step.
    """

    STATE = ("mixture", "waiting")
    DERIVED = ("updates",)
    min_rows: ClassVar[int] = 8
    played_rows: ClassVar[int] = 32
    """How many remembered rows a mixture that begins again learns at once."""

    def restart(self, state: TrainState) -> None:
        mixture = state.module.experts
        assert mixture is None or isinstance(mixture, Mixture)
        self.mixture = MixtureLearner(mixture) if mixture is not None else None
        self.waiting = Examples.empty(state.spec)
        self.updates = 0

    @property
    def is_waiting(self) -> bool:
        return self.mixture is not None and len(self.waiting) < self.min_rows

    def batch(self, new: Examples, replay: ExampleSource, generator: torch.Generator) -> Examples:
        return new.joined(replay.sample(self.parameters.replayed, generator))

    def follow_scales(self, state: TrainState, new: Examples) -> Rescaling | None:
        """The scales are the network's, and wait with it."""
        if self.mixture is None:
            return super().follow_scales(state, new)
        self.waiting = self.waiting.joined(new)
        return None if self.is_waiting else super().follow_scales(state, self.waiting)

    def carry(self, state: TrainState, rescaling: Rescaling) -> None:
        self.waiting = self.waiting.carried(rescaling)
        if self.mixture is not None:
            self.mixture.carry(*state.module.carried_rows(self.mixture.rows, rescaling))

    def update(self, step: TrainingStep, new: Examples, replay: ExampleSource) -> str | None:
        self.updates += 1
        if self.mixture is None or not len(new):
            return super().update(step, new, replay)
        return None if self.is_waiting else super().update(step, self.waiting, replay)

    def update_mixture_weights(self, member_outputs: Tensor, targets: Tensor) -> None:
        if self.mixture is not None:
            self.mixture.update_mixture_weights(member_outputs, targets)

    def after_step(self, step: TrainingStep, new: Examples) -> None:
        if self.mixture is None:
            return
        if not self.is_waiting:
            self.waiting = self.waiting.take(slice(0, 0))
        if len(new):
            rows = step.state.module.rows(new.inputs)
            targets = step.state.module.positions(new.targets)
            # While labels pile up, a step makes fewer updates than its labels would be worth.
            is_hurried = 2 * self.updates < updates_for(step.state.spec.recipe, len(new))
            self.mixture.learn(rows, targets, new.weights, step.state.generator, is_hurried)
        self.updates = 0

    def on_holdout(self, state: TrainState, holdout: ExampleSource, count: int) -> None:
        """Shows the mixture rows of classes that have gone, as many as there are among ``count`` of what is held out."""
        if self.mixture is None or not count or not bool(self.mixture.mixture.labels.rare.any()):
            return
        held = holdout.sample(count, state.generator)
        gone = held.take(self.mixture.mixture.are_rare(state.module.positions(held.targets)))
        if len(gone):
            targets = state.module.positions(gone.targets)
            self.mixture.remember(_member_outputs(state, gone, in_order=False), targets)

    def after_edit(self, state: TrainState, edit: ModuleEdit) -> None:
        former, waiting = self.mixture, self.waiting
        self.restart(state)
        if self.mixture is None or former is None:
            return
        # Of a mixture that has lost columns, what can be seen in it is taken up already.
        if former.mixture.columns.count == self.mixture.mixture.columns.count:
            self.mixture.load_state_dict(former.state_dict())
        self.waiting = waiting.answered_by(state.module)

    def warm_start_from(
        self, state: TrainState, other: StrategyRuntime[Any], classes: Sequence[int | str], remembered: Examples
    ) -> None:
        if self.mixture is None:
            return
        if not isinstance(other, ExpertsRuntime) or other.mixture is None:
            self.mixture.mixture.rely_on_network()
            self._play(state, remembered)
            return
        self.mixture = _continued(other.mixture, state.spec)
        state.module.experts = self.mixture.mixture
        self.mixture.reclass(class_indices(classes, state.classes), len(state.classes))
        waiting = other.waiting.answered_by(state.module)
        self.waiting = waiting.with_inputs(state.module.aligned(waiting.inputs))

    def _play(self, state: TrainState, examples: Examples) -> None:
        """Lets the experts learn, and be weighed, as if these had come one after the other."""
        assert self.mixture is not None
        for first in range(0, len(examples), self.played_rows):
            some = examples.take(slice(first, first + self.played_rows))
            targets = state.module.positions(some.targets)
            self.mixture.update_mixture_weights(_member_outputs(state, some), targets)
            self.mixture.learn(state.module.rows(some.inputs), targets, some.weights, state.generator)

    def packed(self, name: str) -> Any:
        return None if self.mixture is None else super().packed(name)

    def restored(self, name: str, state: State) -> Any:
        return getattr(self, name) if self.mixture is None else super().restored(name, state)


def _continued(former: MixtureLearner, spec: ModelSpec) -> MixtureLearner:
    """A copy of a mixture with its learner, for a spec that may have more fields."""
    if not has_other_rows(former.mixture, spec):
        found = MixtureLearner(clone(former.mixture))
        found.load_state_dict(former.state_dict())
        return found
    mixture = experts_of(spec, former.mixture.classes)
    assert mixture is not None
    return continued(former, mixture)


def _member_outputs(state: TrainState, examples: Examples, in_order: bool = True) -> Tensor:
    """The log-probabilities of all members for some rows ``[rows, members, classes]``."""
    with torch.no_grad():
        found = state.module.eval().traced(examples.inputs, in_order)[1]
    assert found is not None
    return found
