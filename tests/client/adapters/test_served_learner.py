"""A served model as an estimator uses it."""

from __future__ import annotations

from typing import Any

from driftline.client.adapters.served_learner import ServedLearner


class Late:
    """A server that loads version 2 only when it has answered twice by the one before."""

    def __init__(self) -> None:
        self.answered = 0

    def feedback(self, name: str, items: list[dict[str, Any]]) -> dict[str, Any]:
        return {"items": [{"id": "a", "status": "queued"} for _ in items]}

    def wait_served(self, name: str, identifier: str, timeout: float) -> dict[str, Any]:
        return {"id": identifier, "state": "served", "version": 2}

    def predict(self, name: str, rows: Any) -> dict[str, Any]:
        self.answered += 1
        return {"model": name, "version": 1 + (self.answered > 2), "predictions": []}


def test_answers_are_of_the_version_that_was_waited_for() -> None:
    learner, server = ServedLearner(None, "weather", {}), Late()
    learner.__dict__["client"] = server
    assert learner.predict([[1.0]])["version"] == 1, "nothing was waited for"
    learner.learn([[1.0]], [1])
    learner.wait()
    assert learner.predict([[1.0]])["version"] == 2 and server.answered == 3
