"""Rows of fields over HTTP: asked, taught, counted where they are unknown, and refused by name."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton

from tests.app.conftest import AppClient, create, predict
from tests.services import Instance

pytestmark = pytest.mark.anyio

FIELDS = {
    "tenure": "number",
    "contract": "category",
    "note": "text",
    "signed up": "time",
    "paperless": "boolean",
    "photo": {"type": "tensor", "shape": [2, 2]},
    "row_id": "ignore",
}
ROW = {
    "tenure": 3.5,
    "contract": "monthly",
    "note": "calls a lot",
    "signed up": "2024-05-01T12:30:00Z",
    "paperless": True,
    "photo": [[1, 2], [3, 4]],
    "row_id": 17,
}
KEPT = {name: value for name, value in ROW.items() if name != "row_id"}


async def create_churn(client: AppClient, **options: Any) -> None:
    await create(client, classes=["no", "yes"], inputs={"fields": FIELDS, **options})


async def ask(client: AppClient, inputs: Any) -> tuple[int, dict[str, Any]]:
    answer = await client.post("/v1/models/weather/predict", json={"inputs": inputs})
    return answer.status_code, answer.json()


async def test_rows_as_objects_and_as_columns_get_the_same_answers(client: AppClient) -> None:
    await create_churn(client)
    rows: list[dict[str, Any]] = [ROW, {"tenure": 1}, {}]
    columns = {name: [row.get(name) for row in rows] for name in ROW}
    one, other = await predict(client, rows), await predict(client, columns)
    assert len(one["predictions"]) == 3
    for first, second in zip(one["predictions"], other["predictions"], strict=True):
        assert first["probabilities"] == second["probabilities"]


async def test_a_row_stands_in_the_log_as_it_was_sent(client: AppClient) -> None:
    await create_churn(client)
    answers = (await predict(client, [{**ROW, "contract": "yearly"}, ROW]))["predictions"]
    items = [{"prediction_id": answers[1]["id"], "label": "yes"}, {"inputs": ROW, "label": "no"}]
    answer = await client.post("/v1/models/weather/feedback", json={"items": items})
    assert answer.json()["accepted"] == 2, answer.text
    log = [json.loads(line) for line in (await client.get("/v1/models/weather/log")).text.splitlines()]
    assert [item["inputs"] for item in log] == [KEPT, KEPT]
    assert log[0]["answer"]["label"] == answers[1]["label"]


async def test_the_order_of_fields_is_formatting(client: AppClient) -> None:
    await create_churn(client)
    backwards = dict(reversed(ROW.items()))
    items = [{"id": "a", "inputs": ROW, "label": "no"}, {"id": "a", "inputs": backwards, "label": "no"}]
    answer = await client.post("/v1/models/weather/feedback", json={"items": items})
    assert [item["status"] for item in answer.json()["items"]] == ["queued", "duplicate"]


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("tenure", "twelve", '"twelve" is not a number'),
        ("tenure", True, "true is not a number"),
        ("tenure", 1e39, "1e+39 is not a number that fits float32"),
        ("contract", {"a": 1}, '{"a": 1} is not a category'),
        ("note", 5, "5 is not a text"),
        ("signed up", "31.12.2024", '"31.12.2024" is not a time in ISO 8601'),
        ("paperless", "yes", '"yes" is not true or false'),
        ("photo", [1, 2], "is not an array of shape [2, 2]"),
    ],
)
async def test_a_value_of_the_wrong_type_is_named_by_row_field_and_type(
    client: AppClient, field: str, value: Any, expected: str
) -> None:
    await create_churn(client)
    status, body = await ask(client, [ROW, {**ROW, field: value}])
    assert status == 422 and body["error"]["details"]["field"] == f"inputs[1].{field}"
    assert body["error"]["message"].startswith(f"inputs[1].{field}: ") and expected in body["error"]["message"]
    answer = await client.post(
        "/v1/models/weather/feedback", json={"items": [{"inputs": {**ROW, field: value}, "label": "no"}]}
    )
    assert answer.status_code == 422 and expected in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("inputs", "field"),
    [
        ([], "inputs"),
        ([5], "inputs[0]"),
        (5, "inputs"),
        ({"tenure": 3}, "inputs.tenure"),
        ({"tenure": [1], "note": []}, "inputs"),
    ],
)
async def test_what_is_no_row_is_refused(client: AppClient, inputs: Any, field: str) -> None:
    await create_churn(client)
    status, body = await ask(client, inputs)
    assert status == 422 and body["error"]["details"]["field"] == field


async def test_unknown_fields_are_counted_and_shown(client: AppClient) -> None:
    await create_churn(client)
    await predict(client, [{**ROW, "colour": "red"}, {**ROW, "colour": "blue", "size": 3}])
    item = {"inputs": {"colour": "red"}, "label": "no"}
    assert (await client.post("/v1/models/weather/feedback", json={"items": [item]})).status_code == 202
    metrics = (await client.get("/v1/models/weather/metrics")).json()
    assert metrics["unknown_fields"] == {"colour": 3, "size": 1}
    assert 'driftline_unknown_fields_total{field="colour",model="weather"} 3.0' in (await client.get("/metrics")).text


async def test_unknown_fields_are_refused_where_the_spec_says_so(client: AppClient) -> None:
    await create_churn(client, unknown="refuse")
    status, body = await ask(client, [ROW, {**ROW, "colour": "red"}])
    assert status == 422 and body["error"]["message"] == 'inputs[1].colour: "red" is not a field of the model'


async def test_more_rows_than_fit_say_how_many_do(client: AppClient) -> None:
    await create(client, classes=["no", "yes"], inputs={"fields": FIELDS}, serving={"max_queue": 10})
    answer = await client.post("/v1/models/weather/predict", json={"inputs": [ROW] * 11})
    assert answer.status_code == 413 and "11 rows where 10 is the most" in answer.json()["error"]["message"]
    assert "retry-after" not in answer.headers


async def test_each_field_is_a_tensor_of_the_protocol(client: AppClient) -> None:
    await create_churn(client)
    described = (await client.get("/v2/models/weather")).json()["inputs"]
    assert [(each["name"], each["datatype"]) for each in described] == [
        ("tenure", "FP64"),
        ("contract", "BYTES"),
        ("note", "BYTES"),
        ("signed up", "FP64"),
        ("paperless", "BOOL"),
        ("photo", "FP32"),
    ]
    given = [
        {"name": "tenure", "datatype": "INT64", "shape": [2], "data": [3, 4]},
        {"name": "contract", "datatype": "BYTES", "shape": [2], "data": ["monthly", ""]},
        {"name": "photo", "datatype": "FP32", "shape": [2, 2, 2], "data": [1, 2, 3, 4, 5, 6, 7, 8]},
        {"name": "signed up", "datatype": "BYTES", "shape": [2], "data": ["2024-05-01", "2024-05-02"]},
    ]
    answer = await client.post("/v2/models/weather/infer", json={"inputs": given})
    assert answer.status_code == 200, answer.text
    same = await predict(
        client,
        [
            {"tenure": 3, "contract": "monthly", "photo": [[1, 2], [3, 4]], "signed up": "2024-05-01"},
            {"tenure": 4, "photo": [[5, 6], [7, 8]], "signed up": "2024-05-02"},
        ],
    )
    outputs = {output["name"]: output["data"] for output in answer.json()["outputs"]}
    expected = [number for row in same["predictions"] for number in row["probabilities"]]
    assert outputs["probabilities"] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("tensor", "reason"),
    [
        ({"name": "tenure", "datatype": "BYTES", "shape": [1], "data": ["x"]}, "a number is FP64, not BYTES"),
        ({"name": "contract", "datatype": "FP32", "shape": [1], "data": [1.5]}, "a category is BYTES, not FP32"),
        ({"name": "photo", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}, "is not [rows, 2, 2]"),
        ({"name": "note", "datatype": "BYTES", "shape": [2], "data": ["x"]}, "has 2 elements"),
    ],
)
async def test_a_tensor_that_is_not_of_its_field_is_refused(
    client: AppClient, tensor: dict[str, Any], reason: str
) -> None:
    await create_churn(client)
    answer = await client.post("/v2/models/weather/infer", json={"inputs": [tensor]})
    assert answer.status_code == 400 and reason in answer.json()["error"]


@pytest.mark.slow
def test_tritonclient_sends_fields_in_binary(empty_instance: Instance) -> None:
    spec = {"name": "churn", "task": "regression", "inputs": {"fields": {"size": "number", "town": "category"}}}
    empty_instance.client.create_model(spec)
    client = triton.InferenceServerClient(empty_instance.url.removeprefix("http://"))
    size = triton.InferInput("size", [2], "FP64").set_data_from_numpy(np.array([1.5, np.nan]))
    town = triton.InferInput("town", [2], "BYTES").set_data_from_numpy(np.array(["Zürich", ""], dtype=object))
    found = client.infer("churn", [size, town]).as_numpy("value")
    rows = [{"size": 1.5, "town": "Zürich"}, {}]
    expected = [answer["value"] for answer in empty_instance.client.predict("churn", rows)["predictions"]]
    assert found.tolist() == pytest.approx(expected)
    client.close()
