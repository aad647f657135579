"""The running scale follows what it sees, gives every input in one unit, and is not moved by a few broken numbers."""

from __future__ import annotations

import copy
import math
from functools import cache

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
@settings(max_examples=40)
def test_rows_in_batches_of_any_size_give_the_mean_and_variance_of_all(
    batches: list[int], mean: float, deviation: float, seed: int
) -> None:
    rows = random(sum(batches), 3, seed=seed) * deviation + mean
    found, whole = RunningScale((3,)), scale(rows)
    for batch in rows.split(batches):
        found.observe(batch)
    tolerance = 1e-4 * (abs(mean) + deviation)
    assert torch.allclose(found.mean, whole.mean, atol=tolerance, rtol=0)
    assert torch.allclose(found.variance.sqrt(), whole.variance.sqrt(), atol=tolerance, rtol=0)
    assert int(found.seen) == len(rows)
    if len(rows) >= 20:
        assert torch.allclose(found.mean, rows.double().mean(0), atol=tolerance, rtol=0)
        assert torch.allclose(found.variance.sqrt(), rows.double().std(0, unbiased=False), atol=tolerance, rtol=0)


@pytest.mark.parametrize(
    ("shape", "kept", "axes"),
    [((), (), (0,)), ((5,), (5,), (0,)), ((4, 6), (1, 1), (0, 1, 2)), ((3, 4, 6), (3, 1, 1), (0, 2, 3))],
)
def test_there_is_a_mean_an_element_or_an_image_or_a_channel(
    shape: tuple[int, ...], kept: tuple[int, ...], axes: tuple[int, ...]
) -> None:
    rows = random(300, *shape) * 7 + 3
    found = scale(rows)
    assert found.mean.shape == found.inverse.shape == kept
    scaled = found(rows)
    assert scaled.shape == rows.shape and scaled.dtype == torch.float32
    assert scaled.mean(axes).abs().max() < 0.05 and (scaled.std(axes) - 1).abs().max() < 0.05


def test_before_the_first_row_it_changes_nothing() -> None:
    rows = random(5, 3)
    found = RunningScale((3,))
    found.observe(rows[:0])
    assert torch.equal(found(rows), rows) and int(found.seen) == 0


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


@pytest.mark.parametrize("unit", [1e-25, 1e-9, 1e-4, 1.0, 1e6, 1e15])
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
    assert found(torch.tensor([[1e9], [-1e9], [math.inf]])).flatten().tolist() == [5, -5, 5]
    without = RunningScale((1,), limit=math.inf)
    assert without(torch.tensor([[1e9]])).item() == 1e9


def test_it_keeps_following_beyond_its_cap() -> None:
    found = scale(random(1000, 1), cap=100)
    for n in range(100):
        found.observe(random(10, 1, seed=n) * 3 + 50)
    assert float(found.mean) == pytest.approx(50, abs=0.5)
    assert float(found.variance.sqrt()) == pytest.approx(3, rel=0.1)
    assert float(found.count) == 100 and int(found.seen) == 2000


@given(st.lists(st.floats(-1e4, 1e4, width=32), min_size=2, max_size=20), st.floats(-100, 100, width=32))
@settings(max_examples=40)
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


FIRST, LATER = range(3), (7, 127, 128, 300)


def following(rows: Tensor, step: int = 1, before: RunningScale | None = None) -> RunningScale:
    """A scale that has seen rows, ``step`` at a time: a copy of the one ``before``, or a new one."""
    found = RunningScale(tuple(rows.shape[1:])) if before is None else copy.deepcopy(before)
    for batch in rows.split(step):
        found.observe(batch)
    return found


@cache
def of_whole_rows(step: int) -> RunningScale:
    return following(random(400, 2) * 2 + 7, step)


@pytest.mark.parametrize("step", [1, 32])
@pytest.mark.parametrize("value", [1e3, -1e9, 3e38])
@pytest.mark.parametrize("place", [*FIRST, *LATER])
def test_one_broken_number_moves_nothing(place: int, value: float, step: int) -> None:
    rows, whole = random(400, 2) * 2 + 7, of_whole_rows(step)
    rows[place, 1] = value
    broken = following(rows, step)
    assert torch.allclose(broken.mean, whole.mean, atol=0.1, rtol=0)
    assert torch.allclose(broken.variance, whole.variance, rtol=0.1)


@pytest.mark.parametrize("place", [0, 5, 40, 300])
def test_three_rows_are_enough_to_know_a_broken_number_from_them(place: int) -> None:
    rows = random(max(3, place + 1), 1)
    rows[place] = 1e6
    scaled = following(rows)(rows)
    others = torch.arange(len(rows)) != place
    assert abs(float(scaled[place])) > float(scaled[others].abs().max())
    assert float(scaled[others].std()) > 0.03


@pytest.mark.parametrize("share", [0.01, 0.02])
def test_a_few_broken_numbers_in_every_sample_move_nothing(share: float) -> None:
    rows = random(3000, 1)
    whole = following(rows, 8)
    rows[torch.rand(3000, generator=torch.Generator().manual_seed(1)) < share] = 1e6
    broken = following(rows, 8)
    assert torch.allclose(broken.mean, whole.mean, atol=0.1) and torch.allclose(
        broken.variance, whole.variance, rtol=0.1
    )


@pytest.mark.parametrize("shape", [(8, 8), (3, 8, 8)])
@pytest.mark.parametrize("place", [0, 1, 70])
def test_one_broken_pixel_moves_nothing(place: int, shape: tuple[int, ...]) -> None:
    rows = random(100, *shape).clamp(min=0)
    whole = following(rows, 4)
    rows.view(100, -1)[place, 37] = 1e9
    broken = following(rows, 4)
    assert torch.allclose(broken.mean, whole.mean, atol=0.05) and torch.allclose(
        broken.variance, whole.variance, rtol=0.1
    )


def test_a_burst_of_broken_rows_moves_nothing() -> None:
    rows = random(1000, 2)
    whole = following(rows)
    rows[500:550] = 1e6  # A sensor that is stuck: what varies would be another unit.
    broken = following(rows)
    assert torch.allclose(broken.mean, whole.mean, atol=0.1) and torch.allclose(
        broken.variance, whole.variance, rtol=0.1
    )


@pytest.mark.parametrize("first", [500, 504, 512])
@pytest.mark.parametrize("count", [32, 48])
def test_a_burst_of_rows_that_are_broken_and_vary_is_taken_back(first: int, count: int) -> None:
    rows = random(1000, 2) + torch.tensor([5.0, -3.0])
    broken, found = rows.clone(), RunningScale((2,))
    broken[first : first + count] = 1e6 * random(count, 2)
    kept = rows[:first]
    for place, row in enumerate(broken.split(1)):
        if (change := found.observe(row)) is not None and place >= first:
            kept = change.carried(kept)
        if place >= first + count + 64:
            assert (found.mean - torch.tensor([5.0, -3.0])).abs().max() < 1.5 and found.variance.sqrt().max() < 2
    assert (kept - rows[:first]).abs().mean() < 0.8, "what is kept is in the unit in which rows come"


@pytest.mark.parametrize("share", [0.002, 0.03, 0.3])
def test_a_rare_flag_is_seen(share: float) -> None:
    rows = (torch.rand(2000, 1, generator=torch.Generator().manual_seed(0)) < share).float()
    scaled = following(rows)(torch.tensor([[0.0], [1.0]]))
    assert float(scaled[1] - scaled[0]) > 1.5


def test_a_rare_flag_is_seen_beside_a_broken_number() -> None:
    rows = (torch.rand(2000, 1, generator=torch.Generator().manual_seed(0)) < 0.03).float()
    rows[0] = 1e6
    scaled = following(rows)(torch.tensor([[0.0], [1.0]]))
    assert float(scaled[1] - scaled[0]) > 1.5


@cache
def in_one_unit(count: int, step: int) -> RunningScale:
    return following(random(count, 2) + 5, step)


@pytest.mark.parametrize(("mean", "deviation"), [(0.0, 1000.0), (5000.0, 1000.0), (1e6, 1e4)])
@pytest.mark.parametrize("step", [1, 32])
@pytest.mark.parametrize("after", [200, 700, 3000])
def test_another_unit_is_followed_within_some_hundred_rows(
    mean: float, deviation: float, after: int, step: int
) -> None:
    rows = random(400, 2, seed=1) + 5
    rows[:, 1] = (rows[:, 1] - 5) * deviation + mean
    found = following(rows, step, in_one_unit(after, step))
    scaled = found(rows[-200:])
    assert scaled.mean(0).abs().max() < 0.5
    assert ((scaled.std(0) > 0.6) & (scaled.std(0) < 1.6)).all()


def test_numbers_that_are_a_thousandth_from_now_on_are_followed() -> None:
    rows = random(2000, 1) + 5
    rows[700:] /= 1000
    scaled = following(rows)(rows[-200:])
    assert abs(float(scaled.mean())) < 0.5 and 0.6 < float(scaled.std()) < 1.6


def test_a_constant_that_begins_to_vary_is_followed() -> None:
    rows = torch.cat([torch.zeros(300, 1), random(1000, 1).exp()])
    scaled = following(rows)(rows[-500:])
    assert 0.3 < float(scaled.std()) < 1.6


def test_a_change_of_the_unit_carries_former_numbers_over() -> None:
    rows = random(1000, 2) + torch.tensor([5.0, -3.0])
    rows[700:, 0] *= 1000
    found = RunningScale((2,))
    changes = [change for batch in rows.split(8) if (change := found.observe(batch)) is not None]
    assert len(changes) == 1 and changes[0].features(2).tolist() == [True, False]
    carried = changes[0].carried(rows)
    assert torch.equal(carried[:, 1], rows[:, 1]) and torch.equal(carried[700:], rows[700:])
    assert torch.allclose(carried[:700, 0], 1000 * rows[:700, 0], atol=1000)
    assert carried[:700, 0].std() > 800


@pytest.mark.parametrize("factor", [1000.0, 1e7])
def test_a_power_of_ten_is_known_exactly(factor: float) -> None:
    rows = random(500, 3) + torch.tensor([5.0, -3.0, 0.0])
    found = RunningScale((3,))
    kept = rows[:300].double()
    for place, row in enumerate(rows.split(1)):
        change = found.observe(row if place < 300 else row * factor)
        if change is not None and place >= 300:
            kept = change.carried(kept)
    assert torch.allclose(kept / factor, rows[:300].double(), rtol=1e-4, atol=1e-4)


def test_a_change_that_is_no_power_of_ten_is_followed_as_it_is() -> None:
    rows = random(600, 1) + 5
    rows[300:] = rows[300:] * 40 + 700
    scaled = following(rows)(rows[-200:])
    assert abs(float(scaled.mean())) < 0.5 and 0.6 < float(scaled.std()) < 1.6


def test_after_a_burst_the_scale_is_the_one_before_it() -> None:
    rows = random(1000, 1)
    broken = rows.clone()
    broken[500:580] *= 1e6  # As many as make another unit.
    found = following(broken[:580])
    assert float(found.variance.sqrt()) > 1e5
    for row in broken[580:612].split(1):
        found.observe(row)
    before = following(rows[:500])
    assert torch.allclose(found.mean, before.mean, atol=0.1) and torch.allclose(
        found.variance, before.variance, rtol=0.1
    )


def test_a_row_with_a_number_far_from_all_before_teaches_little() -> None:
    rows = random(300, 3) * 4 + 10
    rows[:, 2] = 7
    found = following(rows)
    one = rows[:1].clone()
    far, worst, new = one.clone(), one.clone(), one.clone()
    far[0, 1], worst[0, 1], new[0, 2] = 4e3, 3e38, 8
    assert float(found.trust(one)) == 1 and float(found.trust(new)) == 1, "what was constant may change"
    assert 0 < float(found.trust(worst)) < float(found.trust(far)) < 0.01
    assert found.trust(random(4, 3)).shape == (4,)


def test_a_state_without_the_scale_before_the_last_change_goes_on() -> None:
    one, other = scale(random(300, 3)), RunningScale((3,))
    other.load_state_dict({name: value for name, value in one.state_dict().items() if name != "before"})
    assert torch.equal(other.mean, one.mean) and not other.before.any()


def test_numbers_of_float64_keep_their_digits() -> None:
    rows = 1.7e9 + random(500, 1).double()
    scaled = following(rows)(rows)
    assert 0.9 < float(scaled.std()) < 1.1 and abs(float(scaled.mean())) < 0.1


def test_a_state_of_a_former_release_scales_the_same_and_goes_on() -> None:
    rows = random(900, 3) * torch.tensor([1.0, 50.0, 1e-3]) + 4
    mean, variance = rows[:500].mean(0), rows[:500].var(0, correction=0)
    former = {
        "mean": mean,
        "variance": variance,
        "inverse": (variance + (1e-6 * mean) ** 2 + 1e-12).rsqrt(),
        "count": torch.tensor(500.0, dtype=torch.float64),
        "limit": torch.tensor(10.0),
    }
    found = RunningScale((3,))
    found.load_state_dict(former)
    assert torch.equal(found(rows), ((rows - mean) * former["inverse"]).clamp(-10, 10))
    for batch in rows[500:].split(4):
        assert found.observe(batch) is None
    assert torch.allclose(found.mean.float(), rows.mean(0), rtol=1e-3, atol=1e-4)
    assert torch.allclose(found.variance.float(), rows.var(0, correction=0), rtol=1e-2)
    target = RunningScale((), limit=10.0)
    target.load_state_dict(
        {name: value[0] if value.dim() else value for name, value in former.items()} | {"limit": torch.tensor(math.inf)}
    )
    assert float(target.limit) == 10
