"""The hidden units of a network: what makes them, and what takes them in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from driftline.learning.training.train_state import TrainState
from driftline.networks.clone import clone
from driftline.networks.sealed import own
from driftline.networks.served_model import ServedModel


@dataclass(frozen=True)
class HiddenLayer:
    """The units that the layer ``maker`` at ``path`` makes, and that the layer ``taker`` at ``behind`` takes in.

    The units stand along the first axis of the maker's weight, and as equal blocks along the second of the taker's.
    """

    path: str
    maker: nn.Linear | nn.Conv2d
    behind: str
    taker: nn.Linear | nn.Conv2d
    norms: dict[str, _BatchNorm] = field(default_factory=dict)

    @property
    def weight(self) -> str:
        """The name of the maker's weight."""
        return f"{self.path}.weight"

    @property
    def units(self) -> int:
        return len(self.maker.weight)

    def contribution(self, given: Tensor) -> Tensor:
        """``|h| · Σ |w|`` of each unit ``[units]``, from what the taker was given."""
        rows = given.flatten(0, -2) if isinstance(self.taker, nn.Linear) else given.flatten(1)
        strength = rows.abs().reshape(len(rows), self.units, -1).mean((0, 2))
        taken = self.taker.weight.abs().movedim(1, 0).reshape(self.units, -1).sum(1)
        return strength * taken

    @torch.no_grad()
    def renew(self, unit: int, state: TrainState) -> None:
        """Draws again what makes a unit, and lets it be taken in by nothing."""
        own(self.maker)
        own(self.taker)
        drawn = clone(self.maker)
        drawn.reset_parameters()
        for name, value in drawn.named_parameters():
            self.maker.get_parameter(name)[unit] = value[unit]
            state.forget(f"{self.path}.{name}", (unit,))
        for path, norm in self.norms.items():
            _reset(norm, unit)
            state.forget(f"{path}.weight", (unit,))
            state.forget(f"{path}.bias", (unit,))
        width = self.taker.weight.shape[1] // self.units
        block = slice(unit * width, (unit + 1) * width)
        self.taker.weight[:, block] = 0
        state.forget(f"{self.behind}.weight", (slice(None), block))


def _reset(norm: _BatchNorm, unit: int) -> None:
    for value, start in ((norm.weight, 1.0), (norm.bias, 0.0), (norm.running_mean, 0.0), (norm.running_var, 1.0)):
        if value is not None:
            value[unit] = start


def hidden_layers(module: ServedModel) -> list[HiddenLayer]:
    """The hidden units of a network that is a sequence of layers, layer by layer; none where it is not."""
    if not isinstance(module.network, nn.Sequential):
        return []
    layers = [(f"network.{name}", layer) for name, layer in module.network.named_children()]
    found: list[HiddenLayer] = []
    maker: tuple[str, nn.Linear | nn.Conv2d] | None = None
    norms: dict[str, _BatchNorm] = {}
    for path, layer in [*layers, ("output", module.output)]:
        if isinstance(layer, _BatchNorm):
            norms[path] = layer
        if not isinstance(layer, nn.Linear | nn.Conv2d):
            continue
        if maker is not None and _takes(layer, maker[1]):
            own = {name: norm for name, norm in norms.items() if norm.num_features == len(maker[1].weight)}
            found.append(HiddenLayer(*maker, path, layer, own))
        maker, norms = (path, layer), {}
    return found


def _takes(taker: nn.Linear | nn.Conv2d, maker: nn.Linear | nn.Conv2d) -> bool:
    is_whole = isinstance(taker, nn.Linear) or taker.groups == 1
    return is_whole and len(maker.weight) > 0 and taker.weight.shape[1] % len(maker.weight) == 0


@torch.no_grad()
def contributions(module: ServedModel, inputs: Mapping[str, Tensor]) -> list[tuple[HiddenLayer, Tensor]]:
    """What each hidden unit contributes to the answers for some rows: the layers with ``[units]``."""
    layers, given = hidden_layers(module), dict[str, Tensor]()
    handles = [layer.taker.register_forward_pre_hook(_note(given, layer.behind)) for layer in layers]
    try:
        module.eval()(dict(inputs))
    finally:
        for handle in handles:
            handle.remove()
    return [(layer, layer.contribution(given[layer.behind])) for layer in layers]


def _note(given: dict[str, Tensor], path: str):  # type: ignore[no-untyped-def]
    def note(_: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        given[path] = arguments[0]

    return note
