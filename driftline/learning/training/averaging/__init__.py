"""Means over the weights of many updates, one file a kind.

The mean is put to the gate and served; training goes on from the weights themselves.
"""

from __future__ import annotations

from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor

from driftline.learning.examples import Examples
from driftline.learning.runtime import ExampleSource, Runtime
from driftline.learning.training.train_state import ModuleEdit, TrainState
from driftline.learning.training.training_step import TrainingStep
from driftline.networks.clone import sibling
from driftline.networks.sealed import is_constant
from driftline.networks.served_model import ServedModel
from driftline.spec.parts.averaging import Averaging
from driftline.spec.registry import Behaviours

A = TypeVar("A", bound=Averaging)


class WeightAveraging(Runtime[A]):
    """A mean at work. Batch normalisation's running statistics are averaged like weights, as torch's own are.

    ``average`` holds the mean of each tensor of network and output; it is of ``updates`` updates, the last of which was taken
    after ``taken_at`` labels. Before the first update it is the weights themselves.
    """

    STATE: ClassVar[tuple[str, ...]] = ("average", "updates", "taken_at")

    def __init__(self, parameters: A, state: TrainState) -> None:
        super().__init__(parameters)
        self.average: dict[str, Tensor] = {}
        self.restart(state)

    def restart(self, state: TrainState) -> None:
        """Begins again from the present weights."""
        self.average = {name: value.clone() for name, value in averaged(state.module).items()}
        self.updates = 0
        self.taken_at = state.labels

    def share(self, labels: int) -> float:
        """How much the weights after so many labels count in the mean, up to 1; 0 leaves it as it is."""
        raise NotImplementedError

    def after_update(self, state: TrainState, examples: Examples) -> None:
        share = self.share(state.labels)
        if not share:
            return
        for name, value in averaged(state.module).items():
            # A mean that was read from a file is on the CPU.
            self.average[name] = self.average[name].to(value.device).lerp_(value, share)
        self.updates += 1
        self.taken_at = state.labels

    def on_drift(self, step: TrainingStep, replay: ExampleSource, labels: int) -> None:
        self.restart(step.state)

    def after_edit(self, state: TrainState, edit: ModuleEdit) -> None:
        """The mean goes on where the edit has left every former weight as it was; else it starts again."""
        average = self._after_edit(state, edit)
        if average is None:
            self.restart(state)
        else:
            self.average = average

    def _after_edit(self, state: TrainState, edit: ModuleEdit) -> dict[str, Tensor] | None:
        """The mean of the edited module's weights; None where former weights have changed."""
        weights = {name: value.detach() for name, value in edit.before.named_parameters()}
        now = {name: value.detach() for name, value in state.module.named_parameters()}
        place = edit.carried({name: torch.ones_like(value) for name, value in weights.items()})
        former = edit.carried(weights)
        means = edit.carried({name: self.average.get(name, value) for name, value in weights.items()})
        found = {}
        for name, value in _averageable(state.module).items():
            found[name] = value.detach().clone()
            if name in now and name in place:
                is_kept = place[name].bool()
                if not torch.equal(torch.where(is_kept, former[name], now[name]), now[name]):
                    return None
                found[name] = torch.where(is_kept, means[name], now[name])
            elif name not in now and name in self.average and self.average[name].shape == value.shape:
                found[name] = self.average[name]
        return {name: found[name] for name in averaged(state.module)}

    def candidate(self, module: ServedModel) -> ServedModel:
        """A copy of ``module`` with the mean of its weights."""
        found = sibling(module)
        for name, value in averaged(found).items():
            value.copy_(self.average[name])
        return found


def averaged(module: ServedModel) -> dict[str, Tensor]:
    """What has a mean: the floating-point weights and buffers of network and output, but for large frozen ones."""
    return {name: value.detach() for name, value in _averageable(module).items() if not is_constant(value)}


def _averageable(module: ServedModel) -> dict[str, Tensor]:
    return {
        name: value
        for name, value in module.state_dict(keep_vars=True).items()
        if name.startswith(("network.", "output.")) and value.is_floating_point()
    }


WEIGHT_AVERAGINGS: Behaviours[Averaging, WeightAveraging[Any]] = Behaviours(WeightAveraging, __name__)


def weight_averaging(averaging: Averaging, state: TrainState) -> WeightAveraging[Any]:
    """A mean that begins with the weights of ``state``."""
    return WEIGHT_AVERAGINGS.of(averaging)(averaging, state)
