"""Frozen layers that are trained again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from driftline.networks.edits import Edit
from driftline.networks.edits.freeze import set_frozen

if TYPE_CHECKING:
    from driftline.networks.structure import Structure


class Unfreeze(Edit):
    """Lets ``layers``, or all, be trained again. The function stays."""

    type: Literal["unfreeze"] = "unfreeze"
    layers: list[str] | None = Field(None, min_length=1)

    @property
    def keeps_function(self) -> bool:
        return True

    def restructure(self, structure: Structure) -> None:
        set_frozen(structure, self.layers, False)
