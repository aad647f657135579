"""What the encoder makes of rows, and how it follows them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from driftline.networks.clone import clone
from driftline.networks.rows.encoder import FEATURES, RowEncoder
from driftline.networks.rows.scale import RobustScale
from driftline.networks.rows.target_means import TargetMeans
from driftline.networks.rows.vocabulary import Vocabulary
from driftline.rows.fields import FieldCoder
from driftline.spec.parts.fields import FieldsSpec
from driftline.spec.row_layout import RowLayout

RANDOM = np.random.default_rng(0)


class Encoded:
    """An encoder of some fields that learns rows as they come."""

    def __init__(self, is_regression: bool = False, **fields: Any) -> None:
        spec = FieldsSpec.model_validate({"fields": fields})
        self.coder, self.layout = FieldCoder(spec), RowLayout(spec)
        self.encoder = RowEncoder(self.layout, is_regression)

    def coded(self, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        return {name: torch.from_numpy(array) for name, array in self.coder.from_rows(rows)[0].items()}

    def learn(self, rows: list[dict[str, Any]], targets: Sequence[float] | None = None) -> None:
        found = torch.tensor([0.0] * len(rows) if targets is None else targets)
        self.encoder.observe(
            self.coded(rows), found if self.encoder.is_regression else found.long(), torch.ones(len(rows))
        )

    def features(self, *rows: dict[str, Any]) -> dict[str, NDArray[np.float32]]:
        """The features of rows by name."""
        found = self.encoder(self.coded([*rows]))[FEATURES].numpy()
        return dict(zip(self.layout.feature_names, found.T, strict=True))


FIELDS: dict[str, Any] = {"n": "number", "c": "category", "t": "time", "u": "time", "b": "boolean", "x": "text"}


def some_rows(count: int, seed: int = 0) -> list[dict[str, Any]]:
    random = np.random.default_rng(seed)
    rows = [
        {
            "n": float(random.normal()),
            "c": f"c{random.integers(9)}",
            "t": 1.7e9 + 3600.0 * n,
            "u": "2024-01-01",
            "b": bool(n % 3),
            "x": f"word{random.integers(5)} and more",
        }
        for n in range(count)
    ]
    return [{name: value for name, value in row.items() if random.random() < 0.9} for row in rows]


def test_every_feature_has_a_name_and_is_a_small_number() -> None:
    one = Encoded(**FIELDS)
    for first in range(0, 400, 20):
        one.learn(some_rows(20, first), [n % 2 for n in range(20)])
    found = np.stack([*one.features(*some_rows(50, 99)).values()])
    assert found.shape == (one.layout.features, 50)
    assert np.isfinite(found).all() and np.abs(found).max() <= 10


def test_the_state_is_the_whole_encoder() -> None:
    one, other = Encoded(**FIELDS), Encoded(**FIELDS)
    for first in range(0, 200, 20):
        one.learn(some_rows(20, first), [n % 2 for n in range(20)])
    other.encoder.load_state_dict(one.encoder.state_dict())
    copy = clone(one.encoder)
    for encoded in (one, other):
        encoded.learn(some_rows(20, 77), [1] * 20)
    rows = one.coded(some_rows(30, 5))
    assert torch.equal(one.encoder(rows)[FEATURES], other.encoder(rows)[FEATURES])
    assert not torch.equal(one.encoder(rows)[FEATURES], copy(rows)[FEATURES]), "a copy stays as it was"


def test_missing_is_a_value_of_its_own() -> None:
    one = Encoded(n="number", c="category")
    one.learn([{"n": 5.0, "c": "a"}, {"n": 6.0}, {"c": "b"}] * 20, [0, 1, 1] * 20)
    found = one.features({"n": 5.5, "c": "a"}, {"c": "a"}, {"n": 5.5})
    assert found["missing 0"].tolist() == [0, 1, 0]
    assert found["n"][1] == 0
    assert found["c: target 0"][2] > 1 > -1 > found["c: target 0"][0]


def test_a_new_category_is_known_from_its_first_label_on() -> None:
    one = Encoded(c="category")
    one.learn([{"c": "a"}] * 8)
    before = one.features({"c": "new"})
    assert before["c: frequency"] == before["c: target 0"] == 0
    one.learn([{"c": "new"}], [1])
    after = one.features({"c": "new"})
    assert after["c: frequency"] > 0 and after["c: target 0"] > 0
    assert [name for name, value in after.items() if "value" in name and value == 1] == ["c: value 1"]


def test_the_target_of_a_row_is_not_told_to_the_row_itself() -> None:
    """Categories that come once say nothing: what a row is learned with must not hold its own label."""
    one = Encoded(c="category")
    statistics, targets = [], RANDOM.integers(2, size=200)
    for n, target in enumerate(targets):
        row = one.coded([{"c": f"only once {n}"}])
        statistics.append(float(one.encoder.statistics(row)))
        one.encoder.observe(row, torch.tensor([target]), torch.ones(1))
    assert abs(np.corrcoef(statistics[20:], targets[20:])[0, 1]) < 0.2 if np.std(statistics[20:]) else True
    assert np.abs(statistics).max() < 1e-6


def test_rows_that_were_learned_are_told_what_was_known_before_them() -> None:
    one = Encoded(c="category", x="text")
    rows = [{"c": f"c{n % 9}", "x": f"word{n % 4}"} for n in range(96)]
    targets = [int(target) for target in RANDOM.integers(2, size=96)]
    then = []
    for first in range(0, 96, 32):
        then.append(one.encoder.statistics(one.coded(rows[first : first + 32])))
        one.learn(rows[first : first + 32], targets[first : first + 32])
    now = one.encoder.ordered_statistics(one.coded(rows), torch.tensor(targets), torch.ones(96))
    torch.testing.assert_close(now, torch.cat(then))


def test_statistics_that_a_row_brings_are_taken() -> None:
    one = Encoded(c="category")
    one.learn([{"c": "a"}] * 10, [1] * 10)
    rows = one.coded([{"c": "a"}, {"c": "a"}])
    name = "target statistics"
    rows[name][1] = 0.25
    found = one.encoder(rows)[FEATURES][:, 0].tolist()
    assert found[0] == pytest.approx(float(one.encoder.statistics(rows)[0])) and found[1] == 0.25


def test_a_row_of_no_weight_is_not_seen() -> None:
    one, other = Encoded(**FIELDS), Encoded(**FIELDS)
    rows, targets = some_rows(60), torch.tensor([n % 2 for n in range(60)])
    weights = torch.ones(60)
    one.encoder.observe(one.coded(rows), targets, weights)
    weights = torch.cat([weights, torch.zeros(1)])
    other.encoder.observe(other.coded([*rows, {"n": 1e9, "c": "z"}]), torch.cat([targets, targets[:1]]), weights)
    for name, value in one.encoder.state_dict().items():
        assert torch.equal(value, other.encoder.state_dict()[name]), name


def test_a_time_is_age_place_in_day_week_and_year_and_distance() -> None:
    one = Encoded(t="time", u="time")
    hour = 3600.0
    rows = [{"t": 1.7e9 + hour * n, "u": 1.7e9 + hour * n + 60 * (n % 5)} for n in range(600)]
    for first in range(0, 600, 30):
        one.learn(rows[first : first + 30])
    found = one.features({"t": 1.7e9, "u": 1.7e9 + 240}, {"t": 1.7e9 + 24 * hour, "u": 1.7e9 + 24 * hour})
    assert found["t: hour sine"][0] == pytest.approx(found["t: hour sine"][1], abs=1e-3)
    assert found["t: weekday sine"][0] != pytest.approx(found["t: weekday sine"][1], abs=1e-2)
    assert found["u - t"][0] > found["u - t"][1]
    assert found["t: age"][0] > found["t: age"][1]


def test_words_tell_of_the_target() -> None:
    one = Encoded(x="text")
    good, bad = {"x": "a lovely, friendly place"}, {"x": "a dirty and noisy place"}
    for _ in range(20):
        one.learn([good, bad], [1, 0])
    found = one.features({"x": "friendly!"}, {"x": "so noisy"}, {"x": "nothing of these"}, {})
    told = found["x: target 0"]
    assert told[0] > 1 > abs(told[3]) and told[1] < -1


# A scale, whatever comes.

CLEAN = np.random.default_rng(3).normal(50, 2, size=(1000, 1))


def scaled_by(values: NDArray[np.float64], of: list[float]) -> list[float]:
    scale = RobustScale(1)
    for first in range(0, len(values), 8):
        scale.observe(values[first : first + 8])
    found: list[float] = scale.scaled(np.array(of)[:, None])[:, 0].tolist()
    return found


@given(
    arrays(np.float64, st.tuples(st.integers(0, 6), st.just(3)), elements=st.floats(-1e6, 1e6)), st.sampled_from("CF")
)
def test_rows_are_scaled_in_whatever_order_their_numbers_lie(values: NDArray[np.float64], order: Any) -> None:
    scale = RobustScale(3)
    scale.observe(CLEAN[:30].reshape(10, 3))
    wide = np.repeat(values, 2, axis=1)
    expected = scale.scaled(values.copy("C"))
    assert np.array_equal(scale.scaled(values.copy(order)), expected)
    assert np.array_equal(scale.scaled(wide[:, ::2]), expected), "every second one of an array"


@pytest.mark.parametrize("unit", [1e-200, 1e-20, 1e-9, 1.0, 1e6, 1e30])
def test_the_unit_does_not_matter(unit: float) -> None:
    found = scaled_by(CLEAN * unit, [48 * unit, 50 * unit, 52 * unit])
    assert found == pytest.approx([-1, 0, 1], abs=0.2)


@pytest.mark.parametrize("place", [0, 1, 7, 500, 998])
@pytest.mark.parametrize("value", [1e6, -1e9, 1e38, 0.0])
def test_one_value_hides_no_others(place: int, value: float) -> None:
    values = CLEAN.copy()
    values[place] = value
    assert scaled_by(values, [48, 50, 52]) == pytest.approx(scaled_by(CLEAN, [48, 50, 52]), abs=0.1)


@pytest.mark.parametrize("rows", [8, 16, 24])
def test_a_few_rows_are_enough_to_know_a_broken_value_from_them(rows: int) -> None:
    values = CLEAN[:rows].copy()
    values[3] = 1e9
    low, high = scaled_by(values, [48, 52])
    assert high - low > 1


def test_one_cell_in_a_hundred_hides_no_others() -> None:
    values = np.where(np.random.default_rng(1).random(CLEAN.shape) < 0.01, 1e6, CLEAN)
    assert scaled_by(values, [48, 50, 52]) == pytest.approx(scaled_by(CLEAN, [48, 50, 52]), abs=0.3)


@pytest.mark.parametrize("count", [13, 32])
def test_a_burst_of_rows_that_are_broken_and_vary_is_no_other_unit(count: int) -> None:
    random, scale = np.random.default_rng(0), RobustScale(1)
    rows = random.normal(5, 2, (1200, 1))
    rows[600 : 600 + count] = 1e6 * random.normal(size=(count, 1))
    changes = [scale.observe(row[None]) for row in rows]
    assert not any(changes[300:])
    assert abs(float(scale.centre) - 5) < 0.5
    assert abs(float(np.std(scale.scaled(random.normal(5, 2, (500, 1))))) - 1) < 0.25


def test_another_unit_is_followed_within_a_window() -> None:
    values = np.concatenate([CLEAN, CLEAN[:400] * 1000])
    assert scaled_by(values, [48_000, 50_000, 52_000]) == pytest.approx([-1, 0, 1], abs=0.3)


def test_far_values_stay_in_order_and_near() -> None:
    found = scaled_by(CLEAN, [50, 60, 100, 1e6, 1e30])
    assert found == sorted(found) and found[-1] <= 10


def test_a_constant_is_nothing_and_what_differs_from_it_is_far() -> None:
    low, same, high = scaled_by(np.full((300, 1), 7.0), [6.0, 7.0, 8.0])
    assert low < -3 and same == 0 and high > 3


# Means of the target, and the values that have one.


def test_a_mean_follows_its_labels_and_forgets() -> None:
    means = TargetMeans(2, 1, is_share=False, memory=50)
    for value in (1.0, -1.0):
        for _ in range(300):
            means.observe(np.array([1]), np.array([[value]], np.float32), np.ones(1, np.float32))
        assert means.means[1, 0].item() == pytest.approx(value, abs=0.1)
    assert means.means[0, 0] == 0


def test_labels_together_count_as_one_by_one() -> None:
    one, other = TargetMeans(3, 2, is_share=True), TargetMeans(3, 2, is_share=True)
    entries, targets = np.array([0, 1, 1, 2, 1]), RANDOM.random((5, 2)).astype(np.float32)
    weights = np.array([1, 2, 0, 1, 3], np.float32)
    one.observe(entries, targets, weights)
    for n in range(5):
        other.observe(entries[n : n + 1], targets[n : n + 1], weights[n : n + 1])
    torch.testing.assert_close(one.means, other.means)
    torch.testing.assert_close(one.counts, other.counts)


def test_entries_are_given_in_order_and_never_move() -> None:
    vocabulary, order = Vocabulary(2, 2), []
    for keys in ([5, 6], [7, 6], [5, 8], [9, 9]):
        vocabulary.add(np.array([keys]))
        order.append(vocabulary.entries(np.array([[5, 6]])).tolist())
    assert order == [[[1, 2]]] * 4
    assert len(vocabulary) == 7 and vocabulary.entries(np.array([[6, 5]])).tolist() == [[0, 0]], (
        "a category has its own"
    )
    assert vocabulary.marks_of.tolist() == [-1, 0, 2, 1, 3, -1, -1], "the first two of each have a mark"


def test_beyond_the_limit_values_are_unknown() -> None:
    vocabulary = Vocabulary(1, 2, limit=4)
    for key in range(1, 10):
        assert vocabulary.add(np.array([[key]])) <= 4
    assert vocabulary.entries(np.array([[1], [2], [3], [4], [9]]))[:, 0].tolist() == [1, 2, 3, 0, 0]
