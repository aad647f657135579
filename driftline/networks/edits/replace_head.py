"""A fresh output layer."""

from __future__ import annotations

from driftline.networks.edit_session import EditSession
from driftline.networks.edits import EditBehaviour
from driftline.networks.sealed import own
from driftline.networks.seeded import seeded
from driftline.spec.parts.edits.weights import ReplaceHead


class ReplaceHeadEdit(EditBehaviour[ReplaceHead]):
    """Draws the output layer again."""

    def fill(self, session: EditSession) -> None:
        own(session.head)
        with seeded(self.parameters.seed):
            session.head.reset_parameters()
        for name in ("output.weight", "output.bias"):
            session.forget(name)
