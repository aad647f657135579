"""What follows from a task alone: its labels, its defaults, and what a spec may give with it."""

from __future__ import annotations

import math
from typing import Any

import pytest

from driftline.errors import InvalidInput
from driftline.spec import ModelSpec, parse
from driftline.spec.task import TASKS, Task


def spec(**fields: Any) -> ModelSpec:
    return parse(ModelSpec, {"name": "m", "inputs": {"shape": [3]}, **fields})


CLASSES = spec(task="classification", classes=["a", 1, "1"])
OPEN = spec(task="classification", classes="open")
NUMBERS = spec(task="regression")


def test_the_json_of_a_spec_has_the_name() -> None:
    for found in (CLASSES, NUMBERS):
        assert found.model_dump(mode="json")["task"] == found.task == found.kind.name


@pytest.mark.parametrize("task", TASKS.values(), ids=lambda task: task.name)
def test_the_defaults_of_a_task_are_for_it(task: Task) -> None:
    found = spec(task=task.name, **({"classes": ["a"]} if task.has_classes else {}))
    assert (found.loss.name, found.strategy.name) == (task.default_loss, task.default_strategy)
    assert task.name in found.loss.tasks and task.name in found.strategy.tasks


def test_a_network_is_as_wide_as_the_task_needs() -> None:
    assert (CLASSES.width(3), NUMBERS.width(0)) == (3, 1)


@pytest.mark.parametrize(
    ("found", "label"), [(CLASSES, "a"), (CLASSES, 1), (CLASSES, "1"), (OPEN, "new"), (OPEN, -7), (NUMBERS, 1.5)]
)
def test_a_label_that_fits_is_learned_as_it_is(found: ModelSpec, label: Any) -> None:
    checked = found.check_label(label)
    assert (type(checked), checked) == (type(label), label)


def test_an_integer_is_a_value() -> None:
    assert isinstance(NUMBERS.check_label(3), float)


@pytest.mark.parametrize(
    ("found", "label", "reason"),
    [
        (CLASSES, "b", "'b' is none of the model's classes"),
        (CLASSES, 2, "2 is none of the model's classes"),
        (CLASSES, True, "a label is a string or an integer, not True"),
        (CLASSES, 1.0, "a label is a string or an integer, not 1.0"),
        (OPEN, None, "a label is a string or an integer, not None"),
        (OPEN, True, "a label is a string or an integer, not True"),
        (NUMBERS, "1", "a label of a regression is a finite number, not '1'"),
        (NUMBERS, True, "a label of a regression is a finite number, not True"),
        (NUMBERS, math.nan, "a label of a regression is a finite number, not nan"),
        (NUMBERS, 1e39, "label 1e+39 does not fit float32"),
        (NUMBERS, -1e39, "label -1e+39 does not fit float32"),
    ],
)
def test_a_label_that_does_not_fit_is_refused_with_its_value(found: ModelSpec, label: Any, reason: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        found.check_label(label)
    assert refused.value.message == reason
    assert refused.value.details["field"] == "label" and repr(refused.value.details["value"]) == repr(label)
    assert refused.value.code == ("unknown_class" if "none of" in reason else "invalid_input")


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"task": "classification"}, 'classification needs "classes"'),
        ({"task": "classification", "classes": []}, '"classes" is empty'),
        ({"task": "classification", "classes": ["a", "a"]}, '"classes" names a class twice'),
        ({"task": "classification", "classes": "open", "outputs": 1}, '"outputs" belongs to regression'),
        ({"task": "regression", "classes": ["a"]}, '"classes" belongs to classification'),
        ({"task": "regression", "classes": "open"}, '"classes" belongs to classification'),
        ({"task": "regression", "recipe": {"loss": "focal"}}, "the loss focal is not for regression"),
    ],
)
def test_what_a_task_does_not_take_is_refused(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        spec(**fields)
