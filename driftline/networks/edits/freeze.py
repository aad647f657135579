"""Layers that stay as they are, and layers that are trained again."""

from __future__ import annotations

from driftline.networks.adapters import LowRank
from driftline.networks.edits import EditBehaviour
from driftline.networks.structure.base import Structure
from driftline.spec.parts.edits.layers import Freeze, Unfreeze


class FreezeEdit(EditBehaviour[Freeze]):
    """Leaves layers out of training."""

    def restructure(self, structure: Structure) -> None:
        _set_frozen(structure, self.parameters.layers, True)


class UnfreezeEdit(EditBehaviour[Unfreeze]):
    """Lets layers be trained again."""

    def restructure(self, structure: Structure) -> None:
        _set_frozen(structure, self.parameters.layers, False)


def _set_frozen(structure: Structure, layers: list[str] | None, is_frozen: bool) -> None:
    """Freezes layers or lets them be trained; of an adapter's layer only the adapter is trained."""

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
