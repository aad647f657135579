"""The gradient update that both the stream and a retrain job make."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

import torch
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from driftline.learning.examples import Examples
from driftline.learning.training.distillation import DistillationTerm, Term
from driftline.learning.training.losses import loss_function
from driftline.learning.training.optimizers import OptimizerFactory
from driftline.learning.training.row_optimizers import coalesced, numbers_of
from driftline.learning.training.train_state import TrainState

CLIP_MARGIN = 1e-6
"""What torch adds to a norm that it divides by."""

GradientChange: TypeAlias = Callable[[dict[str, Tensor]], dict[str, Tensor]]


class UpdateHook(Protocol):
    """Takes part in every update."""

    def before_update(self, state: TrainState) -> None:
        """After the gradient, before the weights follow it."""

    def after_update(self, state: TrainState, examples: Examples) -> None:
        """After an update with ``examples``."""


class RateSchedule(Protocol):
    """Says how the learning rate changes."""

    def factor(self, labels: int) -> float:
        """What the rate is multiplied by after so many labels."""


class TrainingStep:
    """Makes one update of a train state: loss, distillation, gradient, hooks, clipping, and the schedule's rate.

    It follows the recipe that the state has when it is made.
    """

    def __init__(self, state: TrainState, schedule: RateSchedule, hooks: Sequence[UpdateHook]) -> None:
        recipe = state.spec.recipe
        self.state = state
        self.schedule = schedule
        self.hooks = list(hooks)
        self._loss = loss_function(state.spec.loss)
        self._optimizer = OptimizerFactory(recipe.optimizer)
        self._distillation = DistillationTerm(recipe.distillation) if recipe.distillation is not None else None

    @property
    def learning_rate(self) -> float:
        """The rate of the next update; that of a layer is a share of it."""
        return self._optimizer.parameters.learning_rate * self.schedule.factor(self.state.labels)

    def __call__(
        self, examples: Examples, extra: Term | None = None, change: GradientChange | None = None
    ) -> str | None:
        """One gradient update; or the reason why it was not made: a loss or a gradient that is not finite.

        Args:
            examples: those of the loss; where there is none, ``extra`` is all of it.
            extra: gives a term beside the loss, from the outputs ``[rows, classes]``.
            change: takes the gradient by parameter, and gives the one that is followed.
        """
        state = self.state
        state.train_mode(len(examples))
        state.forget_asked()
        for weight in state.parameters.values():
            weight.grad = None
        loss = self._whole_loss(examples, extra)
        if not math.isfinite(loss.item()):
            return "the loss is not a finite number"
        loss.backward()  # type: ignore[no-untyped-call]
        if change is not None:
            self._change_gradient(change)
        for name in state.tables:
            gradient = state.parameters[name].grad
            state.parameters[name].grad = coalesced(gradient) if gradient is not None else None
        for hook in self.hooks:
            hook.before_update(state)
        if not self._clip():
            return "the gradient is not finite"
        self._optimizer.set_rate(state.optimizer, self.learning_rate)
        state.optimizer.step()
        state.admit_rows()
        for hook in self.hooks:
            hook.after_update(state, examples)
        return None

    def _whole_loss(self, examples: Examples, extra: Term | None) -> Tensor:
        outputs = self.state.module(examples.inputs)
        loss = self.loss(examples, outputs) if len(examples) else outputs.new_zeros(())
        if extra is not None:
            loss = loss + extra(outputs)
        teacher = self.state.references.teacher
        if len(examples) and self._distillation is not None and teacher is not None:
            loss = loss + self._distillation.term(self.state.module, teacher, examples)(outputs)
        return loss

    def loss(self, examples: Examples, outputs: Tensor | None = None) -> Tensor:
        """The mean weighted loss, of the module's ``outputs`` where they are known already.

        Rows with a broken number, which is clipped, count next to nothing.
        """
        module = self.state.module
        outputs = module(examples.inputs) if outputs is None else outputs
        targets = module.scaled_targets(module.positions(examples.targets))
        losses = self._loss(outputs, targets, self.state.counts_by_output())
        trust = module.trust(examples.inputs)
        weights = examples.weights if trust is None else examples.weights * trust
        return (losses * weights).mean()

    def gradient(self, examples: Examples) -> dict[str, Tensor]:
        """The loss's gradient by parameter; nothing is changed."""
        self.state.train_mode(len(examples))
        parameters = self.state.parameters
        found = torch.autograd.grad(self.loss(examples), list(parameters.values()), allow_unused=True)
        return {name: value for name, value in zip(parameters, found, strict=True) if value is not None}

    def _change_gradient(self, change: GradientChange) -> None:
        parameters = self.state.parameters
        own = {name: weight.grad for name, weight in parameters.items() if weight.grad is not None}
        for name, gradient in change(own).items():
            parameters[name].grad = gradient

    def _clip(self) -> bool:
        """Bounds the gradient's norm as the recipe says; whether it is finite."""
        weights = self.state.parameters.values()
        norm = get_total_norm([numbers_of(weight.grad) for weight in weights if weight.grad is not None])
        length, limit = norm.item(), self._optimizer.parameters.clip
        if limit is not None and length > limit:
            clip_grads_with_norm_(
                [weight for name, weight in self.state.parameters.items() if name not in self.state.tables], limit, norm
            )
            for name in self.state.tables:
                if (gradient := self.state.parameters[name].grad) is not None:
                    numbers_of(gradient).mul_(limit / (norm + CLIP_MARGIN))
        return math.isfinite(length)
