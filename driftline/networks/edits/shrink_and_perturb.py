"""Weights that are shrunk and disturbed."""

from __future__ import annotations

from driftline.networks.edit_session import EditSession
from driftline.networks.edits import EditBehaviour
from driftline.networks.reinitialise import fresh_weights
from driftline.spec.parts.edits.weights import ShrinkAndPerturb


class ShrinkAndPerturbEdit(EditBehaviour[ShrinkAndPerturb]):
    """Makes weights ``shrink`` · θ + ``noise`` · θ₀, with θ₀ as a fresh network has them."""

    def fill(self, session: EditSession) -> None:
        edit = self.parameters
        for name, value in fresh_weights(session, edit.layers, edit.seed).items():
            if value.is_floating_point() and not name.endswith(("running_mean", "running_var")):
                session.set(name, edit.shrink * session.old[name] + edit.noise * value)
