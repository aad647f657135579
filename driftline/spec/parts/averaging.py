"""The means over the weights of many updates that a recipe can name."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from driftline.spec.registry import Part, Registry


class Averaging(Part):
    """Parameters of a mean of weights, which is put to the gate and served; training goes on from the weights themselves."""

    name: str


class Ema(Averaging):
    """``decay`` of the mean stays at each update (Polyak & Juditsky 1992; Tarvainen & Valpola 2017).

    Over the first updates less does, so that the first weights do not linger: ``(1 + n) / (10 + n)``.
    """

    name: Literal["ema"] = "ema"
    decay: float = Field(0.99, ge=0, lt=1, description="the share of the mean that stays at each update")


class Swa(Averaging):
    """The plain mean of the weights at every ``every`` labels (SWA, Izmailov et al. 2018).

    A stream has no end: from the ``most``-th on, the older ones fade.
    """

    name: Literal["swa"] = "swa"
    every: int = Field(256, ge=1, le=1_000_000_000, description="labels between two weights that are averaged")
    most: int = Field(20, ge=1, le=100_000, description="weights after which older ones fade")


AVERAGINGS = Registry(Averaging, __name__)
