"""One layer less."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from driftline.networks.edits import Edit

if TYPE_CHECKING:
    from driftline.networks.structure import Structure


class Remove(Edit):
    """Takes a ``layer`` out, where what stands behind it takes the rows in front of it. The function changes."""

    type: Literal["remove"] = "remove"
    layer: str

    def restructure(self, structure: Structure) -> None:
        structure.remove(self.layer)
