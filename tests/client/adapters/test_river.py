"""Served models are estimators of River: they keep what it asks of all of them, and learn what they are shown."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from river import base, checks, compose, datasets, preprocessing

from driftline import errors
from driftline.client.adapters.river import RiverClassifier, RiverRegressor
from tests.services import Instance
from tests.waiting import until

KINDS: list[type[Any]] = [RiverClassifier, RiverRegressor]


LONG = "check_bounded_memory_growth"
"""It goes through thousands of rows, each a request."""


def failures(kind: type[Any], chosen: Callable[[str], bool]) -> dict[str, str]:
    """What was wrong, by the name of the check."""
    failed = {}
    for check in checks.yield_checks(kind()):
        model = kind()
        if check.__name__ in model._unit_test_skips() or not chosen(check.__name__):
            continue
        try:
            check(model)
        except Exception as error:
            failed[check.__name__] = repr(error)
        finally:
            model.close()
    return failed


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_rivers_own_checks_pass(kind: type[Any]) -> None:
    assert not failures(kind, lambda name: name != LONG)


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_an_estimator_does_not_grow_with_the_stream(kind: type[Any]) -> None:
    assert not failures(kind, lambda name: name == LONG)


def test_a_label_is_scored_by_the_answer_that_its_row_had(instance: Instance) -> None:
    model = RiverClassifier()
    rows = list(datasets.Phishing().take(60))
    for x, y in rows:
        model.predict_one(x)
        model.learn_one(x, y)
    model.wait()
    state = instance.client.model(model.model)
    metrics = instance.client.metrics(model.model)
    assert state["learned"] == 60 and metrics["prequential"]["count"] >= 59, "the first had no class to answer yet"
    probabilities = model.predict_proba_one(rows[0][0])
    assert set(probabilities) == {False, True} and all(isinstance(name, bool) for name in probabilities)
    model.delete()
    assert model.model not in [found["name"] for found in instance.client.models()]
    model.close()


def test_the_order_of_the_features_is_none() -> None:
    model = RiverRegressor()
    x, y = next(iter(datasets.TrumpApproval()))
    model.learn_one(x, y)
    # A version may go live between the two.
    until(lambda: model.predict_one(x) == model.predict_one(dict(reversed(x.items()))))
    model.close()


def test_a_copy_and_a_pickle_go_on_with_the_model_and_a_clone_is_another(instance: Instance) -> None:
    model = RiverRegressor()
    x = {"a": 1.0, "b": 2.0}
    model.learn_one(x, 3.0)
    model.wait()
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        other.learn_one(x, 3.0)
        other.wait()
        assert other.model == model.model and isinstance(other.predict_one(x), float)
        other.close()
    assert instance.client.model(model.model)["learned"] == 3
    assert model.clone().model != model.model
    model.close()


def test_a_model_that_is_there_is_used(instance: Instance) -> None:
    spec = {"name": "there", "task": "classification", "inputs": {"shape": [2]}, "classes": ["dry", "wet"]}
    instance.client.create_model(spec)
    model = RiverClassifier("there")
    assert set(model.predict_proba_one({"a": 1, "b": 2})) == {"dry", "wet"}
    with pytest.raises(errors.InvalidInput, match="shape"):
        RiverClassifier("there").predict_one({"a": 1})
    with pytest.raises(errors.InvalidInput, match="'x' is no number"):
        model.predict_one({"a": "x", "b": 2})
    instance.client.create_model(spec | {"name": "named", "inputs": {"a": {"shape": [1]}, "b": {"shape": [1]}}})
    named = RiverClassifier("named")
    named.learn_one({"b": 1.0, "a": 2.0, "c": 3.0}, "wet")
    named.wait()
    assert named.predict_one({"b": 1.0, "a": 2.0}) in ("dry", "wet")
    model.close()
    named.close()


def test_a_pipeline_of_rivers_ends_in_a_served_model() -> None:
    model = compose.Pipeline(preprocessing.StandardScaler(), RiverClassifier(spec={"recipe": {"batch_size": 16}}))
    assert isinstance(model, base.Classifier)
    for x, y in datasets.ImageSegments().take(30):
        model.predict_one(x)
        model.learn_one(x, y)
    served = model["RiverClassifier"]
    served.wait()
    assert sum(served.predict_proba_one({"a": 1.0}).values()) == pytest.approx(1)
    served.close()
