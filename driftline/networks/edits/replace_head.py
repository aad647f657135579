"""A fresh output layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from driftline.networks.edits import Edit

if TYPE_CHECKING:
    from driftline.networks.edit_session import EditSession


class ReplaceHead(Edit):
    """Draws the output layer anew from ``seed``: the features stay, what was made of them is forgotten."""

    type: Literal["replace_head"] = "replace_head"
    seed: int = Field(0, ge=0, lt=2**63)

    def fill(self, session: EditSession) -> None:
        from driftline.networks.build import seeded

        with seeded(self.seed):
            session.head.reset_parameters()
        for name in ("output.weight", "output.bias"):
            session.forget(name)
