"""The recipe's weight hooks at work."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from driftline.learning.stateful import State, Stateful, named
from driftline.learning.training.hooks import HOOK_RUNTIMES, WeightHookRuntime
from driftline.learning.training.row_levers import check_row_tables
from driftline.learning.training.train_state import TrainState
from driftline.networks.served_model import ServedModel
from driftline.spec import Recipe


class WeightHooks(Stateful):
    """What changes weights beside the gradient, in the recipe's order; ``by_field`` names each by its field of the recipe."""

    DERIVED = ("by_field",)

    def __init__(self, state: TrainState) -> None:
        self.by_field: dict[str, WeightHookRuntime[Any]] = {}
        self.follow_recipe(state)

    def __iter__(self) -> Iterator[WeightHookRuntime[Any]]:
        return iter(self.by_field.values())

    def follow_recipe(self, state: TrainState) -> None:
        """Takes the hooks of the state's recipe; those that are as they were go on."""
        check_hooks(state.spec.recipe, state.module)
        before, self.by_field = self.by_field, {}
        for hook in state.spec.recipe.weight_hooks:
            former = before.get(hook.field)
            if former is not None and former.parameters == hook:
                self.by_field[hook.field] = former
                continue
            self.by_field[hook.field] = HOOK_RUNTIMES.of(hook)(hook, state)
            if former is not None:
                self.by_field[hook.field].inherit(former)

    def restart(self, state: TrainState) -> None:
        """Goes on with other weights, knowing nothing else of them."""
        for field, former in self.by_field.items():
            self.by_field[field] = type(former)(former.parameters, state)
            self.by_field[field].inherit(former)

    def inherit(self, other: WeightHooks) -> None:
        """Takes over what the hooks of a job need from those of the stream that it is forked from."""
        for field, hook in self.by_field.items():
            if field in other.by_field:
                hook.inherit(other.by_field[field])

    def remember(self, versions: Mapping[int, Mapping[str, Tensor]]) -> None:
        """Gives the hooks the weights of versions that they name."""
        for hook in self:
            hook.remember(versions)

    def reclass(self) -> None:
        """Tells the hooks that classes have other indices than in the versions that they know."""
        for hook in self:
            hook.reclass()

    def state_dict(self) -> State:
        states = {field: hook.state_dict() for field, hook in self.by_field.items()}
        tensors = {name: value for field, each in states.items() for name, value in named(field, each.tensors).items()}
        return State(tensors, {field: each.data for field, each in states.items()})

    def load_state_dict(self, state: State) -> None:
        for field, hook in self.by_field.items():
            hook.load_state_dict(state.below(field))


def check_hooks(recipe: Recipe, module: ServedModel) -> None:
    """:class:`InvalidInput` where a network cannot be treated as the recipe says."""
    check_row_tables(recipe, module)
    for hook in recipe.weight_hooks:
        HOOK_RUNTIMES.of(hook).check(hook, module)
