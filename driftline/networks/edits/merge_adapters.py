"""Adapters become part of their weights."""

from __future__ import annotations

from driftline.networks.adapters import adapter_of, merged_weight, weight_name
from driftline.networks.edit_session import EditSession
from driftline.networks.edits import EditBehaviour
from driftline.networks.structure.base import Structure
from driftline.spec.parts.edits.layers import MergeAdapters


class MergeAdaptersEdit(EditBehaviour[MergeAdapters]):
    """Puts every adapter into its weight."""

    def restructure(self, structure: Structure) -> None:
        names = [name for name in structure.names if adapter_of(structure.module(name)) is not None]
        if not names:
            raise ValueError("no layer has an adapter")
        for name in names:
            structure.adapt(name, None)

    def fill(self, session: EditSession) -> None:
        for path, module in session.before.network.named_modules():
            if adapter_of(module) is not None:
                session.set(f"network.{path}.{weight_name(module)}", merged_weight(module))
