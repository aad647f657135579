"""A new layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from driftline.networks.edits import Edit
from driftline.networks.fields import LayerField

if TYPE_CHECKING:
    from driftline.networks.edit_session import EditSession
    from driftline.networks.structure import Structure


class Insert(Edit):
    """Puts a ``layer`` behind the one called ``after``, or in front of all. Rows keep their shape.

    It starts as identity where it can: linear, conv2d, prelu, dropout; batch_norm in evaluation mode (its running
    statistics start at 0 and 1, a batch's own do not). With layer_norm and the other activations the function changes.
    """

    type: Literal["insert"] = "insert"
    after: str | None = None
    layer: LayerField

    @property
    def keeps_function(self) -> bool:
        return self.layer.can_be_identity

    def restructure(self, structure: Structure) -> None:
        structure.insert(self.after, self.layer)

    def fill(self, session: EditSession) -> None:
        path = session.structure.added[0]
        before, after = session.shape_before(self.after), session.structure.shapes()[path]
        if _without_channel(before) != _without_channel(after):
            raise ValueError(f"{path}: rows of shape {list(before)} would become {list(after)}; they must keep theirs")
        self.layer.make_identity(session.after.network.get_submodule(path))


def _without_channel(shape: tuple[int, ...]) -> tuple[int, ...]:
    """An image of one channel is the same with and without a dimension for it."""
    return shape[1:] if len(shape) == 3 and shape[0] == 1 else shape
