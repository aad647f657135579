"""Only what has proved to be quick, again and again, is computed on the event loop."""

from __future__ import annotations

from app.compute_cost import ComputeCost

QUICK, SLOW = 1e-4, 1e-3


def measured(seconds: float, rows: int = 1, times: int = 16) -> ComputeCost:
    cost = ComputeCost()
    for _ in range(times):
        cost.add(rows, seconds, was_on_loop=False)
    return cost


def test_nothing_is_small_before_it_was_measured_often_enough() -> None:
    assert not ComputeCost().is_small(1)
    assert not measured(QUICK, times=15).is_small(1)
    assert measured(QUICK).is_small(1)
    assert not measured(SLOW).is_small(1)


def test_sizes_are_told_apart() -> None:
    cost = measured(QUICK)
    for _ in range(16):
        cost.add(32, SLOW, was_on_loop=False)
    assert cost.is_small(1) and not cost.is_small(32) and not cost.is_small(4)


def test_a_model_that_has_become_slow_goes_back_to_the_thread() -> None:
    cost = measured(QUICK)
    for _ in range(16):
        cost.add(1, SLOW, was_on_loop=True)
    assert not cost.is_small(1)


def test_one_batch_that_held_the_loop_is_not_forgotten_soon() -> None:
    cost = measured(QUICK)
    cost.add(1, 1.0, was_on_loop=True)
    assert not cost.is_small(1)
    for _ in range(999):
        cost.add(1, QUICK, was_on_loop=False)
    assert not cost.is_small(1)
    cost.add(1, QUICK, was_on_loop=False)
    assert cost.is_small(1)


def test_one_long_wait_for_the_thread_says_nothing_of_a_quick_model() -> None:
    cost = measured(QUICK)
    cost.add(1, 1.0, was_on_loop=False)
    assert cost.is_small(1)
