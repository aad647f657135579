"""Adapters of low rank."""

from __future__ import annotations

from driftline.networks.adapters import adapter_of, is_plain
from driftline.networks.edits import EditBehaviour
from driftline.networks.structure.base import Structure
from driftline.spec.parts.edits.layers import AddAdapters


class AddAdaptersEdit(EditBehaviour[AddAdapters]):
    """Freezes layers, and trains an adapter on each."""

    def restructure(self, structure: Structure) -> None:
        modules = {name: structure.module(name) for name in structure.names}
        free = [
            name
            for name, module in modules.items()
            if structure.can_adapt(name) and is_plain(module) and adapter_of(module) is None
        ]
        layers = self.parameters.layers or free
        if not layers:
            raise ValueError("the network has no linear or convolution layer without an adapter")
        for name in layers:
            if adapter_of(structure.module(name)) is not None:
                raise ValueError(f"{name!r} has an adapter already; merge_adapters puts it into the weight")
            structure.adapt(name, self.parameters.rank)
        if self.parameters.alone:
            structure.freeze_all_but(layers)
