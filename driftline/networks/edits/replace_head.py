"""A fresh output layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from driftline.networks.edits import Edit

if TYPE_CHECKING:
    from driftline.networks.draft import Draft


class ReplaceHead(Edit):
    """Draws the output layer anew from ``seed``: the features stay, what was made of them is forgotten."""

    type: Literal["replace_head"] = "replace_head"
    seed: int = Field(0, ge=0, lt=2**63)

    def fill(self, draft: Draft) -> None:
        from driftline.networks.build import seeded

        with seeded(self.seed):
            draft.head.reset_parameters()
        for name in ("output.weight", "output.bias"):
            draft.forget(name)
