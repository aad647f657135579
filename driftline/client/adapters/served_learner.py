"""A served model as an estimator uses it: made of the first rows, asked for answers, given labels."""

from __future__ import annotations

import datetime
import secrets
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import cached_property
from numbers import Real
from typing import TYPE_CHECKING, Any, Final

from driftline.client.clients import Client
from driftline.client.feedback import NOT_STORED, FeedbackRefused
from driftline.client.inputs import encode_row
from driftline.client.requests import pauses
from driftline.errors import Conflict, InvalidInput, Late, NotFound

if TYPE_CHECKING:
    from driftline.api.models import ModelState
    from driftline.api.predictions import Prediction, Predictions

MAX_ASKED: Final = 10_000
"""Predictions whose labels may still come, at most."""
MAX_BEHIND: Final = 10.0
"""Seconds that a server's answers may be older than what was waited for."""
_GONE: Final = frozenset({"prediction_expired", NOT_STORED, "prediction_unknown"})

Row = Mapping[Any, Any]


class ServedLearner:
    """One served model. It is looked up, or else made, when the first row comes; copies and pickles go on with the same one.

    Args:
        url: the server; by default ``DRIFTLINE_URL``. The key is ``DRIFTLINE_KEY``.
        name: the model; by default a new one of a name that nobody has.
        spec: what a model that is made has besides its name and what the first row shows: ``network``, ``recipe``, ….
    """

    def __init__(self, url: str | None, name: str | None, spec: Mapping[str, Any]) -> None:
        self.url = url
        self.name = name or f"estimator-{secrets.token_hex(6)}"
        self.spec = dict(spec)
        self.is_made = False
        self.inputs: dict[str, Any] | None = None
        self.names: list[str] = []
        self.last_id: str | None = None
        self.awaited = 0
        self._asked: OrderedDict[bytes, str] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        own = {name: value for name, value in self.__dict__.items() if name != "client"}
        return own | {"_asked": OrderedDict()}

    @cached_property
    def client(self) -> Client:
        return Client(self.url, timeout=60.0)

    def predict_one(self, row: Row) -> Prediction:
        """The answer for a row; its label, when it comes, is joined with it."""
        return self.predict_classes_one(row)[1]

    def predict_classes_one(self, row: Row) -> tuple[list[int | str], Prediction]:
        """The same, with the classes that its probabilities are of."""
        sent = self._row(row)
        has_columns = isinstance(sent, dict) and not self.has_fields
        answers = self.client.predict(
            self.name, {name: [each] for name, each in sent.items()} if has_columns else [sent]
        )
        answer = answers["predictions"][0]
        if answer["id"] is not None:
            self._asked[encode_row(sent)] = answer["id"]
            if len(self._asked) > MAX_ASKED:
                self._asked.popitem(last=False)
        return answers.get("classes", []), answer

    def learn_one(self, row: Row, label: Any) -> None:
        """Hand in a row's label: of the answer that it had, where it had one."""
        sent = self._row(row)
        asked = self._asked.pop(encode_row(sent), None)
        if asked is not None:
            try:
                self._hand_in([{"prediction_id": asked, "label": label}])
                return
            except FeedbackRefused as error:
                if error.code not in _GONE:
                    raise
        self._hand_in([{"inputs": sent, "label": label}])

    def predict(self, rows: Any) -> Predictions:
        """The answers for rows that are tensors, by the version that was waited for, or a later one."""
        answers = self.client.predict(self.name, rows)
        # A server learns of a new version a moment after it is live, and loads it then.
        for pause in pauses(MAX_BEHIND):
            if answers["version"] >= self.awaited:
                break
            time.sleep(pause)
            answers = self.client.predict(self.name, rows)
        return answers

    def learn(self, rows: Any, labels: Sequence[Any], weights: Sequence[float] | None = None) -> None:
        """Hand in rows that are tensors, with their labels."""
        items = [{"inputs": row, "label": label} for row, label in zip(rows, labels, strict=True)]
        if weights is not None:
            items = [{**item, "weight": weight} for item, weight in zip(items, weights, strict=True)]
        for first in range(0, len(items), 5000):
            self._hand_in(items[first : first + 5000])

    def make(self, inputs: Mapping[str, Any]) -> ModelState:
        """Make the model of rows with such ``inputs``, as a spec has them; :class:`Conflict` where there is one already."""
        state = self.client.create_model({"inputs": inputs, **self.spec, "name": self.name})
        return self._use(state)

    def find(self) -> ModelState | None:
        """The model as it stands; None where there is none."""
        try:
            return self._use(self.client.model(self.name))
        except NotFound:
            return None

    @property
    def has_fields(self) -> bool:
        """Whether rows are values by name, rather than numbers."""
        return self.inputs is not None and isinstance(self.inputs.get("fields"), dict)

    def wait(self, timeout: float = 120.0) -> None:
        """Wait until all that was handed in is learned, and answers come from it."""
        if self.last_id is not None:
            self.awaited = self.client.wait_served(self.name, self.last_id, timeout).get("version", 0)

    def wait_learned(self, timeout: float = 120.0) -> None:
        """Wait until all that was handed in is learned; then make that the live version, whatever the gate says of it."""
        for pause in pauses(timeout):
            if not self.client.model(self.name)["waiting"]:
                break
            time.sleep(pause)
        else:
            raise Late(f"{self.name} has not learned all labels after {timeout:g} s")
        if self.last_id is not None:
            # A version that covers the last label is the last one: no promotion may change answers after this.
            if self.client.receipt(self.name, self.last_id)["state"] == "learned":
                self.client.promote(self.name)
            self.wait(timeout)

    def delete(self) -> None:
        """Remove the model and all it has learned from the server."""
        self.client.delete_model(self.name)
        self.is_made, self.last_id, self.awaited = False, None, 0
        self._asked.clear()

    def close(self) -> None:
        """Close the connections; another call opens them again."""
        if (client := self.__dict__.pop("client", None)) is not None:
            client.close()

    def _hand_in(self, items: list[dict[str, Any]]) -> None:
        self.last_id = self.client.feedback(self.name, items)["items"][-1].get("id")

    def _use(self, state: ModelState) -> ModelState:
        self.is_made, self.inputs = True, state["spec"]["inputs"]
        return state

    def _row(self, row: Row) -> Any:
        """The row as the model takes it; the first one shows what is made where there is no model."""
        named = {str(name): value for name, value in row.items()}
        if not self.is_made:
            self._make_of(named)
        if not self.names:
            self.names = sorted(named)
        inputs = self.inputs
        assert inputs is not None
        if self.has_fields:
            return named
        if isinstance(inputs.get("shape"), list):
            return self._vector(named, inputs["shape"])
        return {
            name: number(named.get(name), name) if not tensor["shape"] else [number(named.get(name), name)]
            for name, tensor in inputs.items()
        }

    def _make_of(self, row: Mapping[str, Any]) -> None:
        if self.find() is not None:
            return
        is_numbers = all(is_number(value) for value in row.values())
        inputs = {"shape": [len(row)]} if is_numbers else {"fields": {name: kind(row[name]) for name in row}}
        try:
            self.make(inputs)
        except Conflict:  # Another process was first.
            self.find()

    def _vector(self, row: Mapping[str, Any], shape: list[int]) -> list[float]:
        if shape != [len(self.names)]:
            raise InvalidInput(
                f"{self.name} takes rows of shape {shape}, and the first row has {len(self.names)} features",
                field="inputs",
                value=self.names,
            )
        return [number(row.get(name), name) for name in self.names]


def is_number(value: Any) -> bool:
    """Whether a feature is a number, or missing; a truth value is one, too."""
    return value is None or isinstance(value, Real) or type(value).__name__ in ("bool_", "bool")


def number(value: Any, name: str) -> float:
    """A feature as a tensor has it; one that is missing is 0."""
    if value is None:
        return 0.0
    if not is_number(value):
        message = f"{name}: {value!r} is no number, and the model takes numbers; make it with fields"
        raise InvalidInput(message, field=name, value=repr(value))
    found = float(value)
    return found if found == found else 0.0


def kind(value: Any) -> str:
    """The kind of field that a value shows."""
    if isinstance(value, bool) or type(value).__name__ in ("bool_", "bool"):
        return "boolean"
    if is_number(value):
        return "number"
    return "time" if isinstance(value, datetime.date) else "category"
