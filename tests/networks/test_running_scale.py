"""The running scale follows what it sees, and gives every input in one unit."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from driftline.networks.running_scale import RunningScale

BATCHES = st.lists(st.integers(1, 20), min_size=1, max_size=8)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def scale(rows: Tensor, cap: float = 5000.0) -> RunningScale:
    """A scale that has seen rows."""
    found = RunningScale(tuple(rows.shape[1:]), cap=cap)
    found.observe(rows)
    return found


@given(BATCHES, st.floats(-1e3, 1e3), st.floats(1e-3, 1e3), st.integers(0, 2**32))
@settings(deadline=None, max_examples=40, derandomize=True)
def test_rows_in_batches_of_any_size_give_the_mean_and_variance_of_all(
    batches: list[int], mean: float, deviation: float, seed: int
) -> None:
    rows = random(sum(batches), 3, seed=seed) * deviation + mean
    found = RunningScale((3,))
    for batch in rows.split(batches):
        found.observe(batch)
    tolerance = 1e-4 * (abs(mean) + deviation)
    assert torch.allclose(found.mean, rows.mean(0), atol=tolerance, rtol=0)
    assert torch.allclose(found.variance.sqrt(), rows.double().std(0, unbiased=False).float(), atol=tolerance, rtol=0)
    assert float(found.count) == len(rows)


@pytest.mark.parametrize(
    ("shape", "kept", "axes"),
    [((), (), (0,)), ((5,), (5,), (0,)), ((4, 6), (1, 1), (0, 1, 2)), ((3, 4, 6), (3, 1, 1), (0, 2, 3))],
)
def test_there_is_a_mean_an_element_or_an_image_or_a_channel(
    shape: tuple[int, ...], kept: tuple[int, ...], axes: tuple[int, ...]
) -> None:
    rows = random(50, *shape) * 7 + 3
    found = scale(rows)
    assert found.mean.shape == kept
    assert torch.allclose(found.mean, rows.mean(axes).reshape(kept), atol=1e-5)
    scaled = found(rows)
    assert scaled.shape == rows.shape
    assert scaled.mean(axes).abs().max() < 1e-5 and (scaled.std(axes) - 1).abs().max() < 0.02


def test_before_the_first_row_it_changes_nothing() -> None:
    rows = random(5, 3)
    found = RunningScale((3,))
    found.observe(rows[:0])
    assert torch.equal(found(rows), rows) and float(found.count) == 0


def test_answering_moves_nothing() -> None:
    found = scale(random(20, 3))
    before = {name: value.clone() for name, value in found.state_dict().items()}
    found.train()(random(20, 3) * 1e6)
    assert all(torch.equal(value, before[name]) for name, value in found.state_dict().items())


@pytest.mark.parametrize("value", [0.0, 1.0, -3.7, 1e6, 1e-6, 16777217.0, 3e38])
def test_a_constant_feature_is_zero_and_stays_quiet(value: float) -> None:
    found = RunningScale((1,))
    for _ in range(20):
        found.observe(torch.full((7, 1), value))
    assert found(torch.full((1, 1), value)).abs().max() <= 0.1
    nearly = torch.nextafter(torch.full((1, 1), value), torch.tensor(0.0))
    assert found(nearly).abs().max() <= 0.2, "rounding noise is not blown up"


@pytest.mark.parametrize("unit", [1e-4, 1.0, 1e6, 1e15])
@pytest.mark.parametrize("offset", [0.0, 1e3])
def test_a_feature_of_any_unit_has_deviation_one(unit: float, offset: float) -> None:
    rows = (random(500, 2) + offset) * unit
    scaled = scale(rows)(rows)
    assert scaled.mean(0).abs().max() < 0.01
    assert (scaled.std(0) - 1).abs().max() < 0.01


@pytest.mark.parametrize("value", [1e20, 3e38])
def test_numbers_at_the_end_of_float32_leave_it_finite(value: float) -> None:
    rows = torch.tensor([[value], [-value], [1.0]])
    found = RunningScale((1,))
    for _ in range(5):
        found.observe(rows)
    assert all(bool(torch.isfinite(tensor).all()) for tensor in found.state_dict().values())
    assert bool(torch.isfinite(found(rows)).all())


def test_what_is_far_out_is_clipped() -> None:
    found = scale(random(100, 1))
    assert found(torch.tensor([[1e9], [-1e9], [math.inf]])).flatten().tolist() == [10, -10, 10]
    without = RunningScale((1,), limit=math.inf)
    assert without(torch.tensor([[1e9]])).item() == 1e9


def test_it_keeps_following_beyond_its_cap() -> None:
    found = scale(random(1000, 1), cap=100)
    for n in range(100):
        found.observe(random(10, 1, seed=n) * 3 + 50)
    assert float(found.mean) == pytest.approx(50, abs=0.5)
    assert float(found.variance.sqrt()) == pytest.approx(3, rel=0.1)
    assert float(found.count) == 100


@given(st.lists(st.floats(-1e4, 1e4, width=32), min_size=2, max_size=20), st.floats(-100, 100, width=32))
@settings(deadline=None, max_examples=40, derandomize=True)
def test_restore_is_the_inverse(labels: list[float], value: float) -> None:
    found = RunningScale((), limit=math.inf)
    found.observe(torch.tensor(labels))
    restored = float(found.restore(found(torch.tensor(value))))
    assert restored == pytest.approx(value, rel=1e-5, abs=1e-5 * (1 + max(map(abs, labels))))


def test_a_fixed_scale_lets_inputs_through_for_good() -> None:
    found = RunningScale((3,))
    found.fix()
    for _ in range(3):
        found.observe(random(20, 3) * 100 + 5)
    rows = random(5, 3) * 1e6
    assert torch.equal(found(rows), rows) and torch.equal(found.restore(rows), rows)
    other = RunningScale((3,))
    other.load_state_dict(found.state_dict())
    assert other.is_fixed and torch.equal(other(rows), rows)
    assert not RunningScale((3,)).is_fixed


def test_a_scale_comes_back_bit_for_bit_and_goes_on_the_same() -> None:
    one, other = scale(random(30, 3) * 40), RunningScale((3,))
    other.load_state_dict({name: value.clone() for name, value in one.state_dict().items()})
    for each in (one, other):
        each.observe(random(30, 3, seed=1))
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())


@pytest.mark.parametrize("far", [1e6, 3e38])
def test_one_absurd_number_does_not_hide_what_comes_after_it(far: float) -> None:
    scale, random = RunningScale((1,)), torch.Generator().manual_seed(0)
    rows = torch.randn(2000, 1, generator=random)
    for start in range(0, 1000, 50):
        scale.observe(rows[start : start + 50])
    scale.observe(torch.tensor([[far]]))
    assert 0.5 < float(scale(rows[:500]).std()) < 1.5


def test_numbers_that_are_larger_from_now_on_are_followed() -> None:
    scale, random = RunningScale((1,)), torch.Generator().manual_seed(0)
    rows = torch.randn(4000, 1, generator=random)
    scale.observe(rows[:1000])
    for start in range(1000, 4000, 50):
        scale.observe(1e6 + 1e4 * rows[start : start + 50])
    assert abs(float(scale.mean) - 1e6) < 0.5e6
