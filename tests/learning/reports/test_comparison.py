"""Two versions on the same examples: the second less the first, and whether that is beyond chance."""

from __future__ import annotations

import copy
import json
import math
from typing import Any

import numpy as np
import pytest
import torch

from driftline.learning.learner import Learner
from driftline.learning.reports.comparison import ExaminedVersion, compare_versions, examples_of
from driftline.networks.model import Model
from driftline.records import Item
from tests.learning.conftest import assert_same, item, learner, play, values, world

HELD = {"strategy": "replay", "gate": {"holdout": 0.3}}


def version(one: Learner) -> Model:
    """What the learner serves now, as a version keeps it."""
    return Model(one.spec, one.classes_of(one.served), copy.deepcopy(one.served))


def compared(one: Learner, former: Model, items: list[Item]) -> dict[str, Any]:
    examples = examples_of(one, items)
    examined = [ExaminedVersion.of(n, each, one.class_table, examples) for n, each in ((3, former), (8, version(one)))]
    found = compare_versions(*examined)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    return found


def test_what_has_been_learned_since_is_a_difference_beyond_chance() -> None:
    one, items = learner(recipe=HELD | {"optimizer": {"learning_rate": 0.02}}), world(600)
    former = version(one)
    play(one, items)
    found = compared(one, former, items)
    (first, second), differences = found["versions"], found["differences"]
    assert (first["version"], second["version"]) == (3, 8)
    would_be_held = sum(one.promotion.is_held_out(i) for i in items)
    assert (second["holdout"]["count"], second["latest"]["count"]) == (len(one.promotion.holdout), 600 - would_be_held)
    for name in ("holdout", "latest"):
        difference = differences[name]["accuracy"]
        assert difference["difference"] == second[name]["accuracy"] - first[name]["accuracy"] > 0.2
        assert difference["beyond_chance"] and 0 < difference["standard_error"] < 0.1
        assert differences[name]["log_loss"]["beyond_chance"]
        assert "beyond_chance" not in differences[name]["calibration_error"], "it is no mean over rows"
    assert differences["parameters"] == differences["bytes"] == {"difference": 0}
    assert differences["latency_ms"].keys() == {"1", "32"}


def test_the_standard_error_is_that_of_the_paired_difference() -> None:
    one, items = learner(recipe=HELD), world(200)
    former = version(one)
    play(one, items[:40])
    found = compared(one, former, items)
    examples = examples_of(one, items)["latest"]
    with torch.no_grad():
        wrong = [
            (each.eval().predict(examples.inputs).argmax(1) != examples.targets).double().numpy()
            for each in (former.module, one.served)
        ]
    paired = wrong[1] - wrong[0]
    told = found["differences"]["latest"]["accuracy"]
    assert told["difference"] == pytest.approx(-paired.mean())
    assert told["standard_error"] == pytest.approx(paired.std(ddof=1) / math.sqrt(len(paired)))
    assert told["beyond_chance"] == (abs(paired.mean()) > 2 * told["standard_error"])
    for row in found["differences"]["latest"]["classes"]:
        of_class = paired[examples.targets.numpy() == row["class"]]
        assert row["recall"]["difference"] == pytest.approx(-of_class.mean())
        assert row["recall"]["standard_error"] == pytest.approx(of_class.std(ddof=1) / math.sqrt(len(of_class)))


def test_the_same_weights_differ_in_nothing() -> None:
    one, items = learner(recipe=HELD), world(100)
    play(one, items)
    scores = compared(one, version(one), items)["differences"]["latest"]
    assert scores["accuracy"] == {"difference": 0.0, "standard_error": 0.0, "beyond_chance": False}


def test_errors_of_a_regression_are_compared() -> None:
    one, items = learner(task="regression", classes=None, recipe=HELD), values(400)
    play(one, items[:40])
    former = version(one)
    play(one, items[40:])
    scores = compared(one, former, items)["differences"]["holdout"]
    assert scores["mae"]["difference"] < 0 and scores["mae"]["beyond_chance"]
    assert scores.keys() == {"mae", "rmse", "bias", "r2"}


def test_labels_of_classes_that_a_version_did_not_know_are_wrong_there() -> None:
    one = learner(classes="open", recipe=HELD | {"optimizer": {"learning_rate": 0.02}})
    nothing = version(one)
    play(one, world(100, names=["a", "b"]))
    former, items = version(one), world(600, 100, ["a", "b", "c"])
    play(one, items)
    found = compared(one, former, items)
    recalls = {row["class"]: row["recall"] for row in found["versions"][0]["latest"]["classes"]}
    assert recalls["c"] == 0
    assert {row["class"] for row in found["differences"]["latest"]["classes"]} == {"a", "b", "c"}
    assert compared(one, nothing, items)["versions"][0]["latest"]["accuracy"] == 0


def test_versions_of_other_structure_are_compared_by_size_too() -> None:
    one, items = learner(recipe={"strategy": "replay", "gate": {"mode": "off"}}), world(200)
    play(one, items)
    former = version(one)
    one.retrain("job", {}, [{"type": "widen", "layer": "linear1", "features": 16}], 1, [])
    one.finish(2)
    differences = compared(one, former, items)["differences"]
    assert differences["parameters"] == {"difference": 8 * (4 + 1 + 2)}
    assert differences["bytes"]["difference"] > 0 and differences["flops"]["difference"] > 0


def test_few_examples_are_never_beyond_chance_and_none_are_no_error() -> None:
    one = learner(recipe={"strategy": "replay", "gate": {"holdout": 0}})
    former = version(one)
    play(one, world(100))
    found = compared(one, former, [item(np.ones(4), 1), item(np.ones(4), "no class")])["differences"]
    assert found["latest"]["accuracy"].keys() == {"difference"}
    assert found["holdout"] == {"classes": []}


def test_to_compare_changes_nothing() -> None:
    network = {"layers": [{"type": "linear", "features": 8}, {"type": "batch_norm"}, {"type": "dropout"}]}
    one = learner(network=network, recipe=HELD)
    former = version(one)
    play(one, world(100))
    before = one.state_dict()
    compared(one, former, world(100))
    assert_same(one.state_dict(), before)
