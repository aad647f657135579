"""One model of a server, as an object."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from driftline.api.feedback import Accepted, FeedbackItem, Receipt
    from driftline.api.metrics import ModelMetricsAnswer
    from driftline.api.models import ModelState, VersionState
    from driftline.api.predictions import Prediction, Predictions
    from driftline.client.clients import Client
    from driftline.client.sender import FeedbackSender, OnError


class ModelHandle:
    """The calls of :class:`~driftline.client.Client` about one model, without its name in each.

    ::

        churn = ModelHandle(Client(), "churn")
        answer = churn.predict_one({"tenure": 3, "contract": "monthly"})
        churn.learn_one({"tenure": 3, "contract": "monthly"}, "stays", prediction_id=answer["id"])
    """

    def __init__(self, client: Client, name: str) -> None:
        self.client = client
        self.name = name

    def __repr__(self) -> str:
        return f"ModelHandle({self.name!r})"

    def state(self) -> ModelState:
        """The model as it stands now."""
        return self.client.model(self.name)

    def metrics(self) -> ModelMetricsAnswer:
        """How well it predicts, how far learning is behind, alarms."""
        return self.client.metrics(self.name)

    def versions(self) -> list[VersionState]:
        """Its history."""
        return self.client.versions(self.name)

    def predict(self, inputs: Any, version: int | None = None) -> Predictions:
        """Answers for rows, as :meth:`Client.predict <driftline.client.calls.Calls.predict>` gives them."""
        return self.client.predict(self.name, inputs, version)

    def predict_one(self, row: Any, version: int | None = None) -> Prediction:
        """The answer for one row: its values by name, or its numbers."""
        return self.predict([row], version)["predictions"][0]

    def feedback(
        self,
        items: Iterable[FeedbackItem | Mapping[str, Any]] | None = None,
        *,
        inputs: Any = None,
        labels: Any = None,
        prediction_ids: Any = None,
        ids: Any = None,
        weights: Any = None,
        times: Any = None,
        raise_errors: bool = True,
    ) -> Accepted:
        """Hand in labels, as :meth:`Client.feedback <driftline.client.calls.Calls.feedback>` takes them."""
        return self.client.feedback(
            self.name,
            items,
            inputs=inputs,
            labels=labels,
            prediction_ids=prediction_ids,
            ids=ids,
            weights=weights,
            times=times,
            raise_errors=raise_errors,
        )

    def learn_one(self, row: Any, label: Any, *, prediction_id: str | None = None) -> str:
        """Hand in the label of one row; gives the id that :meth:`wait_served` takes.

        With the id of the row's prediction its answer is scored; it needs no ``row`` then: None.
        """
        item = {"label": label, "prediction_id": prediction_id, "inputs": row if prediction_id is None else None}
        return str(self.feedback([item])["items"][0].get("id"))

    def wait_served(self, identifier: str, timeout: float = 60.0) -> Receipt:
        """The receipt of an item once it is served, rejected or quarantined."""
        return self.client.wait_served(self.name, identifier, timeout)

    def sender(
        self,
        *,
        max_batch: int = 500,
        max_waiting: int = 10_000,
        timeout: float | None = 300.0,
        on_error: OnError | None = None,
    ) -> FeedbackSender:
        """Hands in labels beside the program, as :meth:`Client.sender <driftline.client.Client.sender>` does."""
        return self.client.sender(
            self.name, max_batch=max_batch, max_waiting=max_waiting, timeout=timeout, on_error=on_error
        )
