"""What every detector keeps: a plain and small state, quiet while nothing changes, a rise heard; and where River's alarm."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import pytest
from river import drift

from driftline.errors import InvalidInput
from driftline.learning.monitoring.drift import DriftDetector, drift_detector
from driftline.learning.monitoring.drift.adwin import AdwinDetector
from driftline.learning.monitoring.drift.kswin import KswinDetector
from driftline.learning.stateful import State, undeclared
from driftline.spec import ModelSpec, parse
from driftline.spec.parts.detectors import (
    DETECTORS,
    Adwin,
    Ddm,
    Detector,
    Eddm,
    HddmA,
    HddmW,
    Kswin,
    PageHinkley,
)
from tests.learning.conftest import spec

HEARING = [name for name in DETECTORS.parts if name != "none"]
FOR_NUMBERS = [name for name, part in DETECTORS.parts.items() if "regression" in part.tasks]


def wrong(*parts: tuple[int, float], seed: int = 0) -> list[float]:
    """Errors of 0 and 1: so many, at such a rate."""
    rng = random.Random(seed)
    return [float(rng.random() < rate) for count, rate in parts for _ in range(count)]


def started(name: str) -> DriftDetector[Any]:
    """A detector by its defaults, before its first error."""
    return drift_detector(DETECTORS.parse(name))


def alarms(parameters: Detector, errors: list[float]) -> list[int]:
    """How many errors had been seen at each alarm."""
    detector = drift_detector(parameters)
    return [n for n, error in enumerate(errors, 1) if detector.update(error)]


def as_json(detector: DriftDetector[Any]) -> str:
    return json.dumps(detector.state_dict().data, allow_nan=False)


@pytest.mark.parametrize("name", DETECTORS.parts)
@pytest.mark.parametrize("cut", [0, 1, 31, 500, 2050])
def test_every_detector_goes_on_from_its_state_as_json(name: str, cut: int) -> None:
    detector, other, errors = started(name), started(name), wrong((2000, 0.1), (400, 0.6), seed=1)
    for error in errors[:cut]:
        detector.update(error)
    state = as_json(detector)
    data = json.loads(state)
    other.load_state_dict(State({}, data))
    assert not undeclared(detector) and not detector.state_dict().tensors
    heard = [[each.update(error) for error in errors[cut:]] for each in (detector, other)]
    assert heard[0] == heard[1]
    assert as_json(detector) == as_json(other)
    assert json.dumps(data) == state, "the state itself stays"


@pytest.mark.parametrize("name", DETECTORS.parts)
@pytest.mark.parametrize("error", [0.0, 1.0])
def test_no_detector_alarms_while_nothing_changes(name: str, error: float) -> None:
    assert alarms(DETECTORS.parse(name), [error] * 3000) == []


@pytest.mark.parametrize("name", HEARING)
@pytest.mark.parametrize("seed", range(5))
def test_every_detector_hears_an_abrupt_rise(name: str, seed: int) -> None:
    detector = started(name)
    for error in wrong((2000, 0.1), seed=seed):
        detector.update(error)
    assert any(detector.update(error) for error in wrong((250, 0.8), seed=seed + 100))


@pytest.mark.parametrize("name", [name for name in HEARING if name not in ("ddm", "eddm")])
@pytest.mark.parametrize("seed", range(3))
def test_a_fall_is_no_alarm(name: str, seed: int) -> None:
    detector = started(name)
    for error in wrong((1000, 0.8), seed=seed):
        detector.update(error)
    assert not any(detector.update(error) for error in wrong((400, 0.2), seed=seed + 100))


@pytest.mark.parametrize("name", DETECTORS.parts)
def test_no_state_grows_with_the_stream(name: str) -> None:
    detector, sizes = started(name), []
    for n, error in enumerate(wrong((6000, 0.3))):
        detector.update(error)
        if n % 500 == 499:
            sizes.append(len(as_json(detector)))
    assert max(sizes) < 8000


@pytest.mark.parametrize("name", FOR_NUMBERS)
def test_the_errors_of_a_regression_are_heard(name: str) -> None:
    rng = random.Random(0)
    heard = alarms(DETECTORS.parse(name), [abs(rng.gauss(0, 1 + 9 * (n > 2000))) for n in range(2400)])
    assert name == "none" or any(2000 < n <= 2200 for n in heard)


def test_a_regression_is_told_which_detectors_it_can_have() -> None:
    regression = spec(task="regression", classes=None).model_dump(mode="json")
    for name in set(DETECTORS.parts) - set(FOR_NUMBERS):
        with pytest.raises(
            InvalidInput, match=f"{name} takes errors of 0 and 1.*can have: adwin, kswin, none, page_hinkley"
        ):
            parse(ModelSpec, regression | {"recipe": {"detector": name}})


RIVERS: list[tuple[Detector, Callable[[], Any]]] = [
    (Ddm(), drift.binary.DDM),
    (Eddm(), drift.binary.EDDM),
    (Eddm(beta=0.75), lambda: drift.binary.EDDM(alpha=0.8, beta=0.75)),
    (HddmA(), drift.binary.HDDMA),
    (HddmW(), drift.binary.HDDMW),
    (PageHinkley(), lambda: drift.PageHinkley(mode="up")),
    (PageHinkley(threshold=10, delta=0.05, fade=0.999), lambda: drift.PageHinkley(30, 0.05, 10, 0.999, "up")),
]
STREAMS = [
    ((5000, 0.3),),
    ((2000, 0.1), (1000, 0.5), (2000, 0.1), (1000, 0.9)),
    ((1000, 0.0), (1000, 0.02), (1000, 0.05), (1000, 0.2), (1000, 1.0)),
    ((500, 0.9), (500, 0.7), (500, 0.5), (500, 0.3), (500, 0.1), (500, 0.6)),
]


def rivers_alarms(theirs: Any, errors: list[float]) -> list[int]:
    heard = []
    for n, error in enumerate(errors, 1):
        theirs.update(error)
        if theirs.drift_detected:
            heard.append(n)
    return heard


@pytest.mark.parametrize(("ours", "theirs"), RIVERS, ids=lambda value: getattr(value, "name", ""))
@pytest.mark.parametrize("stream", range(len(STREAMS)))
def test_it_alarms_where_rivers_does(ours: Detector, theirs: Callable[[], Any], stream: int) -> None:
    for seed in range(4):
        errors = wrong(*STREAMS[stream], seed=seed)
        assert alarms(ours, errors) == rivers_alarms(theirs(), errors), f"seed {seed}"


@pytest.mark.parametrize("stream", range(len(STREAMS)))
def test_adwin_cuts_where_rivers_does(stream: int) -> None:
    detector = AdwinDetector(Adwin(grace=10))
    for seed in range(4):
        errors, cuts = wrong(*STREAMS[stream], seed=seed), []
        detector.restart()
        for n, error in enumerate(errors, 1):
            width = detector.width
            detector.update(error)
            if detector.width <= width:
                cuts.append(n)
                detector.restart()  # As River does; ours goes on with what is left, and alarms at rises only.
        assert cuts == rivers_alarms(drift.ADWIN(grace_period=10), errors), f"seed {seed}"


@pytest.mark.parametrize("seed", range(3))
def test_kswin_hears_what_rivers_hears_where_that_draws_nothing(seed: int) -> None:
    """Where its older sample is all that there is of the window, River's has no choice left."""
    detector, theirs = (
        KswinDetector(Kswin(size=30, alpha=0.002)),
        drift.KSWIN(alpha=0.002, window_size=60, stat_size=30),
    )
    errors = wrong((300, 0.1), (200, 0.8), (200, 0.1), seed=seed)
    heard = [n for n, error in enumerate(errors, 1) if detector.change(error)]
    assert heard
    assert heard == rivers_alarms(theirs, errors)
