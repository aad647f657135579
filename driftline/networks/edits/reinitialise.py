"""Fresh weights."""

from __future__ import annotations

from driftline.networks.edit_session import EditSession
from driftline.networks.edits import EditBehaviour
from driftline.networks.reinitialise import reinitialise, reinitialise_units
from driftline.spec.parts.edits.weights import Reinitialise


class ReinitialiseEdit(EditBehaviour[Reinitialise]):
    """Draws layers again, or units of them."""

    def fill(self, session: EditSession) -> None:
        edit = self.parameters
        if edit.units is None:
            reinitialise(session, edit.layers, edit.seed)
        else:
            reinitialise_units(session, edit.layers, edit.units, edit.seed)
