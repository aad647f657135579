"""Models of every kind, from their creation to their first answers."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from typing import Any

import httpx
import numpy as np
import pytest
import safetensors.torch
import torch

from tests.app.conftest import Start, create, predict
from tests.services import spec

pytestmark = pytest.mark.anyio

LINEAR: dict[str, Any] = {"layers": []}


async def test_probabilities_follow_the_classes(client: httpx.AsyncClient) -> None:
    await create(client, classes=["dry", "wet", 3])
    answer = await predict(client, [[0.0] * 8, [1.0] * 8])
    assert answer["classes"] == ["dry", "wet", 3]
    for row in answer["predictions"]:
        assert sum(row["probabilities"]) == pytest.approx(1)
        assert row["label"] == answer["classes"][int(np.argmax(row["probabilities"]))]


async def test_a_regression_answers_a_value(client: httpx.AsyncClient) -> None:
    await create(client, task="regression", classes=None)
    answer = await predict(client, [[0.0] * 8])
    assert "classes" not in answer
    assert isinstance(answer["predictions"][0]["value"], float)


async def test_without_any_class_yet_the_label_is_null(client: httpx.AsyncClient) -> None:
    await create(client, classes="open")
    answer = await predict(client, [[0.0] * 8])
    assert answer["classes"] == []
    assert answer["predictions"][0]["label"] is None


async def test_named_inputs_are_sent_as_columns(client: httpx.AsyncClient) -> None:
    await create(client, inputs={"user": {"shape": [2]}, "item": {"shape": [1], "dtype": "int64"}})
    answer = await predict(client, {"user": [[0.1, 0.2], [0.3, 0.4]], "item": [[1], [2]]})
    assert len(answer["predictions"]) == 2
    wrong = await client.post("/v1/models/weather/predict", json={"inputs": {"user": [[0.1, 0.2]], "item": [[1], [2]]}})
    assert (wrong.status_code, wrong.json()["error"]["details"]["field"]) == (422, "inputs")


async def test_weights_of_ones_own_are_served_as_they_are(client: httpx.AsyncClient) -> None:
    layer = torch.nn.Linear(8, 2)
    tensors = {"output.weight": layer.weight.detach(), "output.bias": layer.bias.detach()}
    files = {"weights": ("w.safetensors", safetensors.torch.save(tensors))}
    given = {"spec": json.dumps(spec(network=LINEAR))}
    answer = await client.post("/v1/models", data=given, files=files)
    assert answer.status_code == 201, answer.text
    rows = torch.randn(3, 8) * 50
    served = [row["probabilities"] for row in (await predict(client, rows.tolist()))["predictions"]]
    np.testing.assert_allclose(served, layer(rows).softmax(1).detach().numpy(), atol=1e-3)


async def test_weights_that_do_not_fit_are_named_and_make_no_model(client: httpx.AsyncClient) -> None:
    tensors = {"output.weight": torch.zeros(2, 7), "output.bias": torch.zeros(2)}
    for content, field in ((safetensors.torch.save(tensors), "output.weight"), (b"junk", "safetensors")):
        answer = await client.post(
            "/v1/models", data={"spec": json.dumps(spec(network=LINEAR))}, files={"weights": ("w", content)}
        )
        assert answer.status_code == 422
        assert field in answer.json()["error"]["message"]
    assert (await client.get("/v1/models")).json() == {"models": []}


async def test_a_network_that_nobody_allowed_is_refused(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/models", json=spec(network={"factory": "os:system"}))
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "factory_not_allowed")


async def test_a_batch_keeps_the_rows_of_each_request_together(client: httpx.AsyncClient) -> None:
    import asyncio

    await create(client)
    rows = np.random.default_rng(1).normal(size=(40, 8)).tolist()
    alone = [(await predict(client, [row]))["predictions"][0]["probabilities"] for row in rows]
    together = await asyncio.gather(*(predict(client, rows[n : n + n % 3 + 1]) for n in range(37)))
    for n, answer in enumerate(together):
        got = [row["probabilities"] for row in answer["predictions"]]
        np.testing.assert_allclose(got, alone[n : n + n % 3 + 1], atol=1e-5)


async def test_a_full_queue_says_when_to_come_back(start: Start) -> None:
    client = await start(max_queue=4)
    await create(client, serving={"max_wait": 0.5})
    ask = partial(client.post, "/v1/models/weather/predict", json={"inputs": [[0.0] * 8] * 3})
    answers = sorted(await asyncio.gather(ask(), ask()), key=lambda answer: answer.status_code)
    assert [answer.status_code for answer in answers] == [200, 429]
    assert answers[1].json()["error"]["code"] == "queue_full"
    assert int(answers[1].headers["retry-after"]) >= 1


async def test_prometheus_counts_what_was_answered(client: httpx.AsyncClient) -> None:
    await create(client)
    answer = await predict(client, [[0.0] * 8] * 3)
    item = {"prediction_id": answer["predictions"][0]["id"], "label": 1}
    assert (await client.post("/v1/models/weather/feedback", json={"items": [item]})).status_code == 202
    text = (await client.get("/metrics")).text
    for line in (
        'driftline_predictions_total{model="weather"} 3.0',
        'driftline_labels_waiting{model="weather"} 1.0',
        'driftline_live_version{model="weather"} 1.0',
        "driftline_store_up 1.0",
    ):
        assert line in text.splitlines(), text


async def test_a_deleted_model_is_gone_for_every_call(client: httpx.AsyncClient) -> None:
    await create(client)
    await predict(client, [[0.0] * 8])
    assert (await client.delete("/v1/models/weather")).json() == {"deleted": "weather"}
    bodies = {"predict": {"inputs": [[0.0] * 8]}, "feedback": {"items": [{"inputs": [0.0] * 8, "label": 1}]}}
    for verb, path in (
        ("POST", "predict"),
        ("POST", "feedback"),
        ("GET", "metrics"),
        ("GET", "versions"),
        ("POST", "pause"),
        ("GET", "feedback/x"),
    ):
        answer = await client.request(verb, f"/v1/models/weather/{path}", json=bodies.get(path))
        assert answer.status_code == 404, f"{path}: {answer.text}"
