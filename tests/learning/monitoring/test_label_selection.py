"""Labels that come for wrong answers alone are noticed, by what the model itself knows of them; a bad model is not accused."""

from __future__ import annotations

import numpy as np
import pytest

from driftline.learning.monitoring.label_selection import KIND, LabelSelection, Wrongness, knows_better
from driftline.learning.stateful import State
from driftline.records import Answer, Plan
from tests.learning.conftest import answered, assert_same, item, learner, restored, world

QUICK = {"strategy": "replay", "optimizer": {"name": "adamw", "learning_rate": 0.02}}


def follow(selection: LabelSelection, rights: list[bool], first: int = 1, served_after: int = 0) -> None:
    """Takes in labels of two classes, each learned by the next version; answers are by that of ``served_after`` labels ago."""
    for n, is_right in enumerate(rights, first):
        selection.update(n, is_right, max(1, n - served_after), 0.75, n + 1)


def test_labels_for_wrong_answers_alone_are_an_alarm_that_ends_with_them() -> None:
    one = learner(recipe=QUICK)
    items = answered(world(288), is_right=False)
    alarms = []
    for start in range(0, len(items), 16):
        plan = Plan(updates=4, publish=True)
        found = one.learn(items[start : start + 16], range(start + 1, start + 17), plan)
        alarms += found.alarms
        if start == 160:
            one = restored(one)  # As after a crash: what it has seen so far counts.
    (alarm,) = alarms
    assert alarm.kind == KIND and alarm.since <= 17 and 128 < alarm.at <= 288
    assert alarm.now == 1 and alarm.before is not None and 0.7 < alarm.before < 0.8
    assert "wrong answers alone" in alarm.message
    assert one.metrics()["alarms"][-1]["kind"] == KIND and one.monitor.standing == {KIND}
    rest = answered(world(128, 288), is_right=True)
    results = [one.learn(rest[at : at + 16], range(289 + at, 305 + at), Plan(updates=1)) for at in range(0, 128, 16)]
    assert [kind for result in results for kind in result.over] == [KIND]


@pytest.mark.parametrize("is_loop", [True, False])
def test_labels_for_values_that_are_far_off_alone_are_an_alarm_and_those_of_all_are_none(is_loop: bool) -> None:
    one, random = learner(task="regression", classes=None, recipe=QUICK), np.random.default_rng(3)
    rows = random.normal(size=(320, 4)).astype(np.float32)
    errors = random.normal(size=320)
    errors = np.where(np.abs(errors) < 1.5, np.sign(errors) * (1.5 + random.random(320)), errors) if is_loop else errors
    items = [
        item(row, float(row[0]), f"i{n}", answer=Answer(1 + n // 16, None, np.float32(row[0] + error).tobytes()))
        for n, (row, error) in enumerate(zip(rows, errors, strict=True))
    ]
    alarms = []
    for start in range(0, len(items), 16):
        alarms += one.learn(
            items[start : start + 16], range(start + 1, start + 17), Plan(updates=4, publish=True)
        ).alarms
    assert [alarm.kind for alarm in alarms] == ([KIND] if is_loop else [])
    assert one.monitor.standing == ({KIND} if is_loop else set())


def test_a_step_that_is_repeated_raises_the_same_alarm() -> None:
    items = answered(world(288), is_right=False)
    both = [learner(recipe=QUICK), learner(recipe=QUICK)]
    told = []
    for one in both:
        results = [
            one.learn(items[at : at + 48], range(at + 1, at + 49), Plan(updates=4, publish=True))
            for at in range(0, 288, 48)
        ]
        told.append([alarm.as_json() for result in results for alarm in result.alarms])
    assert told[0] == told[1] and len(told[0]) == 1
    assert_same(*(one.state_dict() for one in both))


def test_labels_that_no_row_tells_of_are_seen_to_come_for_wrong_answers_alone_too() -> None:
    random = np.random.default_rng(5)
    items = [item(random.normal(size=4), int(random.integers(2)), f"i{n}") for n in range(288)]
    one = learner(recipe={"strategy": "replay", "optimizer": {"name": "sgd", "learning_rate": 1e-6}})
    wrong, alarms = answered(items, is_right=False), []
    for start in range(0, len(wrong), 16):
        plan = Plan(updates=1, publish=True)
        alarms += one.learn(wrong[start : start + 16], range(start + 1, start + 17), plan).alarms
    assert [alarm.kind for alarm in alarms] == [KIND]


@pytest.mark.parametrize("share", [0.5, 0.1, 0.01])
@pytest.mark.parametrize("answer", [0, 1, None], ids=["the frequent class", "the rare class", "any"])
def test_whatever_a_model_answers_that_knows_nothing_it_is_not_accused(share: float, answer: int | None) -> None:
    random, selection = np.random.default_rng(1), LabelSelection()
    counts, labels = [0.0, 0.0], (random.random(4000) < share).astype(int).tolist()
    for n, label in enumerate(labels, 1):
        given = int(random.integers(2)) if answer is None else answer
        counts[label] += 1
        wrongness = Wrongness.of_classes(counts)
        assert wrongness is not None
        selection.update(n, given == label, n, wrongness.at_most_of(given), n + 1)
        assert selection.since is None


def test_what_is_right_as_often_as_chance_is_never_suspected() -> None:
    random, selection = np.random.default_rng(1), LabelSelection()
    follow(selection, (random.random(20_000) < 0.45).tolist())
    assert selection.since is None


def test_answers_of_versions_from_before_a_change_do_not_count() -> None:
    """A change turns all answers wrong, and those who have learned it are right: they are served when 400 labels have come."""
    late = LabelSelection()
    follow(late, [True] * 500 + [False] * 400 + [True] * 100, served_after=400)
    assert late.since is None
    loop = LabelSelection()
    follow(loop, [True] * 500 + [False] * 700, served_after=400)
    assert loop.since == 501


def test_a_drift_alarm_begins_again_but_once() -> None:
    selection = LabelSelection()
    follow(selection, [False] * 150)
    assert selection.counted
    selection.on_drift()
    assert not selection.counted and selection.taught == 0
    follow(selection, [False] * 40, 151)
    selection.on_drift()
    assert selection.taught == 40, "it is the same drift: answers have not been better meanwhile"
    follow(selection, [True] * 40, 191)
    assert not selection.follows_drift


def test_more_is_known_than_one_answer_would_be_right_about_where_chance_does_not_explain_it() -> None:
    assert not knows_better(known=200, right=110, most=104)
    assert not knows_better(known=20, right=20, most=10), "too little is known"
    assert knows_better(known=200, right=150, most=104)


def test_the_state_is_kept() -> None:
    one, other = LabelSelection(), LabelSelection()
    follow(one, [False] * 160)
    other.load_state_dict(State({}, one.state_dict().data))
    for each in (one, other):
        follow(each, [False] * 60, 161)
    assert one.since == other.since == 1 and one.state_dict() == other.state_dict()
