"""More units in a layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from driftline.networks.edits import Edit

if TYPE_CHECKING:
    from driftline.networks.edit_session import EditSession
    from driftline.networks.structure import Structure


class Widen(Edit):
    """Gives a linear, conv2d or embedding ``layer`` ``features`` units (Net2WiderNet, Chen et al. 2016).

    New units are copies of old ones, which share the weights behind them; noise that cancels out over the copies of a unit
    lets them learn different things. The function stays.
    """

    type: Literal["widen"] = "widen"
    layer: str
    features: int = Field(ge=1, le=1_000_000)
    noise: float = Field(0.1, ge=0, le=10)

    @property
    def keeps_function(self) -> bool:
        return True

    def resolved(self, session: EditSession) -> Edit:
        from driftline.networks.structure import unit_count

        now = unit_count(session.structure.module(self.layer))
        if self.features <= now:
            raise ValueError(f"{self.layer!r} has {now} units, and {self.features} are no more; prune makes it smaller")
        return self

    def restructure(self, structure: Structure) -> None:
        structure.resize(self.layer, self.features)

    def fill(self, session: EditSession) -> None:
        from driftline.networks.regrouping import Regrouping, regroup
        from driftline.networks.structure import unit_count

        before = unit_count(session.before.network.get_submodule(session.path(self.layer)))
        rows = [unit % before for unit in range(self.features)]
        regroup(session, self.layer, Regrouping.copies(rows), self.noise)
