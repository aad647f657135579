"""Whose labels are learned: liars are set aside whatever they weigh, and whoever only differs is not."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
import torch

from driftline.backtest.replay import Service
from driftline.backtest.stream import Stream
from driftline.errors import NotFound
from driftline.learning.learner import Learner
from driftline.learning.trust.departure import RUN_LENGTH, Departure
from driftline.learning.trust.labeller import Labeller
from driftline.learning.trust.labellers import MAX_LABELLERS, MAX_SOURCES
from driftline.learning.trust.trust import KIND
from driftline.records import Answer, Item, Plan
from driftline.rows.rows import Rows
from tests.learning.conftest import assert_same, learner, play, restored, spec, values, weights_of, world

LIAR = "k0"


def labelled(items: list[Item], sources: int = 5, source: str | None = None) -> list[Item]:
    """The items, each from one of so many API keys in turn."""
    return [msgspec.structs.replace(item, caller=f"k{n % sources}", source=source) for n, item in enumerate(items)]


def lying(items: list[Item], **changes: Any) -> list[Item]:
    """What the first of them sends says the other of two classes."""
    return [
        msgspec.structs.replace(item, label=1 - int(item.label), **changes) if item.caller == LIAR else item  # type: ignore[arg-type]
        for item in items
    ]


def served(items: list[Item], seed: int = 7, recipe: dict[str, Any] | None = None, **changes: Any) -> Service:
    """A learner that has answered each item before it learned it, in steps of a service; a network alone is quick."""
    changes["recipe"] = {"strategy": "replay", "updates": 2, "input_detector": None} | (recipe or {})
    rows = np.stack([np.frombuffer(item.inputs["inputs"], np.float32) for item in items])
    stream = Stream(
        spec(**changes),
        Rows({"inputs": rows}),
        [item.label for item in items],
        weights=[item.weight for item in items],
        callers=[item.caller for item in items],
    )
    return Service(Learner.create(stream.spec, seed=seed), stream, 16)


def played(items: list[Item], **changes: Any) -> Learner:
    service = served(items, **changes)
    while (count := service.next_step()) is not None:
        service.step(count)
    return service.learner


def states(one: Learner) -> dict[str, str]:
    return {each.name: each.state for each in one.trust.labellers}


@pytest.mark.parametrize("weight", [1.0, 1000.0])
def test_a_liar_is_quarantined_and_what_it_said_counts_no_longer(weight: float) -> None:
    one = played(lying(labelled(world(500)), weight=weight))
    assert states(one) == {LIAR: "quarantined"} | {f"k{n}": "learned" for n in range(1, 5)}
    rows = one.replay_buffer.rows
    is_of_liar = (rows.numbers[: len(one.replay_buffer)] - 1) % 5 == 0
    assert bool(is_of_liar.any()), "it was learned from at first"
    assert not rows.weights[: len(one.replay_buffer)][is_of_liar].any()
    assert not ((one.promotion.holdout.current().numbers - 1) % 5 == 0).any()
    assert {item.caller for _, item in one.trust.held} == {LIAR}
    liar = one.trust.labellers[0]
    assert "contradict others' labels" in liar.reason and liar.held == len(one.trust.held) > 30


def test_labellers_who_say_what_is_so_are_learned() -> None:
    one = played(labelled(world(500)))
    assert set(states(one).values()) == {"learned"}
    assert all(each["agreement"] > 0.7 and each["share"] == pytest.approx(0.2, abs=0.01) for each in one.trust.shown())


def test_whoever_says_one_class_alone_is_quarantined() -> None:
    items = [msgspec.structs.replace(item, label=1) if item.caller == LIAR else item for item in labelled(world(700))]
    one = played(items)
    assert states(one)[LIAR] == "quarantined"
    assert set(states(one).values()) == {"learned", "quarantined"}


def test_values_far_from_what_others_say_are_not_learned() -> None:
    items = labelled(values(900))
    wrong = [
        msgspec.structs.replace(item, label=2000 - item.label) if item.caller == LIAR else item  # type: ignore[operator]
        for item in items
    ]
    assert states(played(wrong, task="regression", classes=None))[LIAR] == "quarantined"
    assert set(states(played(items, task="regression", classes=None)).values()) == {"learned"}


def test_regions_of_their_own_set_nobody_aside() -> None:
    items = [
        msgspec.structs.replace(
            item, caller=f"k{min(4, int(5 * (np.frombuffer(item.inputs['inputs'], '<f4')[0] + 2) / 4))}"
        )
        for item in world(600)
    ]
    assert set(states(played(items)).values()) == {"learned"}


def test_who_sees_a_drift_first_is_on_hold_until_the_others_see_it_too() -> None:
    before, lead, after = 900, 250, 700
    items = labelled(world(before + lead + after))
    drifted = [
        msgspec.structs.replace(item, label=1 - int(item.label))  # type: ignore[arg-type]
        if n >= before + (0 if item.caller == LIAR else lead)
        else item
        for n, item in enumerate(items)
    ]
    service, seen = served(drifted), []
    while (count := service.next_step()) is not None:
        service.step(count)
        seen.append(states(service.learner)[LIAR])
    assert "on hold" in seen and "quarantined" not in seen and seen[-1] == "learned"
    assert not service.learner.trust.held and not service.learner.trust.released, "what it had said was learned"
    others = {name: state for name, state in states(service.learner).items() if name != LIAR}
    assert set(others.values()) == {"learned"}


def test_a_liar_that_had_agreed_is_quarantined_once_others_have_not_borne_it_out() -> None:
    items = labelled(world(1400))
    late = [*items[:800], *lying(items[800:])]
    one = played(late, recipe={"trust": {"hold": 200}})
    assert states(one)[LIAR] == "quarantined"


@pytest.mark.parametrize("caller", ["", "k0"])
def test_with_one_labeller_alone_nothing_changes(caller: str) -> None:
    items = [msgspec.structs.replace(item, weight=1.0 + n % 3) for n, item in enumerate(world(120))]
    nobody, one = learner(), learner()
    play(nobody, items)
    play(one, [msgspec.structs.replace(item, caller=caller) for item in items])
    for name, value in weights_of(nobody).items():
        assert torch.equal(value, weights_of(one)[name]), name
    assert ("trust" in one.state_dict().data) == bool(caller)


def test_a_learner_that_goes_on_from_its_state_decides_the_same() -> None:
    service = served(lying(labelled(world(400))))
    count = service.next_step()
    other: Learner | None = None
    while count is not None:
        if other is None and service.learner.trust.held:
            other = restored(service.learner)
        rows = range(service.learned, service.learned + count)
        service.step(count)
        if other is not None:
            plan = Plan(updates=1)
            items = [service._item(row) for row in rows]
            numbers = [row + 1 for row in rows]
            again = restored(other)
            results = [each.learn(items, numbers, plan) for each in (other, again)]
            assert results[0].quarantined == results[1].quarantined
            assert_same(other.state_dict(), again.state_dict())
            return
        count = service.next_step()
    raise AssertionError("nobody was quarantined")


def test_what_an_admin_releases_is_learned_and_what_is_dropped_is_not() -> None:
    for decide, state in (("release", "trusted"), ("drop", "quarantined")):
        one = played(lying(labelled(world(400))))
        held, more = dict(one.trust.held), labelled(world(20, 1000))
        assert held
        getattr(one, decide)(LIAR)
        result = one.learn(more, range(1001, 1021), Plan(updates=1))
        assert states(one)[LIAR] == state
        assert set(result.released) == (set(held) if decide == "release" else set())
        assert len(one.trust.held) == (0 if decide == "release" else 4)
        assert (KIND in result.over) == (decide == "release")
        is_learned = torch.isin(one.replay_buffer.rows.numbers, torch.tensor([*held])).any()
        assert bool(is_learned) == (decide == "release")
    with pytest.raises(NotFound):
        one.release("nobody")


def test_who_is_set_aside_is_taken_over_with_what_is_kept_but_for_what_is_forgotten() -> None:
    items = labelled(world(400))
    liar, honest = played(lying(items)), played(items)
    live, other = (restored(each).trust for each in (liar, honest))
    (withdrawn,) = other.take_over(live, lambda n, item: n % 2 == 0)
    assert sorted(withdrawn.tolist()) == [n for n in honest.trust.numbers.tolist() if n % 5 == 1], (
        "all that it had said"
    )
    assert other.held == [pair for pair in live.held if pair[0] % 2 == 0] and other.held != live.held
    assert other.labellers[0] == live.labellers[0] and not other.find(LIAR).is_learned  # type: ignore[union-attr]
    # What was set aside here alone is learned, as it is there.
    live, other = (restored(each).trust for each in (honest, liar))
    assert not other.take_over(live, lambda n, item: True) and not other.held
    assert other.released == liar.trust.held and all(each.is_learned for each in other.labellers)


def test_an_alarm_names_who_departs_and_told_alone_it_is_learned() -> None:
    service = served(lying(labelled(world(400))), recipe={"trust": {"mode": "tell"}})
    alarms = []
    while (count := service.next_step()) is not None:
        first, service_learn = service.learned, service.learner.learn
        service.serve(service.arrivals.due[first + count - 1])
        items = [service._item(row) for row in range(first, first + count)]
        result = service_learn(items, range(first + 1, first + count + 1), Plan(2, publish=True))
        service.learned += count
        service._take_version()
        alarms += [alarm for alarm in result.alarms if alarm.kind == KIND]
        assert not result.quarantined
    assert alarms and LIAR in alarms[0].message and states(service.learner)[LIAR] == "learned"


def test_weights_count_within_a_labeller() -> None:
    plain, heavy = Labeller("a", None), Labeller("b", None)
    assert [plain.weigh(1.0) for _ in range(5)] == [1.0] * 5
    assert [heavy.weigh(1000.0) for _ in range(5)] == [1.0] * 5
    mixed = Labeller("c", None)
    given = [1.0, 3.0] * 50
    for weight in given:
        mixed.weigh(weight)
    assert mixed.weighed(1.0) == 0.5 and mixed.weighed(3.0) == 1.5
    for _ in range(20):
        mixed.weigh(1.0)
    assert mixed.weigh(1e6) < 12


@pytest.mark.parametrize("strategy", ["replay", "experts"])
def test_what_one_said_while_it_was_alone_weighs_no_more_once_another_comes(strategy: str) -> None:
    alone, others = world(40), [each for each in labelled(world(50, 100)) if each.caller != LIAR]
    plain, heavy = learner(recipe={"strategy": strategy}), learner(recipe={"strategy": strategy})
    for one, weight in ((plain, 1.0), (heavy, 1000.0)):
        play(one, [msgspec.structs.replace(item, caller=LIAR, weight=weight) for item in alone])
        assert bool((one.replay_buffer.examples.weights == weight).all()), "alone it is as it was sent"
        one.learn(others, range(41, 81), Plan(updates=1))
        assert one.replay_buffer.examples.weights.tolist() == [1.0] * len(one.replay_buffer)


def test_no_labeller_has_more_than_its_share_of_influence() -> None:
    items = [msgspec.structs.replace(item, caller="k0" if n % 10 else "k1") for n, item in enumerate(world(400))]
    one = played(items, recipe={"trust": {"share": 0.5}})
    shares = {each["name"]: each["share"] for each in one.trust.shown()}
    assert shares["k0"] == pytest.approx(0.5, abs=0.05)


def test_the_sources_of_one_key_say_together_as_much_as_another_key() -> None:
    """Sixteen sources of one key that lie do not outvote four keys that do not."""
    items = []
    for n, item in enumerate(world(900)):
        is_liar = n % 5 == 0
        label = 1 - int(item.label) if is_liar else item.label  # type: ignore[arg-type]
        caller, source = (f"k{n % 5}", f"s{n // 5 % 4}" if is_liar else None)
        items.append(msgspec.structs.replace(item, label=label, caller=caller, source=source))
    one, version = learner(recipe={"strategy": "replay"}), 1
    for first in range(0, len(items), 10):
        part = items[first : first + 10]
        rows = torch.from_numpy(np.stack([np.frombuffer(item.inputs["inputs"], np.float32) for item in part]))
        with torch.no_grad():
            answers = one.served.eval().predict({"inputs": rows}).argmax(1).tolist()
        known = [msgspec.structs.replace(i, answer=Answer(version, a, b"")) for i, a in zip(part, answers, strict=True)]
        one.learn(known, range(first + 1, first + 11), Plan(2, publish=True, version=(version := version + 1)))
    found = states(one)
    assert {found[f"k{n}"] for n in range(1, 5)} == {"learned"}
    assert all(state == "quarantined" for name, state in found.items() if name.startswith(f"{LIAR}/"))


def test_only_so_many_labellers_are_told_apart() -> None:
    one = learner()
    items = world(400)
    of_one_key = [msgspec.structs.replace(item, caller="k", source=f"s{n}") for n, item in enumerate(items[:200])]
    play(one, of_one_key, size=50)
    assert len(one.trust.labellers) <= MAX_SOURCES + 2
    play(one, [msgspec.structs.replace(item, caller=f"k{n}") for n, item in enumerate(items[200:])], size=50)
    assert len(one.trust.labellers) <= MAX_LABELLERS + 1


def _bets(rate: float, expected: float, seed: int, count: int) -> int | None:
    test, random = Departure(0.15), np.random.default_rng(seed)
    for n in range(count):
        test.update(n, float(random.random() < rate), expected)
        if test.has_departed:
            return n
    return None


@pytest.mark.parametrize("rate", [0.05, 0.2, 0.4])
def test_who_contradicts_no_more_than_the_margin_allows_is_not_taken_for_a_liar(rate: float) -> None:
    assert RUN_LENGTH >= 1e6
    assert [_bets(rate + 0.15, rate, seed, 5000) for seed in range(10)] == [None] * 10


@pytest.mark.parametrize(("rate", "most"), [(0.95, 40), (0.6, 150)])
def test_who_contradicts_far_more_is_found_soon(rate: float, most: int) -> None:
    found = [_bets(rate, 0.1, seed, most) for seed in range(10)]
    assert all(at is not None for at in found)


@pytest.mark.parametrize(("turns", "noise"), [((), 0.1), ((600,), 0.1), ((400, 800, 1200), 0.0)])
def test_those_who_send_the_labels_of_one_class_each_are_learned_also_through_a_drift(
    turns: tuple[int, ...], noise: float
) -> None:
    """As where one system tells of what was complained about, and another one of what was not."""
    random, items = np.random.default_rng(0), list[Item]()
    for place, item in enumerate(world(1600)):
        is_turned = sum(turn <= place for turn in turns) % 2 != (random.random() < noise)
        label = int(item.label) ^ is_turned  # type: ignore[arg-type]
        items.append(msgspec.structs.replace(item, label=label, caller="phone" if label else "web"))
    assert set(states(played(items)).values()) == {"learned"}
