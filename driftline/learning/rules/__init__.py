"""What happens to the weights beside the gradient, one rule a file. The state of a rule is tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, ClassVar, TypeAlias

from driftline.registry import Part

if TYPE_CHECKING:
    from torch import Tensor

    from driftline.learning.examples import Examples
    from driftline.learning.trainee import Trainee
    from driftline.networks.build import Served

State: TypeAlias = "dict[str, Tensor]"
Carry: TypeAlias = "Callable[[Mapping[str, Tensor]], dict[str, Tensor]]"


class Rule(Part):
    """Parameters of a rule. Its methods change the weights of the ``trainee``, or its own ``state``, in place.

    What they draw comes from torch's global generator, which the trainee keeps. ``field`` is the recipe's that names it.
    """

    field: ClassVar[str]

    def check(self, module: Served) -> None:
        """:class:`InvalidInput` where a network cannot be treated so."""

    def start(self, trainee: Trainee) -> State:
        """The state before the first update."""
        return {}

    def remember(self, state: State, versions: Mapping[int, Mapping[str, Tensor]]) -> None:
        """Takes in the weights of kept versions, by version and name."""

    def inherit(self, state: State, before: Rule, other: State) -> None:
        """Takes over from the rule ``before`` it: of another recipe, of other weights, or of the stream that a job has left."""

    def on_gradient(self, trainee: Trainee, state: State) -> None:
        """Between the gradient and the update that follows it."""

    def on_update(self, trainee: Trainee, state: State, examples: Examples) -> None:
        """Behind an update with ``examples``."""

    def on_alarm(self, trainee: Trainee, state: State) -> None:
        """The world has changed."""

    def metrics(self, state: State) -> dict[str, int]:
        """What is told of the rule beside the learner's other metrics."""
        return {}

    def reclass(self, state: State) -> None:
        """Classes have other indices than those of the versions that were remembered."""

    def follow(self, trainee: Trainee, state: State, before: Served, carry: Carry) -> State:
        """The state behind an edit of the module that was ``before``. ``carry`` maps what is named ``parameter.quantity``."""
        return state
