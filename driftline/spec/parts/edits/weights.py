"""Edits of units, of weights, and of the output with its classes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StrictInt, StrictStr, model_validator

from driftline.spec.parts.edits import Edit


class Widen(Edit):
    """Gives a linear, conv2d or embedding ``layer`` ``features`` units (Net2WiderNet, Chen et al. 2016).

    New units are copies of old ones, which share the weights behind them; noise that cancels out over the copies of a unit
    lets them learn different things. The function stays.
    """

    type: Literal["widen"] = "widen"
    layer: str = Field(description="the layer")
    features: int = Field(ge=1, le=1_000_000, description="how many units it then has")
    noise: float = Field(0.1, ge=0, le=10, description="how far copies of a unit differ, relative to its weights")

    @property
    def keeps_function(self) -> bool:
        return True


class Prune(Edit):
    """Takes ``units`` out of a ``layer``, or the ``fraction`` of them whose weights have the smallest norm (Li et al. 2017).

    The function changes, unless they gave nothing.
    """

    type: Literal["prune"] = "prune"
    layer: str = Field(description="the layer")
    units: list[Annotated[int, Field(ge=0)]] | None = Field(
        None, min_length=1, description="the numbers of the units to take out"
    )
    fraction: float | None = Field(
        None, gt=0, lt=1, description="the share of units to take out, those with the smallest norm first"
    )

    @model_validator(mode="after")
    def _says_which(self) -> Prune:
        if (self.units is None) == (self.fraction is None):
            raise ValueError('it takes either "units" or "fraction"')
        return self


class MergeUnits(Edit):
    """Makes one of all units of a ``layer`` whose weights differ by at most ``tolerance``; what is behind takes it for all.

    With a tolerance of 0 the function stays.
    """

    type: Literal["merge_units"] = "merge_units"
    layer: str = Field(description="the layer")
    tolerance: float = Field(0.0, ge=0, le=10, description="how far the weights of units may differ that become one")
    groups: list[int] | None = Field(None, description="the group of each unit; worked out where it is not given")

    @property
    def keeps_function(self) -> bool:
        return self.tolerance == 0 and self.groups is None


class Reinitialise(Edit):
    """Draws ``layers``, or all with the output, again from ``seed``; or only ``units`` of one layer, or its dead ones.

    ``units`` is a list of numbers, or ``dead``: those that give zero for every known row behind their activation. Such units
    get fresh weights, and what stands behind starts by taking nothing from them (ReDo, Sokar et al. 2023).
    """

    type: Literal["reinitialise"] = "reinitialise"
    layers: list[str] | None = Field(None, min_length=1, description="which layers; else all with the output")
    units: list[Annotated[int, Field(ge=0)]] | Literal["dead"] | None = Field(
        None, description="the numbers of units of one layer, or `dead` ones"
    )
    seed: int = Field(0, ge=0, lt=2**63, description="what the new weights are drawn from")

    @model_validator(mode="after")
    def _units_are_of_one_layer(self) -> Reinitialise:
        if isinstance(self.units, list) and len(self.layers or []) != 1:
            raise ValueError('"units" by number are those of one layer; give it in "layers"')
        return self


class ShrinkAndPerturb(Edit):
    """Makes weights ``shrink`` · θ + ``noise`` · θ₀, with θ₀ as a fresh network has them (Ash & Adams 2020).

    What was learned stays in part, and the network learns as well as a fresh one. ``layers``, or all with the output.
    """

    type: Literal["shrink_and_perturb"] = "shrink_and_perturb"
    shrink: float = Field(0.5, ge=0, le=1, description="the share of the weights that stays")
    noise: float = Field(0.1, ge=0, le=1, description="the share of new weights that is added")
    layers: list[str] | None = Field(None, min_length=1, description="which layers; else all with the output")
    seed: int = Field(0, ge=0, lt=2**63, description="what the new weights are drawn from")


class Average(Edit):
    """Gives network and output the mean weights of ``versions`` (model soups, Wortsman et al. 2022).

    A ``greedy`` soup takes in only those that do not make it worse on what is held out. Where nothing is judged, as in a dry
    run, it is the mean of all.
    """

    type: Literal["average"] = "average"
    versions: list[int] = Field(min_length=1, max_length=100, description="the numbers of the kept versions")
    soup: Literal["mean", "greedy"] = Field(
        "mean", description="the mean of all, or of those that do not make it worse"
    )

    @property
    def needed_versions(self) -> list[int]:
        return self.versions


class ReplaceHead(Edit):
    """Draws the output layer again from ``seed``: the features stay, what was made of them is forgotten."""

    type: Literal["replace_head"] = "replace_head"
    seed: int = Field(0, ge=0, lt=2**63, description="what the new weights are drawn from")


class AddClasses(Edit):
    """New rows in the output layer. The logits of the old classes stay as they are; a new class starts as an unlikely one."""

    type: Literal["add_classes"] = "add_classes"
    classes: list[StrictInt | StrictStr] = Field(min_length=1, description="the new classes")

    @property
    def keeps_function(self) -> bool:
        return True


class RemoveClasses(Edit):
    """Takes rows out of the output layer. The logits of the other classes stay; examples of these go."""

    type: Literal["remove_classes"] = "remove_classes"
    classes: list[StrictInt | StrictStr] = Field(min_length=1, description="the classes to take out")
