"""A row may be of several classes, or of none: learned, gated and measured by the share of classes that are wrong."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
import torch

from driftline.backtest.replay import backtest
from driftline.backtest.stream import of_log
from driftline.errors import InvalidInput
from driftline.learning.learner import Learner
from driftline.learning.monitoring.label_metrics import LabelMetrics, scored_labels
from driftline.learning.promotion import gate
from driftline.learning.reports.comparison import ExaminedVersion, compare_versions
from driftline.learning.stateful import State
from driftline.networks import bundle
from driftline.records import Item
from driftline.spec.parts.losses import LOSSES
from driftline.spec.parts.strategies import STRATEGIES
from tests.learning.conftest import item, learner, row_of, spec, teach_served

QUICK = {"name": "adamw", "learning_rate": 0.03}
CLASSES: list[int | str] = ["red", 1, "1"]
LABELS: dict[str, Any] = {"task": "multilabel", "classes": CLASSES}
MINE = [name for name, part in STRATEGIES.parts.items() if "multilabel" in part.tasks]


def label_of(row: np.ndarray[Any, Any]) -> list[Any]:
    """A row is of class ``n`` where its number ``n`` is above zero."""
    return [name for name, number in zip(CLASSES, row, strict=False) if number > 0]


def labelled(count: int, first: int = 0) -> list[Item]:
    rows = np.random.default_rng(first + 1).normal(size=(count, 4)).astype(np.float32)
    return [item(row, label_of(row), f"i{first + n}") for n, row in enumerate(rows)]


def teach(one: Learner, count: int, first: int = 0) -> None:
    teach_served(one, labelled, count, first)


def hamming(one: Learner) -> float:
    items = labelled(300, 9000)
    rows = torch.from_numpy(np.stack([row_of(each) for each in items]))
    with torch.no_grad():
        given = one.module.eval().predict({"inputs": rows}).numpy() >= 0.5
    wanted = np.array([[name in label_of(row_of(each)) for name in CLASSES] for each in items])
    return float((given != wanted).mean())


@pytest.mark.parametrize("strategy", MINE)
def test_every_strategy_that_is_for_it_learns_each_class(strategy: str) -> None:
    one = learner(**LABELS, recipe={"strategy": strategy, "optimizer": QUICK})
    teach(one, 300)
    assert hamming(one) < 0.2, "guessing is wrong about half"


def test_all_strategies_but_the_mixture_are_for_it() -> None:
    assert set(STRATEGIES.parts) - set(MINE) == {"experts"}
    assert {name for name, part in LOSSES.parts.items() if "multilabel" in part.tasks} == {"bce", "focal", "custom"}


@pytest.mark.parametrize("recipe", [{"loss": "focal"}, {"distillation": {"weight": 0.5}}, {"on_alarm": "shorten"}])
def test_recipes_of_many_kinds(recipe: dict[str, Any]) -> None:
    one = learner(**LABELS, recipe={"optimizer": QUICK, **recipe})
    teach(one, 300)
    assert hamming(one) < 0.15


def test_a_class_that_is_rare_counts_as_any_other() -> None:
    one = learner(**LABELS, recipe={"optimizer": QUICK})
    teach(one, 400)
    scores = one.metrics()["prequential"]
    assert {"hamming_loss", "subset_accuracy", "micro_f1", "macro_f1", "log_loss", "count"} <= scores.keys()
    assert scores["window"]["hamming_loss"] < 0.2 and 1 - scores["hamming_loss"] > scores["subset_accuracy"]
    classes = {(type(each["class"]), each["class"]): each for each in scores["window"]["classes"]}
    assert set(classes) == {(str, "red"), (int, 1), (str, "1")}
    assert all(each["f1"] > 0.7 and each["support"] > 100 for each in classes.values())


def test_the_window_is_that_of_its_labels_alone() -> None:
    one, other = LabelMetrics(3), LabelMetrics(3)
    draws = np.random.default_rng(2)
    rows = [
        scored_labels(n, np.flatnonzero(draws.random(3) > 0.5).tolist(), draws.random(3).astype(np.float32))
        for n in range(60)
    ]
    one.add(rows)
    one.add(rows[:40], [-1.0] * 40)
    other.add(rows[40:])
    assert one.scores() == pytest.approx(other.scores())
    assert one.of_classes(9) == other.of_classes(9)


def test_scores_are_those_of_their_definitions() -> None:
    tally = LabelMetrics(3)
    tally.add([scored_labels(1, [0, 2], np.array([0.9, 0.2, 0.3])), scored_labels(2, [], np.array([0.1, 0.1, 0.1]))])
    found = tally.scores()
    assert found["hamming_loss"] == pytest.approx(1 / 6) and found["subset_accuracy"] == 0.5
    assert found["micro_f1"] == pytest.approx(2 / 3) and found["macro_f1"] == pytest.approx((1 + 0) / 2)
    losses = [-np.log([0.9, 0.8, 0.3]).mean(), -np.log([0.9, 0.9, 0.9]).mean()]
    assert found["log_loss"] == pytest.approx(np.mean(losses))


def test_an_answer_that_is_no_number_is_wrong_about_every_class() -> None:
    one = learner(**LABELS)
    for parameter in one.module.output.parameters():
        parameter.data.fill_(float("nan"))
    examples = one.trainable(labelled(5))
    assert set(gate.errors(one.module, examples).tolist()) == {1.0}
    assert scored_labels(1, [0], np.full(3, np.nan, np.float32)).error == 1


def test_the_gate_refuses_what_is_wrong_about_more_classes() -> None:
    one = learner(**LABELS, recipe={"optimizer": QUICK, "gate": {"holdout": 0.3}})
    teach(one, 400)
    rows = one.promotion.holdout.current()
    assert rows.targets.shape == (len(rows), 3)
    assert gate.errors(one.module, rows, in_order=False).mean() < 0.2
    with torch.no_grad():
        one.module.output.weight.neg_()  # type: ignore[operator]
    decision, _, _ = one.promotion.compare(one.module, one.learned)
    assert not decision.promoted and "worse" in decision.reason


def test_it_goes_on_from_its_state_as_from_itself() -> None:
    one = learner(**LABELS, recipe={"optimizer": QUICK, "gate": {"holdout": 0.2}})
    teach(one, 200)
    state = one.state_dict()
    tensors = bundle.weights_from_bytes(bundle.weights_to_bytes(state.tensors))
    other = Learner.from_state(State(tensors, msgspec.json.decode(msgspec.json.encode(state.data))))
    for each in (one, other):
        teach(each, 60, first=200)
    assert one.digest() == other.digest() and one.metrics() == other.metrics()


def test_a_retrain_and_a_rollback() -> None:
    one = learner(**LABELS, recipe={"optimizer": QUICK})
    teach(one, 100)
    weights = {name: value.clone() for name, value in one.module.state_dict().items()}
    one.retrain("j", {}, [], 2, [])
    teach(one, 60, first=100)
    assert one.finish(20, is_promoted=True).decision.promoted  # type: ignore[union-attr]
    one.rollback(one.spec, CLASSES, weights, 21)
    teach(one, 60, first=200)
    assert hamming(one) < 0.25


def test_versions_are_compared_class_by_class() -> None:
    one = learner(**LABELS, recipe={"optimizer": QUICK})
    examples = {"holdout": one.trainable(labelled(80, 5000))}
    before = ExaminedVersion.of(1, one.course.state.model, one.class_table, examples)
    teach(one, 300)
    found = compare_versions(before, ExaminedVersion.of(2, one.course.state.model, one.class_table, examples))
    difference = found["differences"]["holdout"]
    assert difference["hamming_loss"]["difference"] < -0.1 and difference["hamming_loss"]["beyond_chance"]
    assert difference["subset_accuracy"]["beyond_chance"]
    assert [each["class"] for each in difference["classes"]]
    assert all("standard_error" in each["recall"] for each in difference["classes"])


@pytest.mark.parametrize("kind", ["add_classes", "remove_classes"])
def test_its_classes_are_for_good(kind: str) -> None:
    one = learner(**LABELS)
    with pytest.raises(InvalidInput, match="the classes of a multi-label model are for good"):
        one.retrain("j", {}, [{"type": kind, "classes": ["1" if kind == "remove_classes" else "new"]}], 1, [])


REFUSED = [
    ("red", r"a label is a list of classes, not 'red'", "label", "invalid_input"),
    (None, r"a label is a list of classes, not None", "label", "invalid_input"),
    (["red", "green"], r"'green' is none of the model's classes", "label[1]", "unknown_class"),
    ([True], r"label\[0\]: a class is a string or an integer, not True", "label[0]", "invalid_input"),
    ([1, "1", 1], r"label\[2\]: the class 1 is named twice", "label[2]", "invalid_input"),
]


@pytest.mark.parametrize(("label", "reason", "field", "code"), REFUSED)
def test_a_label_that_does_not_fit_is_refused_by_name(label: Any, reason: str, field: str, code: str) -> None:
    with pytest.raises(InvalidInput, match=reason) as refused:
        spec(**LABELS).check_label(label)
    assert refused.value.details["field"] == field and refused.value.code == code


def test_labels_that_fit() -> None:
    for label in ([], ["1", 1], ["red"]):
        assert spec(**LABELS).check_label(label) == label


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"classes": None}, 'multilabel needs "classes"'),
        ({"classes": "open"}, 'multilabel needs "classes"'),
        ({"classes": ["a", "a"]}, "names a class twice"),
        ({"outputs": 2}, '"outputs" belongs to regression'),
        ({"intervals": [0.1, 0.9]}, '"intervals" belongs to regression'),
        ({"recipe": {"strategy": "experts"}}, "the strategy experts is not for multilabel"),
        ({"recipe": {"loss": "cross_entropy"}}, "the loss cross_entropy is not for multilabel"),
        (
            {"recipe": {"detector": "ddm"}},
            "the detector ddm takes errors of 0 and 1, and those of a multilabel are numbers",
        ),
    ],
)
def test_what_it_does_not_take_is_refused(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        spec(**{**LABELS, **fields})


def test_rows_of_fields_learn_what_values_say_of_each_class() -> None:
    inputs = {"fields": {"colour": "category", "size": "number"}}
    draws = np.random.default_rng(1)
    items = []
    for _ in range(400):
        place = int(draws.integers(12))
        label = [name for bit, name in enumerate(CLASSES) if place >> bit & 1]
        items.append({"inputs": {"colour": f"c{place}", "size": float(draws.normal())}, "label": label, "weight": 1.0})
    found = backtest(of_log({"name": "m", **LABELS, "inputs": inputs}, items), {"default": {}}, delay=5)
    assert found["hamming_loss"]["default"] < 0.15 < found["hamming_loss"]["majority"]
    assert found["f1"]["default"].keys() == {"red", "1"}, "as JSON names them"
    assert "log_loss" in found and found["log_loss"].keys() == {"default"}
