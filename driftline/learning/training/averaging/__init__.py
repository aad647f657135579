"""Means over the weights of many updates, one file a kind.

The mean is put to the gate and served; training goes on from the weights themselves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from driftline.learning.training.hooks import WeightHook
from driftline.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor

    from driftline.learning.examples import Examples
    from driftline.learning.training.hooks import Carry, HookState
    from driftline.learning.training.train_state import TrainState
    from driftline.networks.served_model import ServedModel

AVERAGE = ".average"
COUNT, AT = "count", "at"


class Averaging(WeightHook):
    """Parameters of a mean. Batch normalisation's running statistics are averaged like weights, as torch's own are.

    The state holds ``name.average`` of each tensor of network and output, how many updates it is of, and the labels learned
    when the last of them was made. At a drift alarm it starts anew, and before the first update it is the weights themselves.
    """

    name: str
    field: ClassVar[str] = "averaging"

    def share(self, train_state: TrainState, state: HookState) -> float:
        """How much the present weights count in the mean, up to 1; 0 leaves it as it is."""
        raise NotImplementedError

    def start(self, train_state: TrainState) -> HookState:
        import torch

        state = {COUNT: torch.zeros((), dtype=torch.int64), AT: torch.tensor(train_state.labels)}
        return state | {name + AVERAGE: value.clone() for name, value in averaged(train_state.module).items()}

    def after_update(self, train_state: TrainState, state: HookState, examples: Examples) -> None:
        share = self.share(train_state, state)
        if not share:
            return
        for name, value in averaged(train_state.module).items():
            state[name + AVERAGE].lerp_(value, share)
        state[COUNT] += 1
        state[AT].fill_(train_state.labels)

    def on_drift(self, train_state: TrainState, state: HookState) -> None:
        state |= self.start(train_state)

    def after_edit(self, train_state: TrainState, state: HookState, before: ServedModel, carry: Carry) -> HookState:
        """The mean goes on where the edit has left every former weight as it was; else it starts anew."""
        import torch

        weights = {name: value.detach() for name, value in before.named_parameters()}
        now = {name: value.detach() for name, value in train_state.module.named_parameters()}
        place = carry({f"{name}.place": torch.ones_like(value) for name, value in weights.items()})
        former = carry({f"{name}.former": value for name, value in weights.items()})
        means = carry({name + AVERAGE: state[name + AVERAGE] for name in weights if name + AVERAGE in state})
        found = self.start(train_state) | {COUNT: state[COUNT], AT: state[AT]}
        for name, value in averaged(train_state.module).items():
            if name in now and f"{name}.place" in place:
                is_kept = place[f"{name}.place"].bool()
                if not torch.equal(torch.where(is_kept, former[f"{name}.former"], now[name]), now[name]):
                    return self.start(train_state)
                found[name + AVERAGE] = torch.where(is_kept, means[name + AVERAGE], now[name])
            elif name not in now and name + AVERAGE in state and state[name + AVERAGE].shape == value.shape:
                found[name + AVERAGE] = state[name + AVERAGE]
        return found

    def candidate(self, module: ServedModel, state: HookState) -> ServedModel:
        """A copy of ``module`` with the mean of its weights."""
        from driftline.networks.clone import clone

        found = clone(module)
        for name, value in averaged(found).items():
            value.copy_(state[name + AVERAGE])
        return found


def averaged(module: ServedModel) -> dict[str, Tensor]:
    """What has a mean: the floating-point weights and buffers of network and output."""
    return {
        name: value
        for name, value in module.state_dict().items()
        if name.startswith(("network.", "output.")) and value.is_floating_point()
    }


AVERAGINGS = Registry(Averaging, __name__)
