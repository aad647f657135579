"""What is kept for replay is a fair share of each class; what is held out is the newest."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from driftline.learning.examples import Examples
from driftline.learning.replay.buffers import Holdout, ReplayBuffer
from driftline.learning.replay.policies.balanced import BalancedPlacement
from driftline.learning.replay.recent import RecentWindow
from driftline.learning.stateful import State, part, undeclared
from driftline.spec.parts.replay_policies import REPLAY_POLICIES

LABELS = st.lists(st.integers(0, 4), max_size=120)


def rows(labels: Sequence[float], dtype: torch.dtype = torch.int64, first: int = 0) -> Examples:
    """Rows that say in their inputs, as their log numbers do, when they came, and in their weights which label they have."""
    number = torch.arange(first, first + len(labels), dtype=torch.float32)
    targets = torch.tensor(labels, dtype=dtype)
    return Examples({"inputs": number[:, None]}, targets, targets.float() + 1, {}, number.long())


def replay_buffer(size: int, dtype: torch.dtype = torch.int64) -> ReplayBuffer:
    return ReplayBuffer(REPLAY_POLICIES.parse({"size": size}), rows([], dtype))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def copied(state: State) -> State:
    """A state as a checkpoint gives it back."""
    tensors = {name: value.clone() for name, value in state.tensors.items()}
    return State(tensors, json.loads(json.dumps(state.data)))


def numbers(examples: Examples) -> list[int]:
    return [int(number) for number in examples.inputs["inputs"][:, 0]]


def filled(size: int, labels: Sequence[int], seed: int = 0) -> ReplayBuffer:
    found = replay_buffer(size)
    found.add(rows(labels), seeded(seed))
    return found


def test_everything_is_kept_while_there_is_room() -> None:
    kept = filled(10, [0, 1, 0, 2, 0, 0, 1])
    assert numbers(kept.examples) == [0, 1, 2, 3, 4, 5, 6]
    assert kept.examples.targets.tolist() == [0, 1, 0, 2, 0, 0, 1]


@given(LABELS, st.integers(0, 30))
@settings(max_examples=60)
def test_a_class_is_kept_whole_or_is_among_the_largest(labels: list[int], size: int) -> None:
    kept = filled(size, labels).examples
    held, seen = Counter(kept.targets.tolist()), Counter(labels)
    assert len(kept) == min(size, len(labels))
    assert len(set(numbers(kept))) == len(kept), "no row is kept twice"
    assert all(labels[number] == target for number, target in zip(numbers(kept), kept.targets.tolist(), strict=True))
    assert kept.weights.tolist() == [target + 1 for target in kept.targets.tolist()]
    assert all(held[name] == seen[name] or held[name] >= max(held.values(), default=1) - 1 for name in seen)


def test_a_class_of_one_in_a_hundred_has_its_share() -> None:
    kept = filled(100, ([0] * 99 + [1]) * 60)
    assert Counter(kept.examples.targets.tolist()) == {0: 50, 1: 50}


@pytest.mark.parametrize("dtype", [torch.int64, torch.float32], ids=["the largest class", "a regression"])
def test_what_is_kept_of_a_long_stream_is_a_fair_sample(dtype: torch.dtype) -> None:
    generator, tenths = seeded(), Counter[int]()
    for _ in range(150):
        kept = replay_buffer(20, dtype)
        kept.add(rows([0] * 200, dtype), generator)
        tenths.update(number // 20 for number in numbers(kept.examples))
    assert [tenths[tenth] for tenth in range(10)] == pytest.approx([300] * 10, abs=75)


@given(LABELS, st.integers(1, 20), st.integers(1, 40))
@settings(max_examples=40)
def test_rows_in_one_call_are_kept_as_one_by_one(labels: list[int], size: int, piece: int) -> None:
    at_once, in_pieces, generator = filled(size, labels), replay_buffer(size), seeded()
    for start in range(0, len(labels), piece):
        in_pieces.add(rows(labels[start : start + piece], first=start), generator)
    assert numbers(in_pieces.examples) == numbers(at_once.examples)
    assert in_pieces.state_dict().data == at_once.state_dict().data


@settings(max_examples=40)
@given(LABELS, st.integers(1, 30), st.integers(1, 9), st.integers(1, 5))
def test_rows_that_wait_to_be_written_are_kept_as_if_they_were_looked_at(
    labels: list[int], size: int, piece: int, widened_every: int
) -> None:
    (waiting, one), (looked_at, other) = [(replay_buffer(size), seeded()) for _ in range(2)]
    for call, first in enumerate(range(0, len(labels), piece)):
        new = rows(labels[first : first + piece], first=first)
        new = new.noted(logits=torch.full((len(new), 1 + call // widened_every), float(first)))
        waiting.add(new, one)
        looked_at.add(new, other)
        assert len(looked_at.examples) == len(waiting)
    found, expected = waiting.examples.tensors(), looked_at.examples.tensors()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name].nan_to_num(-1), value.nan_to_num(-1)) for name, value in expected.items())


def test_a_replay_buffer_goes_on_from_its_state_bit_for_bit() -> None:
    labels = [0, 0, 1, 0, 2, 0, 0, 0, 1, 0] * 8
    one, other, generator = filled(16, labels), replay_buffer(16), seeded(1)
    state = copied(one.state_dict())
    other.load_state_dict(state)
    assert not undeclared(one) and not undeclared(one.policy)
    before = copied(state)
    drawn = []
    for each in (one, other):
        generator.manual_seed(3)
        each.add(rows([2, 1, 0, 3] * 10, first=100), generator)
        drawn.append(numbers(each.sample(50, generator)))
    assert drawn[0] == drawn[1]
    assert numbers(one.examples) == numbers(other.examples)
    assert one.state_dict().data == other.state_dict().data
    assert state.data == before.data
    assert all(torch.equal(state.tensors[name], value) for name, value in before.tensors.items()), (
        "the state itself stays"
    )


@pytest.mark.parametrize("name", REPLAY_POLICIES.parts)
def test_every_policy_goes_on_from_its_state(name: str) -> None:
    policy = REPLAY_POLICIES.parse({"name": name, "size": 12})
    one, other = ReplayBuffer(policy, rows([])), ReplayBuffer(policy, rows([]))
    one.add(rows([0, 0, 1, 2] * 10), seeded())
    other.load_state_dict(copied(one.state_dict()))
    for each in (one, other):
        each.add(rows([2, 1, 0, 3] * 5, first=100), seeded(1))
    assert numbers(one.examples) == numbers(other.examples) and len(one) == 12
    assert one.state_dict().data == other.state_dict().data and not undeclared(one.policy)


def test_a_sample_draws_every_row_alike() -> None:
    kept = filled(4, [0, 1, 0, 1])
    drawn = Counter(numbers(kept.sample(4000, seeded())))
    assert [drawn[number] for number in range(4)] == pytest.approx([1000] * 4, abs=120)


@pytest.mark.parametrize("size", [0, 8])
def test_an_empty_replay_buffer_gives_no_rows(size: int) -> None:
    kept = replay_buffer(size)
    kept.add(rows([]), seeded())
    assert len(kept.sample(5, seeded())) == 0
    assert len(filled(0, [1, 2, 3]).sample(5, seeded())) == 0


def holdout(size: int, *batches: int) -> Holdout:
    """A holdout that batches of so many rows have gone into."""
    held = Holdout(size, rows([]))
    for batch in batches:
        held.add(rows([0] * batch, first=held.added))
    return held


@given(st.lists(st.integers(0, 9), max_size=12), st.integers(1, 12))
@settings(max_examples=60)
def test_the_newest_are_held_out_oldest_first(batches: list[int], size: int) -> None:
    held, count = Holdout(size, rows([])), 0
    for batch in batches:
        held.add(rows([0] * batch, first=count))
        count += batch
        assert numbers(held.current()) == list(range(max(0, count - size), count))
    assert len(held) == min(size, count)


@given(st.lists(st.integers(0, 3), max_size=60), st.integers(1, 12), st.integers(1, 7))
@settings(max_examples=60)
def test_the_newest_of_each_class_are_held_out_and_as_many_of_each(labels: list[int], size: int, piece: int) -> None:
    held = Holdout(size, rows([]))
    for first in range(0, len(labels), piece):
        held.add(rows(labels[first : first + piece], first=first))
    kept = numbers(held.current())
    assert kept == sorted(kept) and len(kept) == min(size, len(labels))
    for label in set(labels):
        of_class = [n for n, other in enumerate(labels) if other == label]
        count = sum(labels[n] == label for n in kept)
        assert [n for n in kept if labels[n] == label] == (of_class[-count:] if count else [])
        # A class that came late takes the places of the largest only.
        assert count in (len(of_class), max(count, size // len(set(labels)))), "its share, or all that there were"


def test_a_class_that_comes_no_more_stays_held_out() -> None:
    held = Holdout(10, rows([]))
    held.add(rows([0] * 8 + [1] * 100))
    assert [n for n in numbers(held.current()) if n < 8] == [3, 4, 5, 6, 7]


@given(
    st.lists(st.tuples(st.lists(st.integers(0, 2), max_size=8), st.integers(0, 30)), max_size=12), st.integers(1, 12)
)
@settings(max_examples=60)
def test_what_has_come_since_the_last_drift_is_current(parts: list[tuple[list[int], int]], size: int) -> None:
    held, since, count = Holdout(size, rows([])), 0, 0
    for labels, record in parts:
        held.add(rows(labels, first=count))
        count += len(labels)
        held.on_drift(record)
        since = max(since, min(record, count))
        kept = numbers(held.current())
        assert kept == [n for n in sorted(numbers(held.examples)) if n >= since]
        assert held.newest == max(numbers(held.examples), default=0)


def test_a_holdout_of_no_rows_holds_none() -> None:
    held = holdout(0, 3)
    assert len(held) == len(held.current()) == 0


def test_a_holdout_goes_on_from_its_state() -> None:
    one = holdout(5, 4, 3)
    one.on_drift(7)
    one.add(rows([0] * 2, first=7))
    other, state = holdout(5), copied(one.state_dict())
    other.load_state_dict(state)
    before = numbers(Examples.from_tensors(part(state.tensors, "rows")))
    assert not undeclared(one)
    for each in (one, other):
        each.add(rows([0] * 2, first=9))
    assert numbers(one.current()) == numbers(other.current()) == [7, 8, 9, 10]
    assert one.state_dict().data == other.state_dict().data
    assert numbers(Examples.from_tensors(part(state.tensors, "rows"))) == before, "the state itself stays"


def test_recent_examples_go_on_from_their_state() -> None:
    one, other = (RecentWindow(5, rows([])) for _ in range(2))
    one.add(rows([0, 1, 0, 1, 0, 1, 0]), range(10, 17))
    other.load_state_dict(copied(one.state_dict()))
    for each in (one, other):
        each.add(rows([1], first=7), [17])
        assert numbers(each.since(15)) == [5, 6, 7] and not undeclared(each)


class PlainBalanced:
    """What the balanced policy does, by a look at all classes for each example."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.full: set[int] = set()
        self.slots: dict[int, list[int]] = {}
        self.seen: dict[int, int] = {}

    def place(self, label: int, keep: float, which: float) -> int | None:
        self.seen[label] = self.seen.get(label, 0) + 1
        own = self.slots.setdefault(label, [])
        used = sum(map(len, self.slots.values()))
        if used < self.size:
            own.append(used)
            return used
        most = max(map(len, self.slots.values()))
        self.full |= {name for name, taken in self.slots.items() if len(taken) == most}
        if label not in self.full:
            victims = self.slots[min(name for name, taken in self.slots.items() if len(taken) == most)]
            slot = victims.pop(int(which * len(victims)))
            own.append(slot)
            return slot
        return own[int(which * len(own))] if keep * self.seen[label] < len(own) else None


@given(st.lists(st.integers(0, 12), max_size=300), st.integers(1, 25), st.integers(0, 2**32), st.integers(0, 300))
@settings(max_examples=60)
def test_the_balanced_policy_places_as_one_that_looks_at_all_classes(
    labels: list[int], size: int, seed: int, cut: int
) -> None:
    policy, plain = ReplayBuffer(REPLAY_POLICIES.parse({"size": size}), rows([])).policy, PlainBalanced(size)
    assert isinstance(policy, BalancedPlacement)
    draws = torch.rand((len(labels), 2), generator=torch.Generator().manual_seed(seed), dtype=torch.float64).tolist()
    for n, (label, draw) in enumerate(zip(labels, draws, strict=True)):
        if n == cut:
            policy.load_state_dict(copied(policy.state_dict()))
        assert policy.place(label, *draw) == plain.place(label, *draw)
    assert (policy.full, policy.slots) == (plain.full, plain.slots)


def test_an_example_costs_the_same_whatever_number_of_classes_there_is() -> None:
    def calls(classes: int) -> int:
        policy = ReplayBuffer(REPLAY_POLICIES.parse({"size": classes}), rows([])).policy
        for n in range(2 * classes):
            policy.place(n % classes, 0.5, 0.5)
        count = 0

        def trace(frame: object, event: str, argument: object) -> None:
            nonlocal count
            count += event in ("call", "c_call")

        sys.setprofile(trace)
        try:
            for n in range(100):
                policy.place(n % classes, 0.5, 0.5)
        finally:
            sys.setprofile(None)
        return count

    assert calls(4000) <= 1.1 * calls(40)
