"""What happens to the weights beside the gradient, one hook a file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from torch import Tensor

from driftline.learning.runtime import Runtime
from driftline.learning.training.train_state import TrainState
from driftline.networks.served_model import ServedModel
from driftline.spec.parts.hooks import WeightHook
from driftline.spec.registry import Behaviours

H = TypeVar("H", bound=WeightHook)


class WeightHookRuntime(Runtime[H]):
    """A hook at work on the weights of a train state."""

    def __init__(self, parameters: H, state: TrainState) -> None:
        super().__init__(parameters)
        self.restart(state)

    def restart(self, state: TrainState) -> None:
        """Sets the state before the first update of the present weights."""

    @classmethod
    def check(cls, parameters: H, module: ServedModel) -> None:
        """:class:`InvalidInput` where a network cannot be treated so."""

    def remember(self, versions: Mapping[int, Mapping[str, Tensor]]) -> None:
        """Takes in the weights of kept versions, by version and name."""

    def inherit(self, before: WeightHookRuntime[Any]) -> None:
        """Takes over from the hook ``before`` it: of another recipe, of other weights, or of the stream that a job has left."""

    def reclass(self) -> None:
        """Classes have other indices than those of the versions that were remembered."""


HOOK_RUNTIMES: Behaviours[WeightHook, WeightHookRuntime[Any]] = Behaviours(WeightHookRuntime, __name__)
