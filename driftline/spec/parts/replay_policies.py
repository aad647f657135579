"""The policies that say which examples are kept for replay."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from driftline.spec.registry import Part, Registry


class ReplayPolicy(Part):
    """Says where a new example goes. ``size`` is how many are kept."""

    name: str
    size: int = Field(5000, ge=0, le=10_000_000, description="the most examples that are kept")


class Balanced(ReplayPolicy):
    """A class-balanced reservoir (CBRS, Chrysakis & Moens 2020); of a regression, a plain one.

    While there is room everything is kept. Then a new example of a small class takes the place of one of the largest, and an
    example of a class that was ever the largest is kept with the probability that keeps its class a fair sample.
    """

    name: Literal["balanced"] = "balanced"


class Fifo(ReplayPolicy):
    """A sliding window: the oldest example goes first."""

    name: Literal["fifo"] = "fifo"


class Reservoir(ReplayPolicy):
    """Every example ever seen is kept with the same probability (algorithm R, Vitter 1985)."""

    name: Literal["reservoir"] = "reservoir"


REPLAY_POLICIES = Registry(ReplayPolicy, __name__, default="balanced")
