"""Another activation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from driftline.networks.edits import Edit
from driftline.networks.layers import LAYERS
from driftline.networks.layers.activations import Activation

if TYPE_CHECKING:
    from driftline.networks.structure import Structure


class SwapActivation(Edit):
    """Puts the activation ``to`` in the place of one ``layer``, or of all.

    With ``blend`` the function stays at first, and changes smoothly over so many updates; else training has to repair it.
    """

    type: Literal["activation"] = "activation"
    to: str
    layer: str | None = None
    blend: int | None = Field(None, ge=1, le=10_000_000)

    @property
    def keeps_function(self) -> bool:
        return self.blend is not None

    def restructure(self, structure: Structure) -> None:
        activation = self._activation()
        for name in self._chosen(structure):
            structure.swap(name, activation, self.blend)

    def _chosen(self, structure: Structure) -> list[str]:
        from driftline.networks.unit_flow import ACTIVATIONS

        activations = [name for name in structure.names if isinstance(structure.module(name), ACTIVATIONS)]
        if self.layer is not None:
            structure.path(self.layer)
            if self.layer not in activations:
                raise ValueError(f"the layer {self.layer!r} is no activation")
            return [self.layer]
        # The parts of a blend are activations too, and go with it.
        whole = [name for name in activations if name.rpartition(".")[0] not in activations]
        if not whole:
            raise ValueError("the network has no activation")
        return whole

    def _activation(self) -> Activation:
        kind = LAYERS.parts.get(self.to)
        if kind is None or not issubclass(kind, Activation):
            known = sorted(key for key, part in LAYERS.parts.items() if issubclass(part, Activation))
            raise ValueError(f"there is no activation {self.to!r}; known: {', '.join(known)}")
        return kind.model_validate({})
