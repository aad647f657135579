"""Drift in what comes in, which no label has to tell."""

from __future__ import annotations

from pydantic import Field

from driftline.registry import Part


class InputDetector(Part):
    """Compares the newest ``recent`` rows with ``reference`` rows from before, feature by feature (Rabanser et al. 2019).

    A Kolmogorov-Smirnov distance is measured at 15 quantiles of the reference, for each number of the inputs and, with
    ``embedding``, for each activation in front of the output layer. ``alpha`` bounds how probable an alarm by chance alone is
    at one comparison: the bound is the two-sample inequality of Dvoretzky, Kiefer and Wolfowitz (Wei & Dudley 2012), divided
    among the features (Bonferroni). There is a comparison every half of ``recent`` rows. Behind an alarm the reference begins
    anew with the rows that have moved.

    Its alarms are told; with ``answered`` they are also answered as the recipe's ``on_alarm`` says.
    """

    reference: int = Field(500, ge=50, le=10_000)
    recent: int = Field(250, ge=50, le=10_000)
    alpha: float = Field(0.0001, gt=0, lt=1)
    embedding: bool = True
    answered: bool = False
