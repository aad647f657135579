"""Fresh weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from driftline.networks.edits import Edit

if TYPE_CHECKING:
    from driftline.networks.edit_session import EditSession


class Reinitialise(Edit):
    """Draws ``layers``, or all with the output, anew from ``seed``; or only ``units`` of one layer, or its dead ones.

    ``units`` is a list of numbers, or ``dead``: those that give zero for every known row behind their activation. Such units
    get fresh weights, and what stands behind starts by taking nothing from them (ReDo, Sokar et al. 2023).
    """

    type: Literal["reinitialise"] = "reinitialise"
    layers: list[str] | None = Field(None, min_length=1)
    units: list[Annotated[int, Field(ge=0)]] | Literal["dead"] | None = None
    seed: int = Field(0, ge=0, lt=2**63)

    @model_validator(mode="after")
    def _units_are_of_one_layer(self) -> Reinitialise:
        if isinstance(self.units, list) and len(self.layers or []) != 1:
            raise ValueError('"units" by number are those of one layer; give it in "layers"')
        return self

    def fill(self, session: EditSession) -> None:
        from driftline.networks.reinitialise import reinitialise, reinitialise_units

        if self.units is None:
            reinitialise(session, self.layers, self.seed)
        else:
            reinitialise_units(session, self.layers, self.units, self.seed)
