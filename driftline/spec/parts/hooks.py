"""What a recipe can do to the weights beside the gradient."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from driftline.spec.registry import Part


class WeightHook(Part):
    """Parameters of a change of the weights. ``field`` is the recipe's that names it."""

    field: ClassVar[str]


class L2SP(WeightHook):
    """The penalty ``strength / 2 · Σ (θ - θ°)²``, with ``θ°`` of a kept ``version`` or of the champion (Li et al. 2018).

    Weights that are not in ``θ°``, as those of a new class, are free; so is the output where ``version`` has other classes.
    """

    field: ClassVar[str] = "l2_sp"
    version: Annotated[int, Field(ge=1)] | Literal["champion"] = Field(
        "champion", description="the kept version that weights are pulled to, or `champion`"
    )
    strength: float = Field(0.01, ge=0, le=1000, description="how strongly")


class MaxNorm(WeightHook):
    """Scales the weights into each unit back to the norm ``limit`` where they exceed it (Srivastava et al. 2014)."""

    field: ClassVar[str] = "max_norm"
    limit: float = Field(3.0, gt=0, le=1e6, description="the largest norm of the weights into a unit")


class Refresh(WeightHook):
    """Draws the least useful hidden units again, a share of ``rate`` of each layer an update (Dohare et al. 2024).

    A unit's utility is the running mean of ``|h| · Σ |w|``, of what it gives and of the weights that take it in. It is measured
    every ``every`` updates, on their examples, and ``decay`` of it stays. A new unit is not taken in at first, and is safe for
    ``maturity`` updates.
    """

    field: ClassVar[str] = "refresh"
    rate: float = Field(0.0001, gt=0, le=1, description="the share of a layer's units that is drawn again at an update")
    maturity: int = Field(100, ge=0, le=1_000_000, description="updates for which a new unit is safe")
    decay: float = Field(0.99, ge=0, lt=1, description="the share of the measured utility that stays")
    every: int = Field(8, ge=1, le=10_000, description="updates between two measurements")


class Repair(WeightHook):
    """Puts the champion's weights in the place of those that are no finite numbers or have exploded.

    A weight has exploded at ``limit`` times the champion's largest of the same tensor, or at ``limit`` where it has none
    above 1. What the optimizer knew of a tensor so repaired goes.
    """

    field: ClassVar[str] = "sanitize"
    limit: float = Field(1000.0, gt=1, description="how many times the champion's largest weight counts as exploded")


class ShrinkAndPerturbOnAlarm(WeightHook):
    """At a drift alarm the weights become ``shrink · θ + noise · θ₀``, with ``θ₀`` drawn again (Ash & Adams 2020)."""

    field: ClassVar[str] = "shrink_and_perturb"
    shrink: float = Field(0.6, ge=0, le=1, description="the share of the weights that stays")
    noise: float = Field(0.1, ge=0, le=1, description="the share of new weights that is added")


WEIGHT_HOOKS: dict[str, type[WeightHook]] = {
    hook.field: hook for hook in (L2SP, ShrinkAndPerturbOnAlarm, Refresh, MaxNorm, Repair)
}
"""Every weight hook by the recipe's field, in the order in which they work."""
