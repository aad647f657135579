"""The recipe's rules at work on the weights of a trainee."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor

from driftline.learning.averaging import Averaging
from driftline.learning.examples import Examples
from driftline.learning.rules import Carry, Rule, State
from driftline.networks.build import Served

if TYPE_CHECKING:
    from driftline.learning.trainee import Trainee


class Upkeep:
    """What changes weights between updates: the rules, in the recipe's order, and their states by the field that names them."""

    def __init__(self, trainee: Trainee) -> None:
        self.trainee = trainee
        self.rules: list[Rule] = []
        self.states: dict[str, State] = {}
        self.follow_recipe()

    def follow_recipe(self) -> None:
        """Takes the rules of the trainee's recipe; those that are as they were go on."""
        before, former = self._by_field(), self.states
        self.rules, self.states = self.trainee.spec.recipe.rules, {}
        for rule in self.rules:
            rule.check(self.trainee.module)
            has_stayed = before.get(rule.field) == rule
            self.states[rule.field] = former[rule.field] if has_stayed else rule.start(self.trainee)
            if rule.field in before and not has_stayed:
                rule.inherit(self.states[rule.field], before[rule.field], former[rule.field])

    def _by_field(self) -> dict[str, Rule]:
        return {rule.field: rule for rule in self.rules}

    def restart(self) -> None:
        """Goes on with other weights of the trainee, knowing nothing else of them."""
        former = self.states
        self.states = {}
        for rule in self.rules:
            self.states[rule.field] = rule.start(self.trainee)
            rule.inherit(self.states[rule.field], rule, former[rule.field])

    def follow_edit(self, before: Served, carry: Carry) -> None:
        """Goes on with the trainee's edited module."""
        for rule in self.rules:
            rule.check(self.trainee.module)
            self.states[rule.field] = rule.follow(self.trainee, self.states[rule.field], before, carry)

    def inherit(self, other: Upkeep) -> None:
        """Takes over what the rules of a job need from those of the stream that it is forked from."""
        theirs = other._by_field()
        for rule in self.rules:
            if rule.field in theirs:
                rule.inherit(self.states[rule.field], theirs[rule.field], other.states[rule.field])

    def remember(self, versions: Mapping[int, Mapping[str, Tensor]]) -> None:
        """Gives the rules the weights of versions that they name."""
        for rule in self.rules:
            rule.remember(self.states[rule.field], versions)

    def reclass(self) -> None:
        """Tells the rules that classes have other indices than in the versions that they know."""
        for rule in self.rules:
            rule.reclass(self.states[rule.field])

    def gradient(self) -> None:
        """Between the gradient and the update that follows it."""
        for rule in self.rules:
            rule.on_gradient(self.trainee, self.states[rule.field])

    def updated(self, examples: Examples) -> None:
        """Behind an update."""
        for rule in self.rules:
            rule.on_update(self.trainee, self.states[rule.field], examples)

    def alarm(self) -> None:
        """The world has changed."""
        for rule in self.rules:
            rule.on_alarm(self.trainee, self.states[rule.field])

    def candidate(self) -> Served:
        """What the weights amount to: the module itself, or a copy with their mean."""
        for rule in self.rules:
            if isinstance(rule, Averaging):
                return rule.candidate(self.trainee.module, self.states[rule.field])
        return self.trainee.module

    def metrics(self) -> dict[str, int]:
        """What is told of the rules."""
        return {name: value for rule in self.rules for name, value in rule.metrics(self.states[rule.field]).items()}

    def tensors(self) -> State:
        """The state."""
        return {f"{field}.{name}": value for field, state in self.states.items() for name, value in state.items()}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Sets the state that :meth:`tensors` gave."""
        for field in self.states:
            prefix = f"{field}."
            self.states[field] = {
                name.removeprefix(prefix): value.clone() for name, value in tensors.items() if name.startswith(prefix)
            }
