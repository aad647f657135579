"""What is judged by how it did when it was served: canaries, and what has just taken over."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from driftline.errors import InvalidInput
from driftline.learning.learner import Learner
from driftline.learning.promotion import gate
from driftline.learning.promotion.gate import Decision, GateLimits
from driftline.records import Item, Plan
from tests.learning.conftest import (
    answered,
    assert_same,
    examples_of,
    learner,
    play,
    restored,
    turned,
    weights_of,
    world,
)

CANARY = {"gate": {"mode": "canary", "labels": 40, "holdout": 0.0}}
MANUAL = {"gate": {"mode": "manual"}}


def step(one: Learner, items: list[Item], version: int = 7) -> Decision | None:
    return one.learn(items, range(len(items)), Plan(updates=1, publish=True, version=version)).decision


def with_canary() -> Learner:
    one = learner(recipe=CANARY)
    play(one, world(64), size=32)
    assert one.promotion.canary is not None
    return one


@pytest.mark.parametrize("is_right", [True, False])
def test_a_canary_is_judged_by_its_own_answers(is_right: bool) -> None:
    one = learner(recipe=CANARY)
    play(one, world(20))
    begun = step(one, world(30, 100), version=7)
    assert begun is not None and begun.canary == "begun" and begun.publishes and not begun.promoted
    canary, champion = one.promotion.canary, one.promotion.champion
    assert canary is not None and canary.version == 7
    assert step(one, answered(world(60, 200), is_right=not is_right, version=6)) is None, "no label of its own yet"
    other = restored(one)
    for each in (one, other):
        assert step(each, answered(world(39, 300), is_right, version=7, route="canary")) is None
        ended = step(each, answered(world(1, 400), is_right, version=7, route="canary"))
        assert ended is not None and ended.canary == "ended" and ended.promoted is is_right, ended
    assert_same(one.state_dict(), other.state_dict())
    assert one.promotion.champion is (canary.module if is_right else champion) and one.served is one.promotion.champion
    assert (one.promotion.promotion_watch is not None) is is_right


def test_answers_of_other_versions_do_not_judge_a_canary() -> None:
    one = with_canary()
    step(one, answered(world(60, 200), is_right=False, version=3, route="canary"))
    assert one.promotion.canary is not None and one.promotion.canary.own == []
    assert one.monitor.prequential.count == 0, "nor do a canary's answers count as served accuracy"


def test_after_a_canary_another_begins_with_what_was_learned_since() -> None:
    one = with_canary()
    version = one.promotion.canary.version if one.promotion.canary else 0
    items = answered(world(50, 200), is_right=True, version=version, route="canary") + answered(
        world(50, 300), is_right=True, version=1, route="live"
    )
    assert step(one, items) is not None and one.promotion.canary is None
    begun = step(one, world(10, 900), version=9)
    assert (
        begun is not None
        and begun.canary == "begun"
        and one.promotion.canary is not None
        and one.promotion.canary.version == 9
    )


def test_with_a_manual_gate_what_is_learned_waits_for_an_admin() -> None:
    one = learner(recipe=MANUAL)
    before = weights_of(one)
    assert all(outcome.decision is None for outcome in play(one, world(200)))
    assert torch.equal(weights_of(one)["output.weight"], before["output.weight"])
    one.promote(2)
    assert torch.equal(weights_of(one)["output.weight"], one.module.output.get_parameter("weight"))
    with torch.no_grad():
        one.module.output.get_parameter("weight")[0, 0] = float("nan")
    with pytest.raises(InvalidInput, match="not finite"):
        one.promote(3)


def harmed(**changes: Any) -> tuple[Learner, dict[str, torch.Tensor]]:
    """A learner whose good champion has been replaced by one that turns every answer round, and the good weights."""
    one = learner(recipe=MANUAL, **changes)
    play(one, world(400), size=32, updates=4)
    one.promote(2)
    good = weights_of(one)
    with torch.no_grad():
        one.module.output.get_parameter("weight").neg_()
        one.module.output.get_parameter("bias").neg_()
    one.promote(3)
    return one, good


def test_what_took_over_and_harms_is_rolled_back_by_itself() -> None:
    one, good = harmed()
    assert step(one, answered(world(20, 5000), is_right=False, version=3)) is None, "too few to tell"
    other = restored(one)
    for each in (one, other):
        decision = step(each, answered(world(20, 5100), is_right=False, version=3))
        assert decision is not None and decision.restored and "version 3 has harmed" in decision.reason
        assert torch.equal(weights_of(each)["output.weight"], good["output.weight"])
    assert_same(one.state_dict(), other.state_dict())


def test_labels_of_former_answers_and_labels_that_its_predecessor_would_have_missed_too_take_nothing_back() -> None:
    one, _ = harmed()
    for _ in range(5):
        assert step(one, answered(world(30, 5000), is_right=False, version=2)) is None
    assert one.promotion.promotion_watch is not None and one.promotion.promotion_watch.served == []
    other = turned(world(200, 6000))
    missed = gate.errors(one.promotion.promotion_watch.model.module, examples_of(one, other)).tolist()
    wrong = [item for item, error in zip(other, missed, strict=True) if error]
    assert len(wrong) > 100 and step(one, answered(wrong, is_right=False, version=3)) is None, (
        "the data has drifted: its predecessor would have erred too"
    )


def test_a_promotion_watch_ends() -> None:
    one, _ = harmed()
    step(one, answered(world(GateLimits().watched, 5000), is_right=True, version=3))
    assert one.promotion.promotion_watch is None
