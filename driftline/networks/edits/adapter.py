"""Adapters of low rank."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from driftline.networks.edits import Edit

if TYPE_CHECKING:
    from driftline.networks.structure import Structure


class AddAdapters(Edit):
    """Freezes linear and conv2d ``layers``, or all, and trains an adapter of ``rank`` on each (LoRA, Hu et al. 2021).

    An adapter starts at zero: the function stays.
    """

    type: Literal["adapter"] = "adapter"
    rank: int = Field(ge=1, le=10_000)
    layers: list[str] | None = Field(None, min_length=1)

    @property
    def keeps_function(self) -> bool:
        return True

    def restructure(self, structure: Structure) -> None:
        from driftline.networks.adapters import adapter_of, can_have

        free = [
            name
            for name in structure.names
            if can_have(module := structure.module(name)) and adapter_of(module) is None
        ]
        if not (self.layers or free):
            raise ValueError("the network has no linear or conv2d layer without an adapter")
        for name in self.layers or free:
            if adapter_of(structure.module(name)) is not None:
                raise ValueError(f"{name!r} has an adapter already; merge_adapters puts it into the weight")
            structure.adapt(name, self.rank)
