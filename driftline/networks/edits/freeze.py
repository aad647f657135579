"""Layers that stay as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from driftline.networks.edits import Edit

if TYPE_CHECKING:
    from driftline.networks.structure import Structure


class Freeze(Edit):
    """Leaves ``layers``, or all in front of the output, out of training. The function stays."""

    type: Literal["freeze"] = "freeze"
    layers: list[str] | None = Field(None, min_length=1)

    @property
    def keeps_function(self) -> bool:
        return True

    def restructure(self, structure: Structure) -> None:
        set_frozen(structure, self.layers, True)


def set_frozen(structure: Structure, layers: list[str] | None, is_frozen: bool) -> None:
    """Freezes layers or lets them be trained; of an adapter's layer only the adapter is trained."""
    from driftline.networks.adapters import LowRank

    def is_adapted(name: str) -> bool:
        return any(isinstance(part, LowRank) for part in structure.module(name).modules())

    def has_weights(name: str) -> bool:
        return any(True for _ in structure.module(name).parameters())

    for name in layers or []:
        if not has_weights(name):
            raise ValueError(f"{name!r} has no weights")
        if is_adapted(name):
            raise ValueError(f"{name!r} has an adapter, which is trained in its place; merge_adapters ends that")
    chosen = layers or [name for name in structure.names if has_weights(name) and not is_adapted(name)]
    for name in chosen:
        structure.freeze(name, is_frozen)
