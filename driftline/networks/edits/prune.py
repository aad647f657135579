"""Fewer units in a layer."""

from __future__ import annotations

from driftline.networks.edit_session import EditSession
from driftline.networks.edits import EditBehaviour
from driftline.networks.regrouping import Regrouping, norms, regroup
from driftline.networks.structure.base import Structure
from driftline.networks.unit_flow import unit_count
from driftline.spec.parts.edits import Edit
from driftline.spec.parts.edits.weights import Prune


class PruneEdit(EditBehaviour[Prune]):
    """Takes units out of a layer."""

    def resolved(self, session: EditSession) -> Edit:
        """The same with the units by their number."""
        edit = self.parameters
        count = unit_count(session.structure.module(edit.layer))
        units = sorted(set(edit.units or []))
        if edit.fraction is not None:
            units = sorted(norms(session, edit.layer).argsort(stable=True)[: int(edit.fraction * count)].tolist())
        if units and units[-1] >= count:
            raise ValueError(f"{edit.layer!r} has no unit {units[-1]}; they are numbered from 0 to {count - 1}")
        if not 0 < len(units) < count:
            raise ValueError(
                f"{len(units)} of the {count} units of {edit.layer!r} would go; at least one goes, one stays"
            )
        return Prune(layer=edit.layer, units=units)

    def restructure(self, structure: Structure) -> None:
        assert self.parameters.units is not None
        count = unit_count(structure.module(self.parameters.layer))
        structure.resize(self.parameters.layer, count - len(self.parameters.units))

    def fill(self, session: EditSession) -> None:
        layer = self.parameters.layer
        count = unit_count(session.before.network.get_submodule(session.path(layer)))
        gone = set(self.parameters.units or [])
        regroup(session, layer, Regrouping.copies([unit for unit in range(count) if unit not in gone]))
