"""Served models are estimators of scikit-learn: its own checks pass where they apply, and the models learn."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix  # type: ignore[import-untyped]
from sklearn.datasets import load_iris, make_multilabel_classification, make_regression
from sklearn.exceptions import DataConversionWarning, NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from driftline import errors
from driftline.client.adapters.sklearn import SklearnClassifier, SklearnRegressor, has_fields
from tests.services import Instance

KINDS: list[type[Any]] = [SklearnClassifier, SklearnRegressor]
# Each compares the answers of two models that were fitted with the same rows.
TWO_FITS = (
    "check_fit_idempotent",
    "check_classifier_data_not_an_array",
    "check_classifiers_multilabel_representation_invariance",
    "check_regressor_data_not_an_array",
    "check_regressors_int",
    "check_supervised_y_2d",
    "check_pipeline_consistency",
)
# They ask for a score on a few hundred rows: on a quiet machine it is reached.
TRAINED = ("check_classifiers_train", "check_regressors_train")


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_scikit_learns_own_checks_pass(kind: type[Any]) -> None:
    reason = "a served model begins with weights of its own, and learns in steps as labels come"
    last_digit = "rows that are computed together differ in the last digit of float32"
    one_pass = "a worker that is behind makes fewer updates a label, and fit goes through the labels once"
    expected = dict.fromkeys(TWO_FITS, reason) | dict.fromkeys(TRAINED, one_pass)
    expected["check_methods_subset_invariance"] = last_digit
    results = check_estimator(kind(), on_fail=None, on_skip=None, expected_failed_checks=expected)
    failed = {found["check_name"]: repr(found["exception"]) for found in results if found["status"] == "failed"}
    assert not failed
    assert sum(found["status"] == "passed" for found in results) > 40


def test_fit_learns_what_it_is_shown_and_begins_again_the_next_time(instance: Instance) -> None:
    X, y = load_iris(return_X_y=True)
    names = np.array(["setosa", "versicolor", "virginica"])[y]
    model = make_pipeline(StandardScaler(), SklearnClassifier()).fit(X, names)
    served = model[-1]
    assert model.score(X, names) > 0.7
    assert list(served.classes_) == sorted(set(names)) and served.predict_proba(X).shape == (150, 3)
    assert np.allclose(served.predict_proba(X).sum(axis=1), 1)
    first = served.model
    served.fit(X[:60], names[:60])
    assert first not in [found["name"] for found in instance.client.models()], "the model before is gone"
    assert instance.client.model(served.model)["learned"] == 60
    served.delete()
    with pytest.raises(NotFittedError):
        served.predict(X)


def test_partial_fit_goes_on_with_the_model_of_a_name(instance: Instance) -> None:
    X, y = load_iris(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(X))
    model = SklearnClassifier("goes-on")
    model.partial_fit(X[order[:50]], y[order[:50]], classes=[0, 1, 2])
    model.wait()
    other = SklearnClassifier("goes-on").partial_fit(X[order[50:]], y[order[50:]])
    other.wait()
    assert instance.client.model("goes-on")["learned"] == 150
    assert other.predict(X).shape == (150,) and set(other.predict(X)) <= {0, 1, 2}
    with pytest.raises(errors.Conflict, match="there is a model 'goes-on' already"):
        SklearnClassifier("goes-on").fit(X, y)
    model.close()
    other.close()


def test_classes_may_come_later_and_may_be_truth_values() -> None:
    X = np.array([[0.0], [1.0]])
    model = SklearnClassifier().partial_fit(X, [False, False])
    assert np.array_equal(model.predict_proba(X), [[1.0], [1.0]])
    model.partial_fit(X, [False, True])
    model.wait()
    assert model.predict(X).dtype == bool and model.predict_proba(X).shape == (2, 2)
    model.close()


def test_a_regression_of_more_rows_than_a_server_takes_at_once() -> None:
    X, y = make_regression(300, 5, random_state=0)
    model = SklearnRegressor().fit(X, y / y.std())
    assert model.predict(np.tile(X, (20, 1))).shape == (6000,)
    for same in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert same.model == model.model and same.predict(X).shape == (300,)
        same.close()
    model.close()


def test_a_frame_with_other_columns_than_numbers_is_rows_of_fields() -> None:
    assert has_fields(pd.DataFrame({"a": [1], "b": ["x"]}))
    assert not has_fields(pd.DataFrame({"a": [1], "b": [True], "c": [0.5]}))
    assert not has_fields(np.ones((1, 2)))


def test_several_outputs_are_learned_and_answered_in_their_order() -> None:
    X, y = make_regression(200, 4, n_targets=3, random_state=0)
    model = SklearnRegressor(spec={"outputs": ["a", "b", "c"]}).fit(X, y / y.std(axis=0))
    assert model.predict(X).shape == (200, 3)
    assert model.score(X, y / y.std(axis=0)) > 0.3
    model.partial_fit(X[:10], y[:10])
    model.close()


def test_a_single_column_of_labels_is_one_output() -> None:
    X, y = make_regression(20, 2, random_state=0)
    with pytest.warns(DataConversionWarning, match="1d array"):
        model = SklearnRegressor().partial_fit(X, y.reshape(-1, 1))
    assert model.predict(X).shape == (20,)
    model.close()


@pytest.mark.parametrize("wrap", [np.asarray, csr_matrix])
def test_an_indicator_matrix_makes_a_multi_label_model(instance: Instance, wrap: Any) -> None:
    X, y = make_multilabel_classification(200, n_features=6, n_classes=4, random_state=0)
    model = SklearnClassifier().fit(X, wrap(y))
    state = instance.client.model(model.model)
    assert state["spec"]["task"] == "multilabel" and state["spec"]["classes"] == [0, 1, 2, 3]
    assert model.predict(X).shape == model.predict_proba(X).shape == (200, 4)
    assert (model.predict(X) == y).mean() > 0.6 and set(np.unique(model.predict(X))) <= {0, 1}
    model.partial_fit(X[:5], y[:5])
    with pytest.raises(ValueError, match=r"labels are \[rows, 4\]"):
        model.partial_fit(X[:5], y[:5, :3])
    model.close()


def test_columns_of_labels_that_are_no_indicators_are_refused(instance: Instance) -> None:
    before = len(instance.client.models())
    with pytest.raises(ValueError, match="an indicator matrix of 0 and 1"):
        SklearnClassifier().fit(np.ones((3, 2)), [[0, 2], [1, 1], [2, 0]])
    assert len(instance.client.models()) == before


def test_names_of_an_indicators_columns_are_the_classes(instance: Instance) -> None:
    model = SklearnClassifier()
    model.partial_fit(np.eye(2), [[1, 0], [1, 1]], classes=["left", "right"])
    assert instance.client.model(model.model)["spec"]["classes"] == ["left", "right"]
    model.close()
