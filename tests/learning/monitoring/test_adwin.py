"""The detector hears a rise of the error, and nothing else."""

from __future__ import annotations

import random

import pytest

from driftline.learning.monitoring.drift.adwin import AdwinDetector
from driftline.spec.parts.detectors import Adwin


def draws(*parts: tuple[int, float], seed: int = 0) -> list[float]:
    """Errors of 0 and 1: so many, at such a rate."""
    rng = random.Random(seed)
    return [float(rng.random() < rate) for count, rate in parts for _ in range(count)]


def alarms(errors: list[float], parameters: Adwin | None = None) -> list[int]:
    """How many errors had been seen at each alarm."""
    detector = AdwinDetector(parameters or Adwin())
    return [n for n, error in enumerate(errors, 1) if detector.update(error)]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("before", "after", "within"), [(0.1, 0.5, 96), (0.05, 0.95, 64), (0.2, 0.3, 1500)])
def test_it_alarms_soon_after_the_error_rises(before: float, after: float, within: int, seed: int) -> None:
    heard = alarms(draws((2000, before), (2000, after), seed=seed))
    assert heard and 2000 < heard[0] <= 2000 + within


@pytest.mark.parametrize("seed", range(5))
def test_it_does_not_alarm_when_the_error_falls(seed: int) -> None:
    assert alarms(draws((2000, 0.5), (2000, 0.1), (2000, 0.02), seed=seed)) == []


def test_after_a_change_the_window_holds_what_is_new() -> None:
    detector = AdwinDetector(Adwin())
    for error in draws((2000, 0.1), (320, 0.9)):
        detector.update(error)
    assert detector.width < 400 and detector.total / detector.width > 0.8


def test_a_fall_is_forgotten_so_that_a_rise_after_it_is_heard() -> None:
    heard = alarms(draws((2000, 0.5), (2000, 0.1), (500, 0.5)))
    assert heard and 4000 < heard[0] <= 4128


@pytest.mark.parametrize("rate", [0.0, 0.02, 0.3, 0.5, 1.0])
def test_a_constant_error_over_20000_draws_is_no_drift(rate: float) -> None:
    delta = Adwin().delta
    heard = [alarms(draws((20_000, rate), seed=seed)) for seed in range(3)]
    checks = 3 * 20_000 / Adwin().clock
    assert sum(map(len, heard)) <= delta * checks


def test_absolute_errors_of_any_unit_are_heard() -> None:
    rng = random.Random(0)
    errors = [abs(rng.gauss(0, 100)) for _ in range(2000)] + [abs(rng.gauss(0, 300)) for _ in range(500)]
    heard = alarms(errors)
    assert heard and 2000 < heard[0] <= 2200


def test_it_says_nothing_before_its_grace() -> None:
    errors = draws((60, 0.0), (60, 1.0))
    assert alarms(errors, Adwin(clock=1, grace=20))[0] < 90
    assert alarms(errors, Adwin(clock=1, grace=115))[0] == 116


def test_its_memory_is_logarithmic_and_its_sums_are_those_of_the_window() -> None:
    detector, errors = AdwinDetector(Adwin()), draws((20_000, 0.3))
    for error in errors:
        detector.update(error)
    assert sum(map(len, detector.rows)) < 80
    buckets = [(2**n, *bucket) for n, row in enumerate(detector.rows) for bucket in row]
    assert detector.width == sum(size for size, _, _ in buckets) == 20_000
    assert detector.total == sum(total for _, total, _ in buckets) == sum(errors)
    # Of zeros and ones, the squared differences from the mean add up to this.
    assert all(variance == pytest.approx(total - total**2 / size) for size, total, variance in buckets)
    assert detector.variance == pytest.approx(sum(errors) - sum(errors) ** 2 / 20_000)
