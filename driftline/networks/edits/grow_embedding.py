"""Vectors for more integers."""

from __future__ import annotations

from torch.nn import functional

from driftline.networks.edit_session import EditSession
from driftline.networks.edits import EditBehaviour
from driftline.networks.modules import ClampedEmbedding
from driftline.networks.parameter_map import along_axis
from driftline.networks.row_table import NEVER
from driftline.networks.structure.base import Structure
from driftline.spec.parts.edits import Edit
from driftline.spec.parts.edits.layers import GrowEmbedding


class GrowEmbeddingEdit(EditBehaviour[GrowEmbedding]):
    """Gives an embedding more vectors; the last stays the last, and each new one starts as a copy of it."""

    def resolved(self, session: EditSession) -> Edit:
        edit = self.parameters
        now = _vectors(session.structure, edit.layer)
        if edit.count <= now:
            raise ValueError(f"{edit.layer!r} has {now} vectors, and {edit.count} are no more")
        return edit

    def restructure(self, structure: Structure) -> None:
        _vectors(structure, self.parameters.layer)
        structure.grow(self.parameters.layer, self.parameters.count)

    def fill(self, session: EditSession) -> None:
        edit = self.parameters
        name = f"network.{session.path(edit.layer)}.weight"
        old = session.old[name]
        last = len(old) - 1
        session.set(name, old[[*range(last), *[last] * (edit.count - last)]])
        known = name.removesuffix("weight") + "learned_at"
        if known in session.old:  # A new row is that of what was never seen until its integer comes.
            session.set(known, functional.pad(session.old[known][:last], (0, edit.count - last), value=NEVER))
        session.map_parameters(along_axis(name, name, 0, range(last + 1), [*range(last), edit.count - 1]))


def _vectors(structure: Structure, layer: str) -> int:
    """How many vectors a layer has; :class:`ValueError` where none of them stands for what is not known."""
    module = structure.module(layer)
    if not isinstance(module, ClampedEmbedding):
        raise ValueError(
            f"{layer!r} is a {type(module).__name__}; only an embedding whose last vector stands for unknown integers can grow "
            "(driftline.networks.modules.ClampedEmbedding)"
        )
    return module.num_embeddings
