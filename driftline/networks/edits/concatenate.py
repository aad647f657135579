"""A branch beside the network."""

from __future__ import annotations

from torch import nn

from driftline.networks.edit_session import EditSession
from driftline.networks.edits import EditBehaviour
from driftline.networks.parameter_map import along_axis
from driftline.networks.structure.base import Structure
from driftline.spec.parts.edits import Edit
from driftline.spec.parts.edits.layers import Concatenate


class ConcatenateEdit(EditBehaviour[Concatenate]):
    """A new branch, from which the output takes nothing at first."""

    def resolved(self, session: EditSession) -> Edit:
        """The same; refused where the network has its own output."""
        assert session.head is not None
        return self.parameters

    def restructure(self, structure: Structure) -> None:
        structure.join(self.parameters.branch)

    def fill(self, session: EditSession) -> None:
        old = session.old["output.weight"]
        session.set("output.weight", nn.functional.pad(old, (0, session.head.in_features - old.shape[1])))
        columns = range(old.shape[1])
        session.map_parameters(along_axis("output.weight", "output.weight", 1, columns, columns))
