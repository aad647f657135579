"""Vectors for more integers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from driftline.networks.edits import Edit

if TYPE_CHECKING:
    from driftline.networks.edit_session import EditSession
    from driftline.networks.structure import Structure


class GrowEmbedding(Edit):
    """Gives an embedding ``layer`` ``count`` vectors, as for users and items that were not there before.

    The last vector stands for every integer that has none of its own: it stays the last, and each new vector starts as a copy
    of it, so that the function stays.
    """

    type: Literal["grow_embedding"] = "grow_embedding"
    layer: str
    count: int = Field(ge=2, le=100_000_000)

    @property
    def keeps_function(self) -> bool:
        return True

    def resolved(self, session: EditSession) -> Edit:
        now = _vectors(session.structure, self.layer)
        if self.count <= now:
            raise ValueError(f"{self.layer!r} has {now} vectors, and {self.count} are no more")
        return self

    def restructure(self, structure: Structure) -> None:
        _vectors(structure, self.layer)
        structure.grow(self.layer, self.count)

    def fill(self, session: EditSession) -> None:
        from driftline.networks.parameter_map import along_axis

        name = f"network.{session.path(self.layer)}.weight"
        old = session.old[name]
        last = len(old) - 1
        session.set(name, old[[*range(last), *[last] * (self.count - last)]])
        session.keep(along_axis(name, name, 0, range(last + 1), [*range(last), self.count - 1]))


def _vectors(structure: Structure, layer: str) -> int:
    """How many vectors a layer has; :class:`ValueError` where none of them stands for what is not known."""
    from driftline.networks.modules import ClampedEmbedding

    module = structure.module(layer)
    if not isinstance(module, ClampedEmbedding):
        raise ValueError(
            f"{layer!r} is a {type(module).__name__}; only an embedding whose last vector stands for unknown integers can grow "
            "(driftline.networks.modules.ClampedEmbedding)"
        )
    return module.num_embeddings
