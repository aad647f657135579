"""The detectors of drift that a recipe can name: in the error of what is served, and in what comes in."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from driftline.spec.registry import Part, Registry


class Detector(Part):
    """Parameters of a detector. It alarms when the error has risen; a fall is no drift that anybody need fear.

    ``tasks`` are those it is for: what is made for errors of 0 and 1 cannot take those of a regression.
    """

    name: str
    tasks: ClassVar[frozenset[str]] = frozenset({"classification", "multilabel", "regression"})


class Adwin(Detector):
    """Cuts its window wherever the means of its two sides differ by more than chance allows (Bifet & Gavaldà 2007).

    The window is an exponential histogram: row ``i`` holds buckets of ``2^i`` errors, oldest first, each with its sum and its
    sum of squared differences from its mean. The check runs every ``clock`` errors, at confidence ``delta``.
    """

    name: Literal["adwin"] = "adwin"
    delta: float = Field(0.002, gt=0, lt=1, description="the confidence of the check")
    clock: int = Field(32, ge=1, description="errors between two checks")
    grace: int = Field(100, ge=0, description="errors before the first check")


class Ddm(Detector):
    """Alarms when the error rate lies ``threshold`` deviations above its lowest (Gama et al. 2004), then starts again.

    As published it takes long runs without an error for a rate of 0, and then alarms at the next one: it suits models that err.
    """

    name: Literal["ddm"] = "ddm"
    tasks: ClassVar[frozenset[str]] = frozenset({"classification"})
    threshold: float = Field(3.0, gt=0, description="deviations above the lowest error rate")
    grace: int = Field(30, ge=1, description="errors before the first check")


class Eddm(Detector):
    """Alarms when errors lie closer together than they did (Baena-García et al. 2006), then starts again.

    The mean distance of two errors and twice its deviation must fall below the share ``beta`` of their highest. It hears slow
    changes early; at the published 0.9 it also hears many that are none, and 0.75 is calmer.
    """

    name: Literal["eddm"] = "eddm"
    tasks: ClassVar[frozenset[str]] = frozenset({"classification"})
    beta: float = Field(
        0.9, gt=0, lt=1, description="the share of the largest distance of two errors below which it alarms"
    )
    grace: int = Field(30, ge=1, description="wrong answers before the first check")


class HddmA(Detector):
    """Alarms when Hoeffding's inequality excludes that the error has not risen (Frías-Blanco et al. 2015), then starts again.

    The mean of all errors is compared with the mean up to the cut at which it was surely lowest; ``confidence`` is how often
    chance alone may pass for a rise.
    """

    name: Literal["hddm_a"] = "hddm_a"
    tasks: ClassVar[frozenset[str]] = frozenset({"classification"})
    confidence: float = Field(0.001, gt=0, lt=1, description="how often chance alone may pass for a rise")


class HddmW(Detector):
    """Alarms when McDiarmid's inequality excludes that the error has not risen (Frías-Blanco et al. 2015), then starts again.

    It compares exponentially weighted means, ``fade`` being the weight of the newest error, so that it hears slow changes too.
    Each mean stands with its sum of squared weights, which bounds how far chance moves it.
    """

    name: Literal["hddm_w"] = "hddm_w"
    tasks: ClassVar[frozenset[str]] = frozenset({"classification"})
    confidence: float = Field(0.001, gt=0, lt=1, description="how often chance alone may pass for a rise")
    fade: float = Field(0.05, gt=0, lt=1, description="the weight of the newest error")


class Kswin(Detector):
    """Alarms when a Kolmogorov-Smirnov test tells the newest ``size`` errors from the ``size`` before (Raab et al. 2020).

    The published one draws its older sample at random; this one takes all of it, so that its state is the errors alone. It
    hears a change of shape as well as one of the mean. It tests at every error: ``alpha`` is what each test may err.
    """

    name: Literal["kswin"] = "kswin"
    alpha: float = Field(0.0001, gt=0, lt=1, description="how often chance alone may pass for a rise")
    size: int = Field(100, ge=5, le=1000, description="errors on each side that are compared")


class NoDetector(Detector):
    """Never alarms."""

    name: Literal["none"] = "none"


class PageHinkley(Detector):
    """Sums by how much each error exceeds the running mean (Page 1954), and alarms ``threshold`` above the sum's lowest.

    ``delta`` is the excess that is let pass, ``fade`` the share of the sum that each error leaves. Both thresholds are in the
    error's own units: of a regression they must fit what it predicts. Then it starts again.
    """

    name: Literal["page_hinkley"] = "page_hinkley"
    threshold: float = Field(50.0, gt=0, description="how far the sum may exceed its lowest")
    delta: float = Field(0.005, ge=0, description="what an error may exceed the mean by without counting")
    fade: float = Field(0.9999, gt=0, le=1, description="the share of the sum that stays at each error")
    grace: int = Field(30, ge=1, description="errors before the first check")


DETECTORS = Registry(Detector, __name__)


class InputDetector(Part):
    """Compares the newest ``recent`` rows with ``reference`` rows from before, feature by feature (Rabanser et al. 2019).

    A Kolmogorov-Smirnov distance is measured at 15 quantiles of the reference, for each number of the inputs and, with
    ``embedding``, for each activation in front of the output layer. ``alpha`` bounds how probable an alarm by chance alone is
    at one comparison: the bound is the two-sample inequality of Dvoretzky, Kiefer and Wolfowitz (Wei & Dudley 2012), divided
    among the features (Bonferroni). It is that of independent rows: where a feature resembles its neighbours in the reference,
    as with a season or a trend, it is wider by as much as its autocorrelation says. There is a comparison every half of
    ``recent`` rows. After an alarm the reference begins again with the rows that have moved, and the features that have moved
    must next move three times as far, as with a season that no reference shows whole; calm rows take that back.

    Its alarms are told; with ``answered`` they are also answered as the recipe's ``on_alarm`` says.
    """

    reference: int = Field(500, ge=50, le=10_000, description="rows from before that are compared with")
    recent: int = Field(250, ge=50, le=10_000, description="newest rows that are compared")
    alpha: float = Field(
        0.0001, gt=0, lt=1, description="the bound of how probable an alarm by chance is at one comparison"
    )
    embedding: bool = Field(True, description="whether the activations before the output layer are compared too")
    answered: bool = Field(False, description="whether `on_alarm` answers its alarms")
