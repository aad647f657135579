"""The schedules of the learning rate that a recipe can name."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from driftline.spec.registry import Part, Registry


class Schedule(Part):
    """Parameters of a schedule."""

    name: str


class Constant(Schedule):
    """The rate stays: what is learned tomorrow matters as much as what is learned today."""

    name: Literal["constant"] = "constant"


class Plateau(Schedule):
    """Halves the rate, down to the share ``floor`` of it, when the prequential error has not fallen for ``labels`` labels.

    The mean error of each ``labels`` labels is compared with the lowest before. A drift alarm brings the full rate back.
    """

    name: Literal["plateau"] = "plateau"
    labels: int = Field(
        2000, ge=10, le=1_000_000_000, description="labels without a better mean error until the rate is halved"
    )
    floor: float = Field(0.01, ge=0.0001, le=1, description="the smallest share of the rate")


class WarmRestart(Schedule):
    """From the full rate along a cosine to the share ``floor`` of it, over ``labels`` labels, and again at each drift alarm
    (SGDR, Loshchilov & Hutter 2017, equation 5).
    """

    name: Literal["warm_restart"] = "warm_restart"
    labels: int = Field(5000, ge=1, le=1_000_000_000, description="labels from the full rate to the smallest")
    floor: float = Field(0.1, ge=0.0001, le=1, description="the smallest share of the rate")


class Warmup(Schedule):
    """Rises evenly to the full rate over the first ``labels`` labels of a model or a job (Goyal et al. 2017)."""

    name: Literal["warmup"] = "warmup"
    labels: int = Field(1000, ge=1, le=1_000_000_000, description="labels until the full rate is reached")


SCHEDULES = Registry(Schedule, __name__)
