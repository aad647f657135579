"""A network whose rows get more numbers, and which answers as before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from driftline.errors import InvalidInput
from driftline.networks.edit_session import EditSession
from driftline.networks.experts.mixture import Mixture
from driftline.networks.experts.regression import RegressionMixture
from driftline.networks.experts.serving import check_continues, continued
from driftline.networks.modules import Branched
from driftline.networks.parameter_map import along_axis
from driftline.networks.seeded import seeded
from driftline.networks.sequential import layered
from driftline.networks.unit_flow import flow_of_inputs
from driftline.spec import Factory, ModelSpec
from driftline.spec.row_layout import RowLayout, places_after


@dataclass(frozen=True)
class WiderRow:
    """``places`` are where former numbers stand among the ``size`` of now; the new ones that are ``silent`` have weight 0."""

    size: int
    places: list[int]
    silent: list[int]

    @classmethod
    def of(cls, before: RowLayout, after: RowLayout) -> WiderRow:
        """How what a network takes has grown."""
        places = places_after(before.network_parts, after.network_parts)
        vectors = range(after.features, after.features + sum(after.vectors.values()))
        size = sum(after.network_parts.values())
        return cls(size, places, sorted({*range(size)} - {*places} - {*vectors}))

    def filled(self, fresh: Tensor, old: Tensor) -> Tensor:
        """The weights ``[units, numbers]`` of a layer that takes the row."""
        found = fresh.clone()
        found[:, self.silent] = 0
        found[:, self.places] = old
        return found


def widen_inputs(session: EditSession, before: ModelSpec) -> None:
    """Lets the network of a session, whose fields have become more, take them.

    Raises:
        ValueError: it cannot; why.
    """
    spec = session.spec
    if isinstance(spec.network, Factory):
        raise ValueError(
            f"the network is made by {spec.network.factory}, whose inputs are its own: it takes {_described(before)}, and "
            f"would have to take {_described(spec)}; create a model with one that does"
        )
    shapes = [tensor.shape for tensor in before.network_inputs.values()]
    if len(shapes) == 1 and len(shapes[0]) != 1:
        raise ValueError(
            f"the network takes a single tensor, of shape {shapes[0]}; with another field it would get a flat row"
        )
    check_continues(before, spec)
    row = WiderRow.of(before.layout, spec.layout)
    _widen_network(session, row)
    if isinstance(session.before.experts, Mixture | RegressionMixture):
        session.after.experts = continued(session.before.experts, spec)


def _widen_network(session: EditSession, row: WiderRow) -> None:
    network = session.before.network
    tops = ["main", *network.branch_names] if isinstance(network, Branched) else [""]
    flows = {top: flow_of_inputs(network, top) for top in tops}
    with seeded(0):
        try:
            fresh, shape = layered(session.spec)
        except InvalidInput as error:
            raise ValueError(error.message) from None
        output = _wider_output(session, torch.Size(shape).numel())
    session.after.network = fresh.train(session.before.training)
    own = session.after.state_dict()
    for name, value in session.old.items():
        if name.startswith("network.") and own[name].shape == value.shape:
            own[name].copy_(value)
    for passed, consumer in flows.values():
        for path in passed:
            _fill_norm(session, f"network.{path}", row.places)
        if consumer is not None:
            _fill(session, f"network.{consumer}.weight", row)
    if output is not None:
        session.after.output = output
        _fill(session, "output.weight", _at_output(session, flows, row))
        session.set("output.bias", session.old["output.bias"])
    for name, table in session.before.named_parameters():
        if name.startswith("embeddings."):
            session.map_parameters(along_axis(name, name, 0, range(len(table)), range(len(table))))


def _wider_output(session: EditSession, size: int) -> nn.Linear | None:
    """An output layer for as many numbers as the network gives now; None where these are as many as before."""
    output = session.before.output
    if not isinstance(output, nn.Linear):
        if size != session.before.width:
            raise ValueError(f"the network, which has its own output, would give {size} numbers")
        return None
    if output.in_features == size:
        return None
    return nn.Linear(size, output.out_features).requires_grad_(output.weight.requires_grad)


def _fill(session: EditSession, name: str, row: WiderRow) -> None:
    """Gives the layer that takes the row its weights."""
    session.set(name, row.filled(session.after.state_dict()[name], session.old[name]))
    session.map_parameters(along_axis(name, name, 1, range(len(row.places)), row.places))


def _fill_norm(session: EditSession, path: str, places: Sequence[int]) -> None:
    """Gives the normalisation of a row the numbers of the former ones; new ones are as if there were none."""
    own = session.after.state_dict()
    for name in [name for name in session.old if name.startswith(f"{path}.") and session.old[name].dim()]:
        wider = own[name].clone()
        wider[list(places)] = session.old[name]
        session.set(name, wider)
        session.map_parameters(along_axis(name, name, 0, range(len(places)), places))


def _at_output(session: EditSession, flows: dict[str, tuple[list[str], str | None]], row: WiderRow) -> WiderRow:
    """How the numbers that the output takes have grown: where a part of the network hands the row on, as the row has."""
    places: list[int] = []
    silent: list[int] = []
    first = 0
    for top, (_, consumer) in flows.items():
        if consumer is None:
            places += [first + place for place in row.places]
            silent += [first + place for place in row.silent]
            first += row.size
        else:
            size = session.structure.shapes()[top][-1]
            places += range(first, first + size)
            first += size
    return WiderRow(first, places, silent)


def _described(spec: ModelSpec) -> str:
    return ", ".join(f"{name!r} of shape {tensor.shape}" for name, tensor in spec.network_inputs.items())
