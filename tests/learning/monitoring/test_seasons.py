"""A season is no drift: rows that resemble their neighbours tell less than as many independent ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from driftline.learning.monitoring.two_window_test import correlation_times
from tests.learning.monitoring.test_two_window_test import watched

HOURS = 8760


def weather(seed: int, hours: int = HOURS) -> NDArray[np.float64]:
    """A year of hours ``[hours, 4]``: temperature (year, day and weather), pressure (weather), wind (gusty), rain (rare)."""
    random, time = np.random.default_rng(seed), np.arange(hours)
    fronts = np.zeros((hours, 3))
    for hour in range(1, hours):
        fronts[hour] = 0.98 * fronts[hour - 1] + 0.2 * random.normal(size=3)
    temperature = 12 * np.sin(2 * np.pi * time / HOURS) + 4 * np.sin(2 * np.pi * time / 24) + 3 * fronts[:, 0]
    wind = np.exp(fronts[:, 2] + 0.3 * random.normal(size=hours))
    rain = random.exponential(size=hours) * (fronts[:, 1] + random.normal(size=hours) > 2)
    return np.stack([temperature, fronts[:, 1], wind, rain], 1)


def tensor(rows: NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(rows.astype(np.float32))


def test_a_year_of_weather_is_hardly_ever_an_alarm() -> None:
    heard = [len(watched(tensor(weather(seed)))) for seed in range(10)]
    assert sum(heard) <= 8 and max(heard) <= 2, heard


@pytest.mark.parametrize(("period", "allowed"), [(24, 0), (365, 0), (2000, 3), (10_000, 7)])
def test_a_season_is_no_alarm_and_one_that_no_window_shows_soon_is_none(period: int, allowed: int) -> None:
    time = np.arange(12_000)[:, np.newaxis]
    noise = np.random.default_rng(period).normal(size=(len(time), 3))
    assert len(watched(tensor(np.sin(2 * np.pi * time / period + [0, 1, 2]) + 0.3 * noise))) <= allowed


def test_what_changes_beside_a_season_is_heard() -> None:
    rows = np.hstack([weather(1), np.random.default_rng(2).normal(size=(HOURS, 2))])
    rows[6000:, 5] += 1
    ((_, moved),) = watched(tensor(rows))
    assert moved.features[0]["index"] == [5] and abs(moved.since - 2 * 6001) <= 60


def test_independent_rows_are_each_one_and_correlated_ones_less() -> None:
    random = np.random.default_rng(0)
    independent = random.normal(size=(500, 200))
    times = correlation_times(independent)
    assert times.min() >= 1 and np.mean(times) < 1.05
    slow = np.zeros((2000, 1))
    for row in range(1, len(slow)):
        slow[row] = 0.9 * slow[row - 1] + random.normal()
    assert 10 < correlation_times(slow)[0] < 60, "an autoregressive process has (1 + 0.9) / (1 - 0.9) = 19"
    assert correlation_times(np.full((500, 1), 7.0))[0] == 1
