"""Where models are placed: fairly, the same by every worker, and moved by nothing but a reason."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from worker import placement as placement_module
from worker.placement import IDLE_COST, LEAST_COST, SLACK, Costs, Placement, place, step_of

UIDS = st.sets(st.text("0123456789abcdef", min_size=12, max_size=12), min_size=1, max_size=60)
WORKERS = st.sets(st.text("abcdef", min_size=1, max_size=6), min_size=1, max_size=8)


def models(count: int) -> list[str]:
    return [f"{number:012x}" for number in range(count)]


@given(UIDS, WORKERS, st.data())
def test_no_worker_has_more_than_its_share_and_one_model(
    uids: set[str], workers: set[str], data: st.DataObject
) -> None:
    costs = data.draw(st.dictionaries(st.sampled_from(sorted(uids)), st.sampled_from([1 / 32, 0.25, 1.0])))
    placed = place(uids, workers, costs)
    assert set(placed) == uids and set(placed.values()) <= workers
    loads = Counter[str]()
    for uid, worker in placed.items():
        loads[worker] += IDLE_COST + costs.get(uid, 0.0)  # type: ignore[assignment]
    most = IDLE_COST + max(costs.values(), default=0.0)
    assert max(loads.values()) <= (1 + SLACK) * sum(loads.values()) / len(workers) + most + 1e-6


@given(UIDS, WORKERS)
def test_every_worker_finds_the_same_in_whatever_order_it_reads(uids: set[str], workers: set[str]) -> None:
    assert place(sorted(uids), sorted(workers)) == place(sorted(uids, reverse=True), sorted(workers, reverse=True))


@given(st.lists(st.tuples(UIDS, WORKERS, st.sampled_from([1 / 32, 0.25, 1.0]), st.booleans()), min_size=1, max_size=5))
def test_what_is_kept_of_former_placements_changes_none(asked: list[tuple[set[str], set[str], float, bool]]) -> None:
    placement = Placement()
    for uids, workers, cost, is_refused in asked:
        costs = dict.fromkeys(sorted(uids)[::3], cost)
        refused = {min(workers): sorted(uids)[::4]} if is_refused else {}
        assert placement.of(uids, workers, costs, refused) == place(uids, workers, costs, refused)
        assert {placement.last(uid) for uid in uids} <= workers


def test_a_load_that_changes_costs_no_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    placement, hashed = Placement(), Counter[str]()

    def counted(worker: str, uid: str) -> bytes:
        hashed[uid] += 1
        return preference(worker, uid)

    preference = placement_module._preference
    monkeypatch.setattr(placement_module, "_preference", counted)
    uids = models(100)
    placement.of(uids, ["a", "b"], {}, {})
    placement.of([*uids, "new"], ["a", "b"], {uids[0]: 0.5}, {"a": [uids[1]]})
    assert set(hashed.values()) == {2} and len(hashed) == 101
    placement.of([*uids, "new"], ["a", "b", "c"], {}, {})
    assert hashed["new"] == 5


def test_three_hundred_models_are_within_a_fifth_on_three_workers() -> None:
    counts = Counter(place(models(300), ["a", "b", "c"]).values())
    assert max(counts.values()) <= 1.2 * min(counts.values())


@pytest.mark.parametrize("gone", ["a", "b", "c", "d"])
def test_a_worker_that_comes_or_goes_moves_little_more_than_its_share(gone: str) -> None:
    four = place(models(400), ["a", "b", "c", "d"])
    three = place(models(400), [name for name in ("a", "b", "c", "d") if name != gone])
    moved = sum(three[uid] != worker for uid, worker in four.items())
    assert moved <= 150


def test_what_costs_much_is_spread_and_idle_models_make_room_for_it() -> None:
    busy = dict.fromkeys(models(300)[:8], 0.25)
    placed = place(models(300), ["a", "b"], busy)
    assert Counter(placed[uid] for uid in busy) == {"a": 4, "b": 4}
    heavy = place(models(300), ["a", "b"], {models(1)[0]: 1.0})
    counts = Counter(heavy.values())
    assert counts[heavy[models(1)[0]]] == 1, "the other worker has all the others"


def test_a_model_goes_to_a_worker_that_can_learn_it_if_there_is_one() -> None:
    (uid,) = models(1)
    first = place([uid], ["a", "b"])[uid]
    (other,) = {"a", "b"} - {first}
    assert place([uid], ["a", "b"], refused={first: [uid]}) == {uid: other}
    assert place([uid], ["a", "b"], refused={"a": [uid], "b": [uid]}) == {uid: first}


@given(st.floats(0, 1), st.floats(0.85, 1.15))
@example(LEAST_COST / 2, 0.85)
@example(0.75 * LEAST_COST, 0.85)
def test_a_load_that_wavers_changes_no_cost(load: float, factor: float) -> None:
    cost = step_of(load, 0.0)
    if cost:
        assert step_of(load * factor, cost) == cost


def test_a_model_brings_its_cost_along_until_it_is_measured() -> None:
    costs = Costs(window_seconds=0.0)
    costs.begin("uid", 0.5, seconds=0.0)
    assert costs.current == {"uid": 0.5}
    costs.measure({"uid": 0.0})
    assert costs.current == {}
    costs.begin("uid", 0.5, seconds=0.0)
    costs.end("uid")
    assert costs.current == {}
