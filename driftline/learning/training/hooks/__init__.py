"""What happens to the weights beside the gradient, one rule a file. The state of a rule is tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, ClassVar, TypeAlias

from driftline.registry import Part

if TYPE_CHECKING:
    from torch import Tensor

    from driftline.learning.examples import Examples
    from driftline.learning.training.train_state import TrainState
    from driftline.networks.served_model import ServedModel

HookState: TypeAlias = "dict[str, Tensor]"
Carry: TypeAlias = "Callable[[Mapping[str, Tensor]], dict[str, Tensor]]"


class WeightHook(Part):
    """Parameters of a rule. Its methods change the weights of the ``train_state``, or its own ``state``, in place.

    What they draw comes from torch's global generator, which the train state keeps. ``field`` is the recipe's that names it.
    """

    field: ClassVar[str]

    def check(self, module: ServedModel) -> None:
        """:class:`InvalidInput` where a network cannot be treated so."""

    def start(self, train_state: TrainState) -> HookState:
        """The state before the first update."""
        return {}

    def remember(self, state: HookState, versions: Mapping[int, Mapping[str, Tensor]]) -> None:
        """Takes in the weights of kept versions, by version and name."""

    def inherit(self, state: HookState, before: WeightHook, other: HookState) -> None:
        """Takes over from the rule ``before`` it: of another recipe, of other weights, or of the stream that a job has left."""

    def before_update(self, train_state: TrainState, state: HookState) -> None:
        """Between the gradient and the update that follows it."""

    def after_update(self, train_state: TrainState, state: HookState, examples: Examples) -> None:
        """Behind an update with ``examples``."""

    def on_drift(self, train_state: TrainState, state: HookState) -> None:
        """The world has changed."""

    def metrics(self, state: HookState) -> dict[str, int]:
        """What is told of the rule beside the learner's other metrics."""
        return {}

    def reclass(self, state: HookState) -> None:
        """Classes have other indices than those of the versions that were remembered."""

    def after_edit(self, train_state: TrainState, state: HookState, before: ServedModel, carry: Carry) -> HookState:
        """The state behind an edit of the module that was ``before``. ``carry`` maps what is named ``parameter.quantity``."""
        return state
