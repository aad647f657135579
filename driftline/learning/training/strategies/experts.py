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
from driftline.learning.training.experts.regression import RegressionLearner
from driftline.learning.training.experts.regression import continued as continued_regression
from driftline.learning.training.experts.set_aside import set_aside
from driftline.learning.training.experts.sleeping import SleepingMixtures, learner_of
from driftline.learning.training.returned import Return
from driftline.learning.training.strategies import StrategyRuntime
from driftline.learning.training.train_state import ModuleEdit, TrainState
from driftline.learning.training.training_step import TrainingStep
from driftline.learning.training.updates_per_step import updates_for
from driftline.networks.experts.mixture import Mixture
from driftline.networks.experts.regression import RegressionMixture
from driftline.networks.experts.serving import continued as continued_mixture
from driftline.networks.experts.serving import has_other_rows
from driftline.networks.served_model import Rescaling
from driftline.spec.classes import class_indices
from driftline.spec.parts.strategies import Experts


class ExpertsRuntime(StrategyRuntime[Experts]):
    """Trains the network by replay, and the mixture that is served with it by its own rules.

    ``mixture`` is None where the network is served alone. ``waiting`` are rows that the network has not been trained on: it
    takes ``min_rows`` at once, since an update of it costs more than a row is worth. ``updates`` are those of the step.
    ``set_aside`` counts, by kind, the members that have begun again because they gave no numbers. ``sleeping`` are what the
    mixture was before drift was detected; None where there is no mixture.
    """

    STATE = ("mixture", "waiting", "set_aside", "sleeping")
    DERIVED = ("updates", "_waiting", "_waiting_rows")
    min_rows: ClassVar[int] = 8
    played_rows: ClassVar[int] = 32
    """How many remembered rows a mixture that begins again learns at once."""

    def restart(self, state: TrainState) -> None:
        self.mixture = _learner_of(state)
        self.waiting = Examples.empty(state.spec)
        self.updates = 0
        self.set_aside: dict[str, int] = {}
        self.sleeping = _sleeping_of(state, self.parameters)

    @property
    def waiting(self) -> Examples:
        if len(self._waiting) > 1:
            self.waiting = Examples.all_of(self._waiting)
        return self._waiting[0]

    @waiting.setter
    def waiting(self, rows: Examples) -> None:
        # They are put together when they are learned: to do so at each label would cost as much as a small member.
        self._waiting, self._waiting_rows = [rows], len(rows)

    @property
    def is_waiting(self) -> bool:
        return self.mixture is not None and self._waiting_rows < self.min_rows

    def batch(self, new: Examples, replay: ExampleSource, generator: torch.Generator) -> Examples:
        return new.joined(replay.sample(self.parameters.replayed, generator))

    def follow_scales(self, state: TrainState, new: Examples) -> Rescaling | None:
        """The scales are the network's, and wait with it."""
        if self.mixture is None:
            return super().follow_scales(state, new)
        if len(new):
            self._waiting.append(new)
            self._waiting_rows += len(new)
        return None if self.is_waiting else super().follow_scales(state, self.waiting)

    def carry(self, state: TrainState, rescaling: Rescaling) -> None:
        self.waiting = self.waiting.carried(rescaling)
        if self.mixture is not None:
            self.mixture.carry(*state.module.carried_rows(self.mixture.rows, rescaling))
        if self.sleeping is not None:
            self.sleeping.carry(state, rescaling)

    def update(self, step: TrainingStep, new: Examples, replay: ExampleSource) -> str | None:
        self.updates += 1
        if self.mixture is None or not len(new):
            return super().update(step, new, replay)
        return None if self.is_waiting else super().update(step, self.waiting, replay)

    def update_mixture_weights(self, state: TrainState, member_outputs: Tensor, examples: Examples) -> None:
        module = state.module
        if isinstance(self.mixture, RegressionLearner):
            rows = module.rows(examples.inputs)
            self.mixture.update_mixture_weights(member_outputs, rows, examples.targets, examples.weights)
        elif self.mixture is not None:
            targets = module.positions(examples.targets)
            self.mixture.update_mixture_weights(member_outputs, targets, examples.weights)

    def revise(self, state: TrainState, corrected: Examples) -> Tensor:
        self.waiting = self.waiting.revised(corrected)
        if self.sleeping is not None:
            self.sleeping.revise(corrected)
        if self.mixture is None or not len(corrected):
            return super().revise(state, corrected)
        targets = state.module.positions(corrected.targets)
        return self.mixture.revise(corrected.numbers, targets, corrected.weights)

    def on_drift(self, step: TrainingStep, replay: ExampleSource, labels: int) -> None:
        if self.sleeping is not None:
            self.sleeping.on_drift(labels)

    def on_served(self, state: TrainState, examples: Examples, losses: Sequence[float]) -> Return | None:
        former = None if self.sleeping is None else self.sleeping.on_served(state, examples, losses)
        if former is None or self.sleeping is None:
            return None
        returned, missed = self.sleeping.wake(former)
        state.module.experts = former.mixture
        self.mixture = learner_of(former.mixture)
        # The newest of them are learned with this step.
        self._play(state, missed.take(slice(0, len(missed) - len(examples))))
        return returned

    def after_step(self, step: TrainingStep, new: Examples) -> None:
        if self.mixture is None:
            return
        if not self.is_waiting and self._waiting_rows:
            self.waiting = self.waiting.take(slice(0, 0))
        if len(new):
            rows = step.state.module.rows(new.inputs)
            targets = step.state.module.positions(new.targets)
            # While labels pile up, a step makes fewer updates than its labels would be worth.
            is_hurried = 2 * self.updates < updates_for(step.state.spec.recipe, len(new))
            self.mixture.learn(rows, targets, new.weights, step.state.generator, is_hurried, new.numbers)
        if isinstance(self.mixture, RegressionLearner):
            self.mixture.follow_labels()
        if self.sleeping is not None:
            self.sleeping.on_learned(len(new))
        self.updates = 0

    def on_holdout(self, state: TrainState, holdout: ExampleSource, count: int) -> None:
        """Shows the mixture rows of classes that have gone, as many as there are among ``count`` of what is held out."""
        if not isinstance(self.mixture, MixtureLearner) or not count:
            return
        if not self.mixture.mixture.labels.has_rare:
            return
        held = holdout.sample(count, state.generator)
        is_gone = self.mixture.mixture.are_rare(state.module.positions(held.targets))
        gone = held.take(is_gone & (held.weights > 0))
        if len(gone):
            targets = state.module.positions(gone.targets)
            self.mixture.remember(_member_outputs(state, gone, in_order=False), targets)

    def after_edit(self, state: TrainState, edit: ModuleEdit) -> None:
        former, waiting, sleeping = self.mixture, self.waiting, self.sleeping
        self.restart(state)
        if self.mixture is None or former is None:
            return
        before, now = (each.class_ids or [*range(each.width)] for each in (edit.before, state.module))
        self._sleep_on(sleeping, now[: len(before)] == before)
        # Of a mixture that has lost columns, what can be seen in it is taken up already.
        if _has_same_columns(former, self.mixture):
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
        self._continue(state, other.mixture)
        if isinstance(self.mixture, MixtureLearner):
            self.mixture.reclass(class_indices(classes, state.classes), len(state.classes))
        self._sleep_on(other.sleeping, state.classes[: len(classes)] == [*classes])
        waiting = other.waiting.answered_by(state.module)
        self.waiting = waiting.with_inputs(state.module.aligned(waiting.inputs))

    def relearn(self, state: TrainState, remembered: Examples) -> None:
        waiting, sleeping = self.waiting, self.sleeping
        self.restart(state)
        self._sleep_on(sleeping, has_former_classes=True)
        self.waiting = waiting
        self._play(state, remembered)

    def after_restart(self, state: TrainState, former: StrategyRuntime[Any], classes: Sequence[int | str]) -> None:
        if isinstance(former, ExpertsRuntime):
            self._sleep_on(former.sleeping, state.classes[: len(classes)] == [*classes])

    def _continue(self, state: TrainState, former: MixtureLearner | RegressionLearner) -> None:
        """Goes on with a copy of a mixture with its learner, for a spec that may have more fields."""
        is_other = has_other_rows(former.mixture, state.spec)
        experts = state.module.experts = continued_mixture(former.mixture, state.spec)
        self.sleeping = _sleeping_of(state, self.parameters)
        if is_other and isinstance(former, MixtureLearner) and isinstance(experts, Mixture):
            self.mixture = continued(former, experts)
            return
        if is_other and isinstance(former, RegressionLearner) and isinstance(experts, RegressionMixture):
            self.mixture = continued_regression(former, experts)
            return
        self.mixture = _learner_of(state)
        assert self.mixture is not None
        if not is_other:
            self.mixture.load_state_dict(former.state_dict())

    def _play(self, state: TrainState, examples: Examples) -> None:
        """Lets the experts learn, and be weighed, as if these had come one after the other."""
        assert self.mixture is not None
        for first in range(0, len(examples), self.played_rows):
            some = examples.take(slice(first, first + self.played_rows))
            self.update_mixture_weights(state, _member_outputs(state, some), some)
            targets = state.module.positions(some.targets)
            rows = state.module.rows(some.inputs)
            self.mixture.learn(rows, targets, some.weights, state.generator, numbers=some.numbers)
            if isinstance(self.mixture, RegressionLearner):
                self.mixture.follow_labels()

    def _sleep_on(self, former: SleepingMixtures | None, has_former_classes: bool) -> None:
        """Keeps what sleeps, where the present mixture answers the classes of that first."""
        if self.sleeping is not None and former is not None and has_former_classes:
            self.sleeping.continue_from(former)

    def on_refusal(self, state: TrainState) -> None:
        for name in set_aside(self.mixture, state.generator) if self.mixture is not None else ():
            self.set_aside[name] = self.set_aside.get(name, 0) + 1

    def metrics(self) -> dict[str, Any]:
        found: dict[str, Any] = {"set_aside": dict(self.set_aside)} if self.set_aside else {}
        return found if self.sleeping is None else found | self.sleeping.metrics()

    def packed(self, name: str) -> Any:
        if name == "set_aside":
            return dict(self.set_aside)
        return None if self.mixture is None else super().packed(name)

    def restored(self, name: str, state: State) -> Any:
        if name == "set_aside":
            # Former releases had none begin again.
            return dict(state.data.get(name) or {})
        if name == "sleeping" and name not in state.data:
            # In former releases none slept.
            return self.sleeping
        return getattr(self, name) if self.mixture is None else super().restored(name, state)


def _learner_of(state: TrainState) -> MixtureLearner | RegressionLearner | None:
    """What teaches the mixture that a module serves, if it serves one."""
    experts = _mixture_of(state)
    return learner_of(experts) if experts is not None else None


def _mixture_of(state: TrainState) -> Mixture | RegressionMixture | None:
    experts = state.module.experts
    assert experts is None or isinstance(experts, Mixture | RegressionMixture)
    return experts


def _sleeping_of(state: TrainState, parameters: Experts) -> SleepingMixtures | None:
    experts = _mixture_of(state)
    return SleepingMixtures(parameters.sleeping, experts) if experts is not None else None


def _has_same_columns(one: MixtureLearner | RegressionLearner, other: MixtureLearner | RegressionLearner) -> bool:
    if isinstance(one, MixtureLearner) and isinstance(other, MixtureLearner):
        return one.mixture.columns.count == other.mixture.columns.count
    return type(one) is type(other)


def _member_outputs(state: TrainState, examples: Examples, in_order: bool = True) -> Tensor:
    """The log-probabilities of all members for some rows ``[rows, members, classes]``, or their values."""
    with torch.no_grad():
        found = state.module.eval().traced(examples.inputs, in_order)[1]
    assert found is not None
    return found
