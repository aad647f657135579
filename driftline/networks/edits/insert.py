"""A new layer."""

from __future__ import annotations

from driftline.networks.edit_session import EditSession
from driftline.networks.edits import EditBehaviour
from driftline.networks.layers import builder
from driftline.networks.structure.base import Structure
from driftline.spec.parts.edits.layers import Insert


class InsertEdit(EditBehaviour[Insert]):
    """Puts a layer after another, or before all; it starts as identity where it can."""

    def restructure(self, structure: Structure) -> None:
        structure.insert(self.parameters.after, self.parameters.layer)

    def fill(self, session: EditSession) -> None:
        path = session.structure.added[0]
        before, after = session.shape_before(self.parameters.after), session.structure.shapes()[path]
        if _without_channel(before) != _without_channel(after):
            raise ValueError(f"{path}: rows of shape {list(before)} would become {list(after)}; they must keep theirs")
        builder(self.parameters.layer).make_identity(session.after.network.get_submodule(path))


def _without_channel(shape: tuple[int, ...]) -> tuple[int, ...]:
    """An image of one channel is the same with and without a dimension for it."""
    return shape[1:] if len(shape) == 3 and shape[0] == 1 else shape
