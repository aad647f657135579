"""Served models as estimators of River, which must be installed: ``learn_one``, ``predict_one``, ``predict_proba_one``.

A served model learns beside the call: ``learn_one`` returns as soon as the server has the label, and the answers of a later
version come from it. :meth:`wait` waits for that version.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from river import base

from driftline.client.adapters.served_learner import Row, ServedLearner

# They compare two learners after each row, or ask for what follows from a row at once: a served model learns meanwhile.
_SKIPPED = {"check_shuffle_features_no_impact"}


class _RiverEstimator:
    """What both share."""

    _learner: ServedLearner

    @property
    def model(self) -> str:
        """The name of the served model."""
        return self._learner.name

    def wait(self, timeout: float = 120.0) -> None:
        """Wait until every label that was handed in is learned and served."""
        self._learner.wait(timeout)

    def delete(self) -> None:
        """Remove the model and all it has learned from the server."""
        self._learner.delete()

    def close(self) -> None:
        """Close the connections; another call opens them again."""
        self._learner.close()

    def _unit_test_skips(self) -> set[str]:
        return _SKIPPED


class RiverClassifier(_RiverEstimator, base.Classifier):  # type: ignore[misc]
    """A served classifier.

    A clone is another model; a copy and a pickle go on with the same one.

    Args:
        name: the model on the server, which is made when the first row comes if there is none; by default a new one.
        url: the server; by default ``DRIFTLINE_URL``. The key is ``DRIFTLINE_KEY``.
        spec: what a model that is made has besides: ``network``, ``recipe``, ….
    """

    def __init__(self, name: str | None = None, url: str | None = None, spec: Mapping[str, Any] | None = None) -> None:
        self.name = name
        self.url = url
        self.spec = spec
        self._learner = ServedLearner(url, name, {"task": "classification", "classes": "open", **(spec or {})})
        self._labels: dict[int | str, Any] = {}

    @property
    def _multiclass(self) -> bool:
        return True

    def learn_one(self, x: Row, y: Any) -> None:
        """Hand in the label of a row."""
        label = _class(y)
        self._labels[label] = y
        self._learner.learn_one(x, label)

    def predict_proba_one(self, x: Row, **kwargs: Any) -> dict[Any, float]:
        """The probability of each class. One that is not served yet has 0; while none is, all that were seen have the same."""
        classes, answer = self._learner.predict_classes_one(x)
        probabilities = dict.fromkeys(self._labels.values(), 0.0 if classes else 1.0)
        for name, probability in zip(classes, answer.get("probabilities", ()), strict=True):
            probabilities[self._labels.get(name, name)] = probability
        total = sum(probabilities.values())
        return {name: value / total for name, value in probabilities.items()} if total else probabilities


class RiverRegressor(_RiverEstimator, base.Regressor):  # type: ignore[misc]
    """A served regression, of which all holds that :class:`RiverClassifier` says of itself.

    Args:
        name: the model on the server, which is made when the first row comes if there is none; by default a new one.
        url: the server; by default ``DRIFTLINE_URL``. The key is ``DRIFTLINE_KEY``.
        spec: what a model that is made has besides: ``network``, ``recipe``, ….
    """

    def __init__(self, name: str | None = None, url: str | None = None, spec: Mapping[str, Any] | None = None) -> None:
        self.name = name
        self.url = url
        self.spec = spec
        self._learner = ServedLearner(url, name, {"task": "regression", **(spec or {})})

    def learn_one(self, x: Row, y: Any) -> None:
        """Hand in the label of a row."""
        self._learner.learn_one(x, float(y))

    def predict_one(self, x: Row, **kwargs: Any) -> float:
        """The answer for a row."""
        return self._learner.predict_one(x)["value"]


def _class(label: Any) -> int | str:
    """A label as the server takes it: a truth value is 0 or 1."""
    plain = label.item() if hasattr(label, "item") else label
    return int(plain) if isinstance(plain, bool) else plain
