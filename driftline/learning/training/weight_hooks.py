"""The recipe's rules at work on the weights of a train state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor

from driftline.learning.examples import Examples
from driftline.learning.training.averaging import Averaging
from driftline.learning.training.hooks import Carry, HookState, WeightHook
from driftline.networks.served_model import ServedModel

if TYPE_CHECKING:
    from driftline.learning.training.train_state import TrainState


class WeightHooks:
    """What changes weights between updates: the rules, in the recipe's order, and their states by the field that names them."""

    def __init__(self, train_state: TrainState) -> None:
        self.train_state = train_state
        self.hooks: list[WeightHook] = []
        self.states: dict[str, HookState] = {}
        self.follow_recipe()

    def follow_recipe(self) -> None:
        """Takes the rules of the train state's recipe; those that are as they were go on."""
        before, former = self._by_field(), self.states
        self.hooks, self.states = self.train_state.spec.recipe.rules, {}
        for hook in self.hooks:
            hook.check(self.train_state.module)
            has_stayed = before.get(hook.field) == hook
            self.states[hook.field] = former[hook.field] if has_stayed else hook.start(self.train_state)
            if hook.field in before and not has_stayed:
                hook.inherit(self.states[hook.field], before[hook.field], former[hook.field])

    def _by_field(self) -> dict[str, WeightHook]:
        return {hook.field: hook for hook in self.hooks}

    def restart(self) -> None:
        """Goes on with other weights of the train state, knowing nothing else of them."""
        former = self.states
        self.states = {}
        for hook in self.hooks:
            self.states[hook.field] = hook.start(self.train_state)
            hook.inherit(self.states[hook.field], hook, former[hook.field])

    def follow_edit(self, before: ServedModel, carry: Carry) -> None:
        """Goes on with the train state's edited module."""
        for hook in self.hooks:
            hook.check(self.train_state.module)
            self.states[hook.field] = hook.after_edit(self.train_state, self.states[hook.field], before, carry)

    def inherit(self, other: WeightHooks) -> None:
        """Takes over what the rules of a job need from those of the stream that it is forked from."""
        theirs = other._by_field()
        for hook in self.hooks:
            if hook.field in theirs:
                hook.inherit(self.states[hook.field], theirs[hook.field], other.states[hook.field])

    def remember(self, versions: Mapping[int, Mapping[str, Tensor]]) -> None:
        """Gives the rules the weights of versions that they name."""
        for hook in self.hooks:
            hook.remember(self.states[hook.field], versions)

    def reclass(self) -> None:
        """Tells the rules that classes have other indices than in the versions that they know."""
        for hook in self.hooks:
            hook.reclass(self.states[hook.field])

    def gradient(self) -> None:
        """Between the gradient and the update that follows it."""
        for hook in self.hooks:
            hook.before_update(self.train_state, self.states[hook.field])

    def updated(self, examples: Examples) -> None:
        """Behind an update."""
        for hook in self.hooks:
            hook.after_update(self.train_state, self.states[hook.field], examples)

    def alarm(self) -> None:
        """The world has changed."""
        for hook in self.hooks:
            hook.on_drift(self.train_state, self.states[hook.field])

    def candidate(self) -> ServedModel:
        """What the weights amount to: the module itself, or a copy with their mean."""
        for hook in self.hooks:
            if isinstance(hook, Averaging):
                return hook.candidate(self.train_state.module, self.states[hook.field])
        return self.train_state.module

    def metrics(self) -> dict[str, int]:
        """What is told of the rules."""
        return {name: value for hook in self.hooks for name, value in hook.metrics(self.states[hook.field]).items()}

    def tensors(self) -> HookState:
        """The state."""
        return {f"{field}.{name}": value for field, state in self.states.items() for name, value in state.items()}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Sets the state that :meth:`tensors` gave."""
        for field in self.states:
            prefix = f"{field}."
            self.states[field] = {
                name.removeprefix(prefix): value.clone() for name, value in tensors.items() if name.startswith(prefix)
            }
