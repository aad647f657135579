"""One layer less."""

from __future__ import annotations

from driftline.networks.edits import EditBehaviour
from driftline.networks.structure.base import Structure
from driftline.spec.parts.edits.layers import Remove


class RemoveEdit(EditBehaviour[Remove]):
    """Takes a layer out."""

    def restructure(self, structure: Structure) -> None:
        structure.remove(self.parameters.layer)
