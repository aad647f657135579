"""Served models as estimators of scikit-learn, which must be installed: ``fit``, ``partial_fit``, ``predict``.

``partial_fit`` hands in labels, and the served model learns them beside the call. ``fit`` makes a model, hands in all labels
and waits until they are learned; two fits of the same rows begin with other weights, and give other models.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import Tags
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import check_consistent_length, check_is_fitted, column_or_1d, validate_data

from driftline.client.adapters.served_learner import ServedLearner, kind
from driftline.client.inputs import as_list
from driftline.errors import Conflict

PREDICTED_AT_ONCE = 1000


class _SklearnEstimator(BaseEstimator):  # type: ignore[misc]
    """What both share. Rows are numbers, ``[rows, features]``; of a data frame with other columns, values by name."""

    _task = ""

    def __init__(
        self,
        name: str | None = None,
        url: str | None = None,
        spec: Mapping[str, Any] | None = None,
        timeout: float = 300.0,
    ) -> None:
        self.name = name
        self.url = url
        self.spec = spec
        self.timeout = timeout

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_learner")

    @property
    def model(self) -> str:
        """The name of the served model."""
        check_is_fitted(self)
        return self._learner.name

    def wait(self, timeout: float | None = None) -> None:
        """Wait until every label that was handed in is learned and served, ``timeout`` seconds at most."""
        check_is_fitted(self)
        self._learner.wait_learned(self.timeout if timeout is None else timeout)

    def delete(self) -> None:
        """Remove the model and all it has learned from the server."""
        check_is_fitted(self)
        self._learner.delete()
        self._learner.close()
        del self._learner

    def close(self) -> None:
        """Close the connections; another call opens them again."""
        if self.__sklearn_is_fitted__():
            self._learner.close()

    def __sklearn_tags__(self) -> Tags:
        tags: Tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def _begin(self, given: Mapping[str, Any]) -> ServedLearner:
        """The learner of a model that is not made yet, whose task and labels the spec is ``given``."""
        return ServedLearner(self.url, self.name, {**given, **(self.spec or {})})

    def _make(self, learner: ServedLearner, rows: Any) -> None:
        if isinstance(rows, list):
            learner.make({"fields": {name: kind(value) for name, value in rows[0].items()}})
        else:
            learner.make({"shape": [rows.shape[1]]})

    def _fit(self, rows: Any, labels: Sequence[Any], given: Mapping[str, Any]) -> None:
        """Learn all of it from the beginning, as a model that nothing has learned before."""
        if self.__sklearn_is_fitted__():
            self.delete()
        learner = self._begin(given)
        try:
            self._make(learner, rows)
        except Conflict:
            message = f"there is a model {learner.name!r} already, and fit makes one; use partial_fit, or delete it"
            raise Conflict(message, field="name", value=learner.name) from None
        self._learner = learner
        learner.learn(rows, labels)
        learner.wait_learned(self.timeout)

    def _partial_fit(self, rows: Any, labels: Sequence[Any], given: Mapping[str, Any]) -> None:
        if not self.__sklearn_is_fitted__():
            learner = self._begin(given)
            if learner.find() is None:
                self._make(learner, rows)
            self._learner = learner
        self._learner.learn(rows, labels)

    def _labelled(self, X: Any, y: Any, reset: bool) -> tuple[Any, Any]:
        """Rows and labels ``[rows]`` or ``[rows, outputs]``, checked as scikit-learn does."""
        if has_fields(X):
            rows, labels = self._fields(X, reset), np.asarray(y)
            check_consistent_length(rows, labels)
        else:
            numeric = self._task == "regression"
            rows, labels = validate_data(self, X, y, reset=reset, y_numeric=numeric, multi_output=True)
        labels = labels.toarray() if hasattr(labels, "toarray") else labels
        return rows, labels if labels.ndim == 2 and labels.shape[1] > 1 else column_or_1d(labels, warn=True)

    def _fields(self, X: Any, reset: bool) -> list[Any]:
        validate_data(self, X, skip_check_array=True, reset=reset)
        return as_list(X, "X")

    def _answers(self, X: Any) -> tuple[list[int | str], list[Any]]:
        """The classes of the last answer, and the answers."""
        check_is_fitted(self)
        rows = self._fields(X, reset=False) if has_fields(X) else validate_data(self, X, reset=False)
        found: list[Any] = []
        classes: list[int | str] = []
        for first in range(0, len(rows), PREDICTED_AT_ONCE):
            answer = self._learner.predict(rows[first : first + PREDICTED_AT_ONCE])
            found += answer["predictions"]
            classes = answer.get("classes", [])
        return classes, found


class SklearnClassifier(ClassifierMixin, _SklearnEstimator):  # type: ignore[misc]
    """A served classification; of labels that are an indicator matrix ``[rows, classes]`` a multi-label one.

    A clone that is fitted is another model, unless it has a name; a copy and a pickle go on with the same one.

    Args:
        name: the model on the server; by default a new one. ``partial_fit`` goes on with one that is there.
        url: the server; by default ``DRIFTLINE_URL``. The key is ``DRIFTLINE_KEY``.
        spec: what a model that is made has besides: ``network``, ``recipe``, ….
        timeout: seconds that ``fit`` waits until all is learned.

    Attributes:
        classes_: the classes that are known, in the order of ``predict_proba``; of an indicator matrix its columns.
        multilabel_: whether a row may be of several of them.
    """

    _task = "classification"

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

    def fit(self, X: Any, y: Any) -> Self:
        """Make a model, hand in all labels, and wait until they are learned."""
        rows, labels = self._labelled(X, y, reset=True)
        self._set_classes(labels, None, is_first=True)
        self._fit(rows, self._sent(labels), self._given(self._named()))
        return self

    def partial_fit(self, X: Any, y: Any, classes: Iterable[Any] | None = None) -> Self:
        """Hand in labels; the first call makes the model if there is none. ``classes``: all; by default each when it comes.

        An indicator matrix has a column for each class in every call.
        """
        is_first = not self.__sklearn_is_fitted__()
        rows, labels = self._labelled(X, y, reset=is_first)
        self._set_classes(labels, classes, is_first)
        named = "open" if classes is None and not self.multilabel_ else self._named()
        self._partial_fit(rows, self._sent(labels), self._given(named))
        return self

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """The probability of each class, ``[rows, classes]``. One that is not served yet has 0."""
        return self._probabilities(*self._answers(X))

    def _probabilities(self, names: Sequence[int | str], answers: Sequence[Any]) -> NDArray[np.float64]:
        places = {_class(name): place for place, name in enumerate(self.classes_)}
        known = [(column, places[name]) for column, name in enumerate(names) if name in places]
        found = np.zeros((len(answers), len(self.classes_)))
        for row, answer in zip(found, answers, strict=True):
            for column, place in known:
                row[place] = answer["probabilities"][column]
        if self.multilabel_:
            return found
        total = found.sum(axis=1, keepdims=True)
        # While no class is served, each may be the one.
        return np.where(total > 0, found / np.where(total > 0, total, 1.0), 1.0 / len(self.classes_))

    def predict(self, X: Any) -> NDArray[Any]:
        """The class that each row was given; of classes that are not known here, the most probable of those that are.

        Of several labels an indicator matrix ``[rows, classes]``.
        """
        names, answers = self._answers(X)
        probabilities = self._probabilities(names, answers)
        if self.multilabel_:
            return (probabilities >= 0.5).astype(np.int64)
        places = {_class(name): place for place, name in enumerate(self.classes_)}
        usual = probabilities.argmax(axis=1).tolist()
        given = [places.get(answer["label"], place) for answer, place in zip(answers, usual, strict=True)]
        classes: NDArray[Any] = self.classes_[given]
        return classes

    def _set_classes(self, labels: NDArray[Any], classes: Iterable[Any] | None, is_first: bool) -> None:
        """Takes note of the classes of labels, all of them or some more.

        Raises:
            ValueError: labels of several columns are no indicator matrix, or are of other classes than before.
        """
        check_classification_targets(labels)
        is_multilabel = labels.ndim == 2
        if is_multilabel and type_of_target(labels) != "multilabel-indicator":
            raise ValueError(
                f"several columns of labels are an indicator matrix of 0 and 1, not {type_of_target(labels)}"
            )
        given = None if classes is None else np.unique(np.asarray(list(classes)))
        if is_first:
            self.multilabel_ = is_multilabel
            columns = np.arange(labels.shape[1]) if is_multilabel else np.unique(labels)
            self.classes_ = columns if given is None else given
        if is_multilabel != self.multilabel_ or (is_multilabel and labels.shape[1] != len(self.classes_)):
            shape = f"[rows, {len(self.classes_)}]" if self.multilabel_ else "[rows]"
            raise ValueError(f"labels are {shape}, as of the first call, not of shape {labels.shape}")
        if not is_first and not is_multilabel:
            self.classes_ = np.union1d(self.classes_, labels)

    def _named(self) -> list[int | str]:
        return list(map(_class, self.classes_))

    def _given(self, classes: list[int | str] | str) -> dict[str, Any]:
        return {"task": "multilabel" if self.multilabel_ else self._task, "classes": classes}

    def _sent(self, labels: NDArray[Any]) -> list[Any]:
        """Labels as the server takes them."""
        if not self.multilabel_:
            return list(map(_class, labels))
        names = self._named()
        return [[names[place] for place in np.flatnonzero(row)] for row in labels]


class SklearnRegressor(RegressorMixin, _SklearnEstimator):  # type: ignore[misc]
    """A served regression, of one number or of several, of which all holds that :class:`SklearnClassifier` says of itself.

    Args:
        name: the model on the server; by default a new one. ``partial_fit`` goes on with one that is there.
        url: the server; by default ``DRIFTLINE_URL``. The key is ``DRIFTLINE_KEY``.
        spec: what a model that is made has besides: ``network``, ``recipe``, names of the ``outputs``, ….
        timeout: seconds that ``fit`` waits until all is learned.
    """

    _task = "regression"

    def fit(self, X: Any, y: Any) -> Self:
        """Make a model, hand in all labels, ``[rows]`` or ``[rows, outputs]``, and wait until they are learned."""
        rows, labels = self._labelled(X, y, reset=True)
        self._fit(rows, labels.astype(np.float64).tolist(), self._given(labels))
        return self

    def partial_fit(self, X: Any, y: Any) -> Self:
        """Hand in labels; the first call makes the model if there is none."""
        rows, labels = self._labelled(X, y, reset=not self.__sklearn_is_fitted__())
        self._partial_fit(rows, labels.astype(np.float64).tolist(), self._given(labels))
        return self

    def predict(self, X: Any) -> NDArray[np.float64]:
        """The answer for each row: ``[rows]``, or ``[rows, outputs]``."""
        return np.array([_values(answer) for answer in self._answers(X)[1]], np.float64)

    def _given(self, labels: NDArray[Any]) -> dict[str, Any]:
        return {"task": self._task} | ({"outputs": labels.shape[1]} if labels.ndim == 2 else {})


def has_fields(rows: Any) -> bool:
    """Whether rows are a data frame with columns that are no numbers."""
    return hasattr(rows, "columns") and any(
        not (kind.is_numeric() if hasattr(kind, "is_numeric") else getattr(kind, "kind", "O") in "fiub")
        for kind in rows.dtypes
    )


def _class(label: Any) -> int | str:
    """A label as the server takes it: text or an integer."""
    plain = label.item() if hasattr(label, "item") else label
    return plain if isinstance(plain, str) else int(plain)


def _values(answer: Mapping[str, Any]) -> Any:
    """The number of an answer, or the numbers of its outputs in their order."""
    values = answer["values"] if "values" in answer else answer["value"]
    return list(values.values()) if isinstance(values, dict) else values
