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
from sklearn.utils.multiclass import check_classification_targets
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

    def _begin(self, classes: Sequence[int | str] | str | None) -> ServedLearner:
        """The learner of a model that is not made yet."""
        given = {"task": self._task} | ({} if classes is None else {"classes": classes})
        return ServedLearner(self.url, self.name, {**given, **(self.spec or {})})

    def _make(self, learner: ServedLearner, rows: Any) -> None:
        if isinstance(rows, list):
            learner.make({"fields": {name: kind(value) for name, value in rows[0].items()}})
        else:
            learner.make({"shape": [rows.shape[1]]})

    def _fit(self, rows: Any, labels: Sequence[Any], classes: Sequence[int | str] | None) -> None:
        """Learn all of it from the beginning, as a model that nothing has learned before."""
        if self.__sklearn_is_fitted__():
            self.delete()
        learner = self._begin(classes)
        try:
            self._make(learner, rows)
        except Conflict:
            message = f"there is a model {learner.name!r} already, and fit makes one; use partial_fit, or delete it"
            raise Conflict(message, field="name", value=learner.name) from None
        self._learner = learner
        learner.learn(rows, labels)
        learner.wait_learned(self.timeout)

    def _partial_fit(self, rows: Any, labels: Sequence[Any], classes: Sequence[int | str] | str | None) -> None:
        if not self.__sklearn_is_fitted__():
            learner = self._begin(classes)
            if learner.find() is None:
                self._make(learner, rows)
            self._learner = learner
        self._learner.learn(rows, labels)

    def _labelled(self, X: Any, y: Any, reset: bool) -> tuple[Any, Any]:
        """Rows and labels, checked as scikit-learn does."""
        if not has_fields(X):
            rows, labels = validate_data(self, X, y, reset=reset, y_numeric=self._task == "regression")
            return rows, labels
        rows, labels = self._fields(X, reset), column_or_1d(y, warn=True)
        check_consistent_length(rows, labels)
        return rows, labels

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
    """A served classifier.

    A clone that is fitted is another model, unless it has a name; a copy and a pickle go on with the same one.

    Args:
        name: the model on the server; by default a new one. ``partial_fit`` goes on with one that is there.
        url: the server; by default ``DRIFTLINE_URL``. The key is ``DRIFTLINE_KEY``.
        spec: what a model that is made has besides: ``network``, ``recipe``, ….
        timeout: seconds that ``fit`` waits until all is learned.

    Attributes:
        classes_: the classes that are known, in the order of ``predict_proba``.
    """

    _task = "classification"

    def fit(self, X: Any, y: Any) -> Self:
        """Make a model, hand in all labels, and wait until they are learned."""
        rows, labels = self._labelled(X, y, reset=True)
        check_classification_targets(labels)
        self.classes_ = np.unique(labels)
        self._fit(rows, list(map(_class, labels)), list(map(_class, self.classes_)))
        return self

    def partial_fit(self, X: Any, y: Any, classes: Iterable[Any] | None = None) -> Self:
        """Hand in labels; the first call makes the model if there is none. ``classes``: all; by default each when it comes."""
        is_first = not self.__sklearn_is_fitted__()
        rows, labels = self._labelled(X, y, reset=is_first)
        check_classification_targets(labels)
        if is_first:
            self.classes_ = np.unique(labels if classes is None else np.asarray(list(classes)))
        else:
            self.classes_ = np.union1d(self.classes_, labels)
        named = "open" if classes is None else list(map(_class, self.classes_))
        self._partial_fit(rows, list(map(_class, labels)), named)
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
        total = found.sum(axis=1, keepdims=True)
        # While no class is served, each may be the one.
        return np.where(total > 0, found / np.where(total > 0, total, 1.0), 1.0 / len(self.classes_))

    def predict(self, X: Any) -> NDArray[Any]:
        """The class that each row was given; of classes that are not known here, the most probable of those that are."""
        names, answers = self._answers(X)
        places = {_class(name): place for place, name in enumerate(self.classes_)}
        usual = self._probabilities(names, answers).argmax(axis=1).tolist()
        given = [places.get(answer["label"], place) for answer, place in zip(answers, usual, strict=True)]
        classes: NDArray[Any] = self.classes_[given]
        return classes


class SklearnRegressor(RegressorMixin, _SklearnEstimator):  # type: ignore[misc]
    """A served regression, of which all holds that :class:`SklearnClassifier` says of itself.

    Args:
        name: the model on the server; by default a new one. ``partial_fit`` goes on with one that is there.
        url: the server; by default ``DRIFTLINE_URL``. The key is ``DRIFTLINE_KEY``.
        spec: what a model that is made has besides: ``network``, ``recipe``, ….
        timeout: seconds that ``fit`` waits until all is learned.
    """

    _task = "regression"

    def fit(self, X: Any, y: Any) -> Self:
        """Make a model, hand in all labels, and wait until they are learned."""
        rows, labels = self._labelled(X, y, reset=True)
        self._fit(rows, [float(label) for label in labels], None)
        return self

    def partial_fit(self, X: Any, y: Any) -> Self:
        """Hand in labels; the first call makes the model if there is none."""
        rows, labels = self._labelled(X, y, reset=not self.__sklearn_is_fitted__())
        self._partial_fit(rows, [float(label) for label in labels], None)
        return self

    def predict(self, X: Any) -> NDArray[np.float64]:
        """The answer for each row."""
        return np.array([answer["value"] for answer in self._answers(X)[1]], np.float64)


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
