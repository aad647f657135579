"""Adapters become part of their weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from driftline.networks.edits import Edit

if TYPE_CHECKING:
    from driftline.networks.edit_session import EditSession
    from driftline.networks.structure import Structure


class MergeAdapters(Edit):
    """Puts every adapter into its weight, which is trained again unless it was frozen before. The function stays."""

    type: Literal["merge_adapters"] = "merge_adapters"

    @property
    def keeps_function(self) -> bool:
        return True

    def restructure(self, structure: Structure) -> None:
        names = _adapted(structure)
        if not names:
            raise ValueError("no layer has an adapter")
        for name in names:
            structure.adapt(name, None)

    def fill(self, session: EditSession) -> None:
        from driftline.networks.adapters import adapter_of, merged_weight

        for path, module in session.before.network.named_modules():
            if adapter_of(module) is not None:
                session.set(f"network.{path}.weight", merged_weight(module))


def _adapted(structure: Structure) -> list[str]:
    from driftline.networks.adapters import adapter_of

    return [name for name in structure.names if adapter_of(structure.module(name)) is not None]
