"""Units that do the same, as one."""

from __future__ import annotations

import torch
from torch import Tensor

from driftline.networks.edit_session import EditSession
from driftline.networks.edits import EditBehaviour
from driftline.networks.regrouping import Regrouping, incoming, regroup
from driftline.networks.structure.base import Structure
from driftline.networks.unit_flow import unit_count
from driftline.spec.parts.edits import Edit
from driftline.spec.parts.edits.weights import MergeUnits


class MergeUnitsEdit(EditBehaviour[MergeUnits]):
    """Makes one of all units of a layer that have nearly the same weights."""

    def resolved(self, session: EditSession) -> Edit:
        """The same with the group of each unit."""
        edit = self.parameters
        count = unit_count(session.structure.module(edit.layer))
        groups = edit.groups or _groups(incoming(session, edit.layer), edit.tolerance)
        if len(groups) != count or set(groups) != set(range(max(groups) + 1)):
            raise ValueError(f"{edit.layer!r} has {count} units; each has a group, numbered from 0")
        if len(set(groups)) == count:
            raise ValueError(f"no two units of {edit.layer!r} have the same weights")
        return edit.model_copy(update={"groups": groups})

    def restructure(self, structure: Structure) -> None:
        assert self.parameters.groups is not None
        structure.resize(self.parameters.layer, len(set(self.parameters.groups)))

    def fill(self, session: EditSession) -> None:
        assert self.parameters.groups is not None
        regroup(session, self.parameters.layer, Regrouping.groups(self.parameters.groups))


def _groups(weights: Tensor, tolerance: float) -> list[int]:
    """The group of each row of ``weights``: that of the first row from which it differs no more than ``tolerance``."""
    groups = torch.full((len(weights),), -1)
    for row in range(len(weights)):
        if groups[row] < 0:
            near = (weights - weights[row]).abs().amax(1) <= tolerance
            groups[near & (groups < 0)] = groups.max() + 1
    found: list[int] = groups.tolist()
    return found
