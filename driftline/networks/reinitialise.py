"""Weights as a fresh network has them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from driftline.networks.clone import clone
from driftline.networks.edit_session import EditSession
from driftline.networks.parameter_map import ParameterBlock
from driftline.networks.regrouping import consumer_name, positions, unit_flow_of
from driftline.networks.seeded import seeded
from driftline.networks.unit_flow import ACTIVATIONS, CONVOLUTIONS, OUTPUT, followers, unit_axis, unit_count
from driftline.networks.user_code import user_code


def fresh_weights(session: EditSession, layers: list[str] | None, seed: int) -> dict[str, Tensor]:
    """The tensors of ``layers``, or of all and the output, drawn again from ``seed``."""
    module = clone(session.before)
    found: dict[str, Tensor] = {}
    with seeded(seed):
        for path in _paths(session, layers):
            part = module.get_submodule(path)
            leaves = [leaf for leaf in part.modules() if hasattr(leaf, "reset_parameters")]
            if not leaves:
                raise ValueError(f"{path.removeprefix('network.')!r} has no weights of its own")
            for leaf in leaves:
                with user_code(f"reset_parameters of {type(leaf).__name__}"):
                    leaf.reset_parameters()  # type: ignore[operator]
            found |= {f"{path}.{name}": value for name, value in part.state_dict().items()}
    return found


def _paths(session: EditSession, layers: list[str] | None) -> Iterator[str]:
    if layers is None:
        yield from ("network", OUTPUT) if isinstance(session.before.output, nn.Linear) else ("network",)
        return
    for layer in layers:
        yield OUTPUT if layer == OUTPUT else f"network.{session.structure.path(layer)}"


def reinitialise(session: EditSession, layers: list[str] | None, seed: int) -> None:
    """Gives layers fresh weights; what an optimizer knew of them goes."""
    for name, value in fresh_weights(session, layers, seed).items():
        session.set(name, value)
        session.forget(name)


def reinitialise_units(
    session: EditSession, layers: list[str] | None, units: list[int] | Literal["dead"], seed: int
) -> None:
    """Gives units of layers fresh weights, and lets what follows take nothing from them."""
    renewed = _ReinitialisedUnits(session)
    for layer in layers or _with_followers(session):
        chosen = dead_units(session, layer) if units == "dead" else units
        count = unit_count(session.structure.module(layer))
        if chosen and max(chosen) >= count:
            raise ValueError(f"{layer!r} has no unit {max(chosen)}; they are numbered from 0 to {count - 1}")
        flow = unit_flow_of(session, layer)
        values = fresh_weights(session, [layer], seed)
        axis = unit_axis(session.structure.module(layer))
        for name, value in values.items():
            renewed.set(name, value, axis if value.dim() > 1 else 0, chosen)
        for place in flow.passed:
            for name, value in fresh_weights(session, [session.structure.name(place.path)], seed).items():
                if value.dim():
                    renewed.set(name, value, 0, positions(place, chosen))
        name = consumer_name(flow.consumer)
        if name in session.old:
            at = [flow.consumer.offset + position for position in positions(flow.consumer, chosen)]
            renewed.set(name, torch.zeros_like(session.old[name]), 1, at)
    renewed.finish()


class _ReinitialisedUnits:
    """Which positions of which tensors are new."""

    def __init__(self, session: EditSession) -> None:
        self.session = session
        self.gone: dict[str, dict[int, set[int]]] = {}

    def set(self, name: str, value: Tensor, axis: int, chosen: list[int]) -> None:
        """Takes some positions of an axis from ``value``."""
        index = torch.tensor(chosen, dtype=torch.int64)
        own = self.session.after.state_dict()[name]
        self.session.set(name, own.index_copy(axis, index, value.index_select(axis, index)))
        self.gone.setdefault(name, {}).setdefault(axis, set()).update(chosen)

    def finish(self) -> None:
        """Says what has stayed."""
        for name, axes in self.gone.items():
            shape = self.session.old[name].shape
            stays = tuple(
                [place for place in range(size) if place not in axes[axis]] if axis in axes else None
                for axis, size in enumerate(shape)
            )
            self.session.map_parameters(ParameterBlock(name, name, stays, stays))


def dead_units(session: EditSession, layer: str) -> list[int]:
    """The units of a layer that give zero for every known row, after the activation that follows."""
    network, inputs = session.before.network, session.sources.inputs
    if inputs is None:
        raise ValueError("no rows are known here that would tell which units are dead")
    path = session.path(layer)
    active = next((where for where, module in followers(network, path) if not isinstance(module, _BatchNorm)), "")
    if not active or not isinstance(network.get_submodule(active), ACTIVATIONS):
        return []
    seen: list[Tensor] = []
    hook = network.get_submodule(active).register_forward_hook(lambda _module, _input, output: seen.append(output))
    was_training = session.before.training
    try:
        with user_code("the network"), torch.no_grad():
            session.before.eval()(dict(inputs))
    finally:
        session.before.train(was_training)
        hook.remove()
    axis = 1 if isinstance(network.get_submodule(path), CONVOLUTIONS) else seen[0].dim() - 1
    found: list[int] = (seen[0] == 0).movedim(axis, 0).flatten(1).all(1).nonzero().flatten().tolist()
    return found


def _with_followers(session: EditSession) -> list[str]:
    """The layers with units of which it is known what takes them."""

    def is_one(layer: str) -> bool:
        try:
            unit_count(session.structure.module(layer))
            unit_flow_of(session, layer)
        except ValueError:
            return False
        return True

    return [layer for layer in session.structure.names if is_one(layer)]
