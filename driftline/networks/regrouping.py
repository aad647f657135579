"""Other units in a layer, and the same in all that follows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from driftline.networks.edit_session import EditSession
from driftline.networks.parameter_map import along_axis
from driftline.networks.unit_flow import OUTPUT, UnitFlow, UnitPlace, shapes, unit_axis, unit_flow_after


@dataclass(frozen=True)
class Regrouping:
    """How old units become new ones.

    New unit ``j`` computes what old unit ``rows[j]`` did. What follows takes from new unit ``new[i]`` the ``share[i]``
    of the weight that it had for old unit ``old[i]``.
    """

    rows: Sequence[int]
    old: Sequence[int]
    new: Sequence[int]
    share: Sequence[float]

    @classmethod
    def copies(cls, rows: Sequence[int]) -> Regrouping:
        """New units as copies of old ones, which share the weights that take them evenly."""
        count = torch.bincount(torch.tensor(rows)).tolist()
        return cls(rows, rows, range(len(rows)), [1 / count[row] for row in rows])

    @classmethod
    def groups(cls, group: Sequence[int]) -> Regrouping:
        """Old units in groups, numbered in order of their first unit, which stands for all and takes the sum of weights."""
        first = {number: unit for unit, number in reversed(list(enumerate(group)))}
        return cls([first[number] for number in sorted(first)], range(len(group)), group, [1.0] * len(group))


def unit_flow_of(session: EditSession, layer: str) -> UnitFlow:
    """Where the units of a layer went before the edit."""
    network = session.before.network
    return unit_flow_after(
        network, session.path(layer), shapes(network, session.structure.rows, session.structure.takes_names)
    )


def norms(session: EditSession, layer: str) -> Tensor:
    """The norm of each unit's weights ``[units]``; :class:`ValueError` where its units cannot be taken apart."""
    unit_flow_of(session, layer)
    module = session.before.network.get_submodule(session.path(layer))
    weight = module.get_parameter("weight").detach()
    found: Tensor = weight.movedim(unit_axis(module), 0).flatten(1).norm(dim=1)
    return found


def incoming(session: EditSession, layer: str) -> Tensor:
    """The weights that make each unit ``[units, numbers]``: its own, and those of the normalisations after it."""
    path, flow = session.path(layer), unit_flow_of(session, layer)
    module = session.before.network.get_submodule(path)
    parts = [value.movedim(unit_axis(module), 0) for _, value in _with_units(session, path, module)]
    for place in flow.passed:
        parts += [value.reshape(place.view).movedim(place.axis, 0) for _, value in _tensors(session, place.path)]
    return torch.cat([part.reshape(len(part), -1) for part in parts], 1)


def regroup(session: EditSession, layer: str, units: Regrouping, noise: float = 0.0) -> None:
    """Sets all weights of a layer whose structure has been given its new units.

    Args:
        noise: the deviation of what is added to the weights that take copies, in units of 1/√inputs. It sums to zero over the
            copies of a unit, so that they learn different things from the same function.
    """
    path, flow = session.path(layer), unit_flow_of(session, layer)
    module = session.before.network.get_submodule(path)
    for name, _ in _with_units(session, path, module):
        _select(session, name, unit_axis(module), list(units.rows))
    for place in flow.passed:
        for name, _ in _tensors(session, place.path):
            _select(session, name, 0, positions(place, units.rows))
    _take_from(session, flow.consumer, units, noise)


def _tensors(session: EditSession, path: str) -> list[tuple[str, Tensor]]:
    """The parameters and buffers of a module before the edit, without counters."""
    prefix = f"network.{path}."
    return [(name, value) for name, value in session.old.items() if name.startswith(prefix) and value.dim()]


def _with_units(session: EditSession, path: str, module: nn.Module) -> list[tuple[str, Tensor]]:
    """Those of a module's tensors that have a place for each of its units."""
    return [(name, value) for name, value in _tensors(session, path) if value.dim() > unit_axis(module)]


def positions(place: UnitPlace, rows: Sequence[int]) -> list[int]:
    """The old position of each number, where units of ``place`` have become those that ``rows`` names."""
    old = torch.arange(torch.Size(place.view).numel()).reshape(place.view)
    found: list[int] = old.index_select(place.axis, torch.tensor(rows, dtype=torch.int64)).flatten().tolist()
    return found


def _select(session: EditSession, name: str, axis: int, positions: list[int]) -> None:
    session.set(name, session.old[name].index_select(axis, torch.tensor(positions)))
    session.map_parameters(along_axis(name, name, axis, *_firsts(positions)))


def _firsts(positions: Sequence[int]) -> tuple[list[int], list[int]]:
    """Each old position, and the first new one that it has."""
    first = {old: new for new, old in reversed(list(enumerate(positions)))}
    return list(first), list(first.values())


def consumer_name(place: UnitPlace) -> str:
    """The weight that takes units in."""
    return "output.weight" if place.path == OUTPUT else f"network.{place.path}.weight"


def _take_from(session: EditSession, place: UnitPlace, units: Regrouping, noise: float) -> None:
    name, size = consumer_name(place), torch.Size(place.view).numel()
    if name not in session.old:
        raise ValueError("its units are the network's own output, which stays as it is")
    weight, axis = session.old[name], place.axis + 1
    end = place.offset + size
    block = weight[:, place.offset : end].reshape(len(weight), *place.view, *weight.shape[2:])
    old, new = (torch.tensor(list(indices), dtype=torch.int64) for indices in (units.old, units.new))
    share = torch.tensor(units.share).reshape(-1, *(1,) * (block.dim() - axis - 1))
    made = block.new_zeros((*block.shape[:axis], len(units.rows), *block.shape[axis + 1 :]))
    made.index_add_(axis, new, block.index_select(axis, old) * share)
    if noise:
        made += _cancelling(made.shape, axis, units.rows) * (noise / weight[0].numel() ** 0.5)
    flat = made.flatten(1, len(place.view))
    session.set(name, torch.cat([weight[:, : place.offset], flat, weight[:, end:]], 1))
    source, target = _firsts(positions(place, units.rows))
    grown = flat.shape[1] - size
    rest = [*range(place.offset), *range(end, weight.shape[1])]
    session.map_parameters(
        along_axis(
            name,
            name,
            1,
            [*rest, *(place.offset + position for position in source)],
            [*(at if at < end else at + grown for at in rest), *(place.offset + position for position in target)],
        )
    )


def _cancelling(shape: torch.Size, axis: int, rows: Sequence[int]) -> Tensor:
    """Normal noise that sums to zero over the copies of each unit."""
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    owner = torch.tensor(rows, dtype=torch.int64)
    sums = noise.new_zeros((*shape[:axis], int(owner.max()) + 1, *shape[axis + 1 :])).index_add_(axis, owner, noise)
    counts = torch.bincount(owner).clamp(min=1).reshape(-1, *(1,) * (len(shape) - axis - 1))
    return noise - (sums / counts).index_select(axis, owner)
