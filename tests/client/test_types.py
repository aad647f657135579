"""What the client gives is typed: mypy reads this file, and a real server is asked for each of the answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, assert_type

import pytest
from pydantic import TypeAdapter

from driftline import AsyncClient, Client, ModelHandle
from driftline.api.control import CommandQueued, JobState, RetrainPreview
from driftline.api.feedback import Accepted, ItemStatus, LineStatus, LogItem, Receipt
from driftline.api.metrics import ModelMetricsAnswer, PrequentialScores
from driftline.api.models import Deleted, ModelState, VersionDetails, VersionState
from driftline.api.predictions import Prediction, Predictions
from driftline.client.sender import AsyncFeedbackSender, FeedbackSender
from tests.services import Instance, spec
from tests.waiting import SECONDS


def typed_results(client: Client) -> None:
    """Never called: a type checker reads it."""
    assert_type(client.predict("m", [[1.0]]), Predictions)
    assert_type(client.predict("m", [[1.0]])["predictions"][0], Prediction)
    assert_type(client.feedback("m", [{"label": 1}]), Accepted)
    assert_type(client.feedback("m", inputs=[[1.0]], labels=[1])["items"], list[ItemStatus])
    assert_type(client.feedback_stream("m", [{"label": 1}]), Iterator[LineStatus])
    assert_type(client.log("m"), Iterator[LogItem])
    assert_type(client.models(), list[ModelState])
    assert_type(client.model("m"), ModelState)
    assert_type(client.create_model({}), ModelState)
    assert_type(client.delete_model("m"), Deleted)
    assert_type(client.metrics("m"), ModelMetricsAnswer)
    assert_type(client.metrics("m").get("prequential"), PrequentialScores | None)
    assert_type(client.versions("m"), list[VersionState])
    assert_type(client.version("m", 1), VersionDetails)
    assert_type(client.job("j"), JobState)
    assert_type(client.wait_for_job("j"), JobState)
    assert_type(client.wait_served("m", "i"), Receipt)
    assert_type(client.receipt("m", "i"), Receipt)
    assert_type(client.retrain("m"), str)
    assert_type(client.retrain_dry_run("m"), RetrainPreview)
    assert_type(client.rollback("m", 1), CommandQueued)
    assert_type(client.sender("m"), FeedbackSender)
    assert_type(client.ready(), bool)
    handle = ModelHandle(client, "m")
    assert_type(handle.predict_one([1.0]), Prediction)
    assert_type(handle.metrics(), ModelMetricsAnswer)
    assert_type(handle.learn_one([1.0], 1), str)


async def typed_async_results(client: AsyncClient) -> None:
    """Never called: a type checker reads it."""
    assert_type(await client.predict("m", [[1.0]]), Predictions)
    assert_type(await client.metrics("m"), ModelMetricsAnswer)
    assert_type(client.sender("m"), AsyncFeedbackSender)


@pytest.mark.slow
def test_what_a_server_answers_is_what_its_type_says(empty_instance: Instance) -> None:
    client = empty_instance.client
    handle = ModelHandle(client, "weather")
    answers: list[tuple[Any, Any]] = [(ModelState, client.create_model(spec()))]
    answer = handle.predict_one([0.5] * 8)
    assert handle.learn_one(None, 1, prediction_id=answer["id"]) == f"p:{answer['id']}"
    identifier = handle.learn_one([0.25] * 8, 0)
    with handle.sender() as sender:
        last = [sender.send(inputs=[n / 64] * 8, label=n % 2) for n in range(64)][-1]
    assert handle.wait_served(last, SECONDS)["state"] == "served"
    job = client.retrain("weather", epochs=1)
    answers += [
        (Prediction, answer),
        (Predictions, handle.predict([[0.5] * 8])),
        (Accepted, handle.feedback(inputs=[[0.5] * 8], labels=[1])),
        (Accepted, handle.feedback(inputs=[[0.5] * 8], labels=[7], raise_errors=False)),
        (Receipt, client.receipt("weather", identifier)),
        (JobState, client.wait_for_job(job, SECONDS)),
        (RetrainPreview, client.retrain_dry_run("weather")),
        (ModelState, handle.state()),
        (list[ModelState], client.models()),
        (ModelMetricsAnswer, handle.metrics()),
        (list[VersionState], handle.versions()),
        (VersionDetails, client.version("weather", 1)),
        (list[LogItem], list(client.log("weather"))),
        (list[LineStatus], list(client.feedback_stream("weather", [{"inputs": [0.5] * 8, "label": 1}]))),
        (CommandQueued, client.pause("weather")),
    ]
    for kind, found in answers:
        TypeAdapter(kind).validate_python(found, strict=True)
    assert repr(handle) == "ModelHandle('weather')"
