"""Weights as a fresh network has them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from driftline.networks.build import seeded
from driftline.networks.draft import Draft
from driftline.networks.kept import Kept
from driftline.networks.lines import ACTIVATIONS, CONVOLUTIONS, OUTPUT, followers
from driftline.networks.structure import unit_axis, unit_count
from driftline.networks.twin import twin
from driftline.networks.units import consumer_name, line_of, positions


def fresh(draft: Draft, layers: list[str] | None, seed: int) -> dict[str, Tensor]:
    """The tensors of ``layers``, or of all and the output, drawn anew from ``seed``."""
    module = twin(draft.before)
    found: dict[str, Tensor] = {}
    with seeded(seed):
        for path in _paths(draft, layers):
            part = module.get_submodule(path)
            leaves = [leaf for leaf in part.modules() if hasattr(leaf, "reset_parameters")]
            if not leaves:
                raise ValueError(f"{path.removeprefix('network.')!r} has no weights of its own")
            for leaf in leaves:
                leaf.reset_parameters()  # type: ignore[operator]
            found |= {f"{path}.{name}": value for name, value in part.state_dict().items()}
    return found


def _paths(draft: Draft, layers: list[str] | None) -> Iterator[str]:
    if layers is None:
        yield from ("network", OUTPUT) if isinstance(draft.before.output, nn.Linear) else ("network",)
        return
    for layer in layers:
        yield OUTPUT if layer == OUTPUT else f"network.{draft.structure.path(layer)}"


def renew(draft: Draft, layers: list[str] | None, seed: int) -> None:
    """Gives layers fresh weights; what an optimizer knew of them goes."""
    for name, value in fresh(draft, layers, seed).items():
        draft.set(name, value)
        draft.forget(name)


def renew_units(draft: Draft, layers: list[str] | None, units: list[int] | Literal["dead"], seed: int) -> None:
    """Gives units of layers fresh weights, and lets what stands behind take nothing from them."""
    renewed = _Renewed(draft)
    for layer in layers or _with_followers(draft):
        chosen = dead_units(draft, layer) if units == "dead" else units
        count = unit_count(draft.structure.module(layer))
        if chosen and max(chosen) >= count:
            raise ValueError(f"{layer!r} has no unit {max(chosen)}; they are numbered from 0 to {count - 1}")
        line = line_of(draft, layer)
        values = fresh(draft, [layer], seed)
        axis = unit_axis(draft.structure.module(layer))
        for name, value in values.items():
            renewed.set(name, value, axis if value.dim() > 1 else 0, chosen)
        for place in line.passed:
            for name, value in fresh(draft, [draft.structure.name(place.path)], seed).items():
                if value.dim():
                    renewed.set(name, value, 0, positions(place, chosen))
        name = consumer_name(line.consumer)
        if name in draft.old:
            at = [line.consumer.offset + position for position in positions(line.consumer, chosen)]
            renewed.set(name, torch.zeros_like(draft.old[name]), 1, at)
    renewed.finish()


class _Renewed:
    """Which positions of which tensors are new."""

    def __init__(self, draft: Draft) -> None:
        self.draft = draft
        self.gone: dict[str, dict[int, set[int]]] = {}

    def set(self, name: str, value: Tensor, axis: int, chosen: list[int]) -> None:
        """Takes some positions of an axis from ``value``."""
        index = torch.tensor(chosen, dtype=torch.int64)
        own = self.draft.after.state_dict()[name]
        self.draft.set(name, own.index_copy(axis, index, value.index_select(axis, index)))
        self.gone.setdefault(name, {}).setdefault(axis, set()).update(chosen)

    def finish(self) -> None:
        """Says what has stayed."""
        for name, axes in self.gone.items():
            shape = self.draft.old[name].shape
            stays = tuple(
                [place for place in range(size) if place not in axes[axis]] if axis in axes else None
                for axis, size in enumerate(shape)
            )
            self.draft.keep(Kept(name, name, stays, stays))


def dead_units(draft: Draft, layer: str) -> list[int]:
    """The units of a layer that give zero for every known row, behind the activation that follows."""
    network, inputs = draft.before.network, draft.sources.inputs
    if inputs is None:
        raise ValueError("no rows are known here that would tell which units are dead")
    path = draft.path(layer)
    active = next((where for where, module in followers(network, path) if not isinstance(module, _BatchNorm)), "")
    if not active or not isinstance(network.get_submodule(active), ACTIVATIONS):
        return []
    seen: list[Tensor] = []
    hook = network.get_submodule(active).register_forward_hook(lambda _module, _input, output: seen.append(output))
    was_training = draft.before.training
    try:
        with torch.no_grad():
            draft.before.eval()(dict(inputs))
    finally:
        draft.before.train(was_training)
        hook.remove()
    axis = 1 if isinstance(network.get_submodule(path), CONVOLUTIONS) else seen[0].dim() - 1
    found: list[int] = (seen[0] == 0).movedim(axis, 0).flatten(1).all(1).nonzero().flatten().tolist()
    return found


def _with_followers(draft: Draft) -> list[str]:
    """The layers with units of which it is known what takes them."""

    def is_one(layer: str) -> bool:
        try:
            unit_count(draft.structure.module(layer))
            line_of(draft, layer)
        except ValueError:
            return False
        return True

    return [layer for layer in draft.structure.names if is_one(layer)]
