"""Another activation."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from driftline.networks.edits import Edit, Edited
from driftline.networks.layers import LAYERS
from driftline.networks.layers.activations import Activation
from driftline.networks.presets import Preset

if TYPE_CHECKING:
    from driftline.networks.build import Served
    from driftline.networks.layers import Layer
    from driftline.spec import ModelSpec


class SwapActivation(Edit):
    """Puts the activation ``to`` in the place of one ``layer``, or of all. The function changes; training repairs it."""

    type: Literal["activation"] = "activation"
    to: str
    layer: str | None = None

    def apply(self, spec: ModelSpec, classes: Sequence[int | str], module: Served) -> Edited:
        from driftline.networks.build import layer_names
        from driftline.spec import Layers

        if not isinstance(spec.network, Layers | Preset):
            raise ValueError("a network of your own has no layers by name")
        layers = spec.network.layers() if isinstance(spec.network, Preset) else list(spec.network.layers)
        names = layer_names(layers)
        chosen = self._chosen(names, layers)
        edited = copy.deepcopy(module)
        for index in chosen:
            layers[index] = self._activation(names[index])
            setattr(edited.network, names[index], layers[index].build(()))
        # Names by type and order would change with the type: each keeps the one that it has.
        named = [layer.model_copy(update={"name": name}) for name, layer in zip(names, layers, strict=True)]
        output: Any = "task" if isinstance(spec.network, Preset) else spec.network.output
        network = Layers(layers=[layer.model_dump() for layer in named], output=output)
        return Edited(spec.changed(network=network), list(classes), edited)

    def _chosen(self, names: list[str], layers: list[Layer]) -> list[int]:
        if self.layer is not None and self.layer not in names:
            raise ValueError(f"there is no layer {self.layer!r}; there are {', '.join(names)}")
        chosen = [index for index, name in enumerate(names) if self.layer in (None, name)]
        activations = [index for index in chosen if isinstance(layers[index], Activation)]
        if self.layer is not None and not activations:
            raise ValueError(f"the layer {self.layer!r} is no activation")
        if not activations:
            raise ValueError("the network has no activation")
        return activations

    def _activation(self, name: str) -> Layer:
        kind = LAYERS.parts.get(self.to)
        if kind is None or not issubclass(kind, Activation):
            known = sorted(key for key, part in LAYERS.parts.items() if issubclass(part, Activation))
            raise ValueError(f"there is no activation {self.to!r}; known: {', '.join(known)}")
        return LAYERS.parse({"type": self.to, "name": name})
