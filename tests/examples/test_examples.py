"""Each example in a small form, with made-up data: it runs to its table, no request fails, and the model gets better."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from examples.image import levers
from examples.recommender import ratings
from examples.speech import digits
from examples.streams import digits as streams
from examples.streams import pipeline

pytestmark = [pytest.mark.long, pytest.mark.slow]


def test_images_and_levers(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 10, 1000)
    images = (random.random((10, 28, 28))[labels] + random.random((1000, 28, 28))).astype(np.float32) / 2
    chosen = ("rate: 0.001", "insert and merge", "concatenate", "adapters")
    monkeypatch.setattr(levers, "LEVERS", {name: levers.LEVERS[name] for name in chosen})
    rows = levers.run(images, labels, learned=600, new=200, tested=200, epochs=1)
    assert [row["lever"] for row in rows] == list(chosen)
    sizes = {row["lever"]: row["parameters"] for row in rows}
    assert sizes["rate: 0.001"] == 101_770 == sizes["insert and merge"]
    assert sizes["concatenate"] > 101_770 and sizes["adapters"] > 101_770
    assert all(row["after"] > 0.5 for row in rows)


@pytest.mark.parametrize("kind", ["redis", "files"])
def test_digits_from_a_stream(kind: str) -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 10, 900)
    images = (random.random((10, 64))[labels] + 0.2 * random.random((900, 64))).astype(np.float32)
    scores = streams.run(kind, images, labels, rounds=3)
    assert scores[-1] > max(scores[0], 0.5)


def test_digits_from_stream_to_stream() -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 10, 800)
    images = (random.random((10, 64))[labels] + 0.2 * random.random((800, 64))).astype(np.float32)
    scores = pipeline.run(images, labels, rounds=4)
    assert scores[-1] > max(scores[0], 0.5)


def test_new_users_get_vectors_of_their_own() -> None:
    random = np.random.default_rng(0)
    count = 3000
    users = np.where(np.arange(count) < 1000, random.integers(0, 20, count), random.integers(20, 40, count))
    items = random.integers(0, 30, count)
    likes = random.normal(size=40)
    table = np.stack([users, items, 3 + likes[users] + 0.2 * random.normal(size=count), np.arange(count)], 1)
    plain, grown = ratings.run(table, learned=1000, new=1500, tested=500, epochs=10)
    assert grown["parameters"] > plain["parameters"] and grown["promoted"]
    assert grown["after"] < min(grown["rmse before"], plain["after"])


def test_new_speakers(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    labels, speakers = random.integers(0, 10, 700), np.array(["a", "b", "c"])[random.integers(0, 3, 700)]
    pitch = 300 + 300 * labels + 40 * (speakers == "c")
    time = np.arange(digits.SAMPLES) / 8000
    sounds = np.sin(2 * np.pi * pitch[:, None] * time) + 0.05 * random.normal(size=(700, digits.SAMPLES))
    levers_of: dict[str, Any] = {name: digits.LEVERS[name] for name in ("the head alone", "adapters of rank 2")}
    monkeypatch.setattr(digits, "LEVERS", levers_of)
    inputs = sounds[:, None].astype(np.float32).round(3)
    head, adapters = digits.run(inputs, labels, speakers, learned=150, new=50, tested=50, epochs=1)
    assert head["trained"] < adapters["trained"]
    assert all(row["new, after"] > 0.3 for row in (head, adapters))
