"""Fewer units in a layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from driftline.networks.edits import Edit

if TYPE_CHECKING:
    from driftline.networks.edit_session import EditSession
    from driftline.networks.structure import Structure


class Prune(Edit):
    """Takes ``units`` out of a ``layer``, or the ``fraction`` of them whose weights have the smallest norm (Li et al. 2017).

    The function changes, unless they gave nothing.
    """

    type: Literal["prune"] = "prune"
    layer: str
    units: list[Annotated[int, Field(ge=0)]] | None = Field(None, min_length=1)
    fraction: float | None = Field(None, gt=0, lt=1)

    @model_validator(mode="after")
    def _says_which(self) -> Prune:
        if (self.units is None) == (self.fraction is None):
            raise ValueError('it takes either "units" or "fraction"')
        return self

    def resolved(self, session: EditSession) -> Edit:
        """The same with the units by their number."""
        from driftline.networks.regrouping import norms
        from driftline.networks.structure import unit_count

        count = unit_count(session.structure.module(self.layer))
        units = sorted(set(self.units or []))
        if self.fraction is not None:
            units = sorted(norms(session, self.layer).argsort(stable=True)[: int(self.fraction * count)].tolist())
        if units and units[-1] >= count:
            raise ValueError(f"{self.layer!r} has no unit {units[-1]}; they are numbered from 0 to {count - 1}")
        if not 0 < len(units) < count:
            raise ValueError(
                f"{len(units)} of the {count} units of {self.layer!r} would go; at least one goes, one stays"
            )
        return Prune(layer=self.layer, units=units)

    def restructure(self, structure: Structure) -> None:
        from driftline.networks.structure import unit_count

        assert self.units is not None
        structure.resize(self.layer, unit_count(structure.module(self.layer)) - len(self.units))

    def fill(self, session: EditSession) -> None:
        from driftline.networks.regrouping import Regrouping, regroup
        from driftline.networks.structure import unit_count

        count = unit_count(session.before.network.get_submodule(session.path(self.layer)))
        gone = set(self.units or [])
        stay = [unit for unit in range(count) if unit not in gone]
        regroup(session, self.layer, Regrouping.copies(stay))
