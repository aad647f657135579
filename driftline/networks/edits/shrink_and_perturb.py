"""Weights that are shrunk and disturbed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from driftline.networks.edits import Edit

if TYPE_CHECKING:
    from driftline.networks.edit_session import EditSession


class ShrinkAndPerturb(Edit):
    """Makes weights ``shrink`` · θ + ``noise`` · θ₀, with θ₀ as a fresh network has them (Ash & Adams 2020).

    What was learned stays in part, and the network learns as well as a fresh one. ``layers``, or all with the output.
    """

    type: Literal["shrink_and_perturb"] = "shrink_and_perturb"
    shrink: float = Field(0.5, ge=0, le=1)
    noise: float = Field(0.1, ge=0, le=1)
    layers: list[str] | None = Field(None, min_length=1)
    seed: int = Field(0, ge=0, lt=2**63)

    def fill(self, session: EditSession) -> None:
        from driftline.networks.reinitialise import fresh_weights

        for name, value in fresh_weights(session, self.layers, self.seed).items():
            if value.is_floating_point() and not name.endswith(("running_mean", "running_var")):
                session.set(name, self.shrink * session.old[name] + self.noise * value)
