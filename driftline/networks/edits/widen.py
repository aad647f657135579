"""More units in a layer."""

from __future__ import annotations

from driftline.networks.edit_session import EditSession
from driftline.networks.edits import EditBehaviour
from driftline.networks.regrouping import Regrouping, regroup
from driftline.networks.structure.base import Structure
from driftline.networks.unit_flow import unit_count
from driftline.spec.parts.edits import Edit
from driftline.spec.parts.edits.weights import Widen


class WidenEdit(EditBehaviour[Widen]):
    """Gives a layer more units, which are copies of old ones."""

    def resolved(self, session: EditSession) -> Edit:
        edit = self.parameters
        now = unit_count(session.structure.module(edit.layer))
        if edit.features <= now:
            raise ValueError(f"{edit.layer!r} has {now} units, and {edit.features} are no more; prune makes it smaller")
        return edit

    def restructure(self, structure: Structure) -> None:
        structure.resize(self.parameters.layer, self.parameters.features)

    def fill(self, session: EditSession) -> None:
        edit = self.parameters
        before = unit_count(session.before.network.get_submodule(session.path(edit.layer)))
        rows = [unit % before for unit in range(edit.features)]
        regroup(session, edit.layer, Regrouping.copies(rows), edit.noise)
