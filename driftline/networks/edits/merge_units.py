"""Units that do the same, as one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from driftline.networks.edits import Edit

if TYPE_CHECKING:
    from torch import Tensor

    from driftline.networks.edit_session import EditSession
    from driftline.networks.structure import Structure


class MergeUnits(Edit):
    """Makes one of all units of a ``layer`` whose weights differ by at most ``tolerance``; what is behind takes it for all.

    With a tolerance of 0 the function stays.
    """

    type: Literal["merge_units"] = "merge_units"
    layer: str
    tolerance: float = Field(0.0, ge=0, le=10)
    groups: list[int] | None = Field(None, description="the group of each unit; worked out where it is not given")

    @property
    def keeps_function(self) -> bool:
        return self.tolerance == 0 and self.groups is None

    def resolved(self, session: EditSession) -> Edit:
        """The same with the group of each unit."""
        from driftline.networks.regrouping import incoming
        from driftline.networks.structure import unit_count

        count = unit_count(session.structure.module(self.layer))
        groups = self.groups or _groups(incoming(session, self.layer), self.tolerance)
        if len(groups) != count or set(groups) != set(range(max(groups) + 1)):
            raise ValueError(f"{self.layer!r} has {count} units; each has a group, numbered from 0")
        if len(set(groups)) == count:
            raise ValueError(f"no two units of {self.layer!r} have the same weights")
        return self.model_copy(update={"groups": groups})

    def restructure(self, structure: Structure) -> None:
        assert self.groups is not None
        structure.resize(self.layer, len(set(self.groups)))

    def fill(self, session: EditSession) -> None:
        from driftline.networks.regrouping import Regrouping, regroup

        assert self.groups is not None
        regroup(session, self.layer, Regrouping.groups(self.groups))


def _groups(weights: Tensor, tolerance: float) -> list[int]:
    """The group of each row of ``weights``: that of the first row from which it differs no more than ``tolerance``."""
    import torch

    groups = torch.full((len(weights),), -1)
    for row in range(len(weights)):
        if groups[row] < 0:
            near = (weights - weights[row]).abs().amax(1) <= tolerance
            groups[near & (groups < 0)] = groups.max() + 1
    found: list[int] = groups.tolist()
    return found
