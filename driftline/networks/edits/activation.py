"""Another activation."""

from __future__ import annotations

from driftline.networks.edits import EditBehaviour
from driftline.networks.structure.base import Structure
from driftline.networks.unit_flow import ACTIVATIONS
from driftline.spec.parts.edits.layers import SwapActivation
from driftline.spec.parts.layers import LAYERS, Activation


class SwapActivationEdit(EditBehaviour[SwapActivation]):
    """Puts an activation in the place of one, or of all."""

    def restructure(self, structure: Structure) -> None:
        activation = _activation(self.parameters.to)
        for name in self._chosen(structure):
            structure.swap(name, activation, self.parameters.blend)

    def _chosen(self, structure: Structure) -> list[str]:
        layer = self.parameters.layer
        activations = [name for name in structure.names if isinstance(structure.module(name), ACTIVATIONS)]
        if layer is not None:
            structure.path(layer)
            if layer not in activations:
                raise ValueError(f"the layer {layer!r} is no activation")
            return [layer]
        # The parts of a blend are activations too, and go with it.
        whole = [name for name in activations if name.rpartition(".")[0] not in activations]
        if not whole:
            raise ValueError("the network has no activation")
        return whole


def _activation(name: str) -> Activation:
    kind = LAYERS.parts.get(name)
    if kind is None or not issubclass(kind, Activation):
        known = sorted(key for key, part in LAYERS.parts.items() if issubclass(part, Activation))
        raise ValueError(f"there is no activation {name!r}; known: {', '.join(known)}")
    return kind.model_validate({})
