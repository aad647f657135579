"""Adapters of low rank."""

from __future__ import annotations

from driftline.networks.adapters import adapter_of, can_have
from driftline.networks.edits import EditBehaviour
from driftline.networks.structure.base import Structure
from driftline.spec.parts.edits.layers import AddAdapters


class AddAdaptersEdit(EditBehaviour[AddAdapters]):
    """Freezes layers, and trains an adapter on each."""

    def restructure(self, structure: Structure) -> None:
        free = [
            name
            for name in structure.names
            if can_have(module := structure.module(name)) and adapter_of(module) is None
        ]
        layers = self.parameters.layers or free
        if not layers:
            raise ValueError("the network has no linear or conv2d layer without an adapter")
        for name in layers:
            if adapter_of(structure.module(name)) is not None:
                raise ValueError(f"{name!r} has an adapter already; merge_adapters puts it into the weight")
            structure.adapt(name, self.parameters.rank)
