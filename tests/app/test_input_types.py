"""Inputs of every type and length, by both protocols, from the call to the log."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch

from driftline.rows.number_types import as_type
from tests.app.conftest import AppClient, Start, create, predict
from tests.networks.pretrained_forms import FACTORIES

pytestmark = pytest.mark.anyio

IDS = {"shape": [None], "dtype": "int64", "mask": "attention_mask", "max_length": 12}


@pytest.fixture
async def client(start: Start) -> AppClient:
    return await start(factories=FACTORIES)


def own(name: str) -> dict[str, Any]:
    return {"factory": f"tests.networks.pretrained_forms:{name}", "output": "own"}


async def infer(client: AppClient, datatype: str, rows: Any, data: bytes | None = None, name: str = "inputs") -> Any:
    shape = list(np.shape(rows))
    tensor = {"name": name, "datatype": datatype, "shape": shape}
    if data is None:
        return await client.post("/v2/models/weather/infer", json={"inputs": [{**tensor, "data": rows}]})
    head = json.dumps({"inputs": [{**tensor, "parameters": {"binary_data_size": len(data)}}]}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))}
    return await client.post("/v2/models/weather/infer", content=head + data, headers=headers)


async def logged(client: AppClient) -> list[Any]:
    found = await client.get("/v1/models/weather/log")
    return [json.loads(line)["inputs"] for line in found.text.splitlines()]


@pytest.mark.parametrize(
    ("dtype", "datatype", "rows", "wrong"),
    [
        ("uint8", "UINT8", [[0, 255], [3, 4]], 256),
        ("int32", "INT32", [[-1, 2**31 - 1], [3, 4]], 2**31),
        ("float16", "FP16", [[0.5, -2.25], [3, 4]], 1e5),
        ("bfloat16", "BF16", [[0.5, -2.25], [3, 1e30]], 3.4e38),
    ],
)
async def test_a_type_is_the_same_by_every_way_in(
    client: AppClient, dtype: str, datatype: str, rows: list[list[float]], wrong: float
) -> None:
    network = (
        {"layers": [{"type": "embedding", "count": 4, "features": 2}, {"type": "flatten"}]} if dtype == "int32" else {}
    )
    await create(client, inputs={"shape": [2], "dtype": dtype}, **({"network": network} if network else {}))
    answer = await predict(client, rows)
    probabilities = [row["probabilities"] for row in answer["predictions"]]
    wide = np.array(rows, np.int64 if "int" in dtype else np.float64)
    for data in (None, as_type(wide, dtype, "").tobytes()):
        found = await infer(client, datatype, rows, data)
        assert found.status_code == 200, found.text
        outputs = {output["name"]: output["data"] for output in found.json()["outputs"]}
        np.testing.assert_allclose(np.reshape(outputs["probabilities"], (2, -1)), probabilities, atol=1e-6)
    described = (await client.get("/v2/models/weather")).json()["inputs"]
    assert described == [{"name": "inputs", "datatype": datatype, "shape": [-1, 2]}]
    refused = await client.post("/v1/models/weather/predict", json={"inputs": [rows[0], [0, wrong]]})
    assert (refused.status_code, refused.json()["error"]["details"]["field"]) == (422, "inputs[1][1]"), refused.text
    assert (await infer(client, datatype, [rows[0], [0, wrong]])).status_code == 400
    label = {"inputs": rows[1], "label": 1}
    told = {"prediction_id": answer["predictions"][0]["id"], "label": 0}
    found = await client.post("/v1/models/weather/feedback", json={"items": [label, told]})
    assert (found.status_code, found.json()["accepted"]) == (202, 2), found.text
    expected = torch.tensor([rows[1], rows[0]], dtype=getattr(torch, dtype)).tolist()
    assert sorted(await logged(client)) == sorted(expected)


async def test_sequences_of_any_length_are_answered_in_one_batch_as_alone_and_joined_with_their_labels(
    client: AppClient,
) -> None:
    await create(client, classes=[0, 1, 2], inputs={"input_ids": IDS}, network=own("classifier"))
    rows = [[1, 2, 3], [4], [7, 8, 9, 10, 49]]
    answers = (await predict(client, {"input_ids": rows}))["predictions"]
    for row, together in zip(rows, answers, strict=True):
        (alone,) = (await predict(client, {"input_ids": [row]}))["predictions"]
        np.testing.assert_allclose(alone["probabilities"], together["probabilities"], atol=1e-5)
    found = await infer(client, "INT64", rows[:1], name="input_ids")
    assert found.status_code == 200, found.text
    described = (await client.get("/v2/models/weather")).json()["inputs"]
    assert described == [{"name": "input_ids", "datatype": "INT64", "shape": [-1, -1]}]
    items = [{"prediction_id": answer["id"], "label": 1} for answer in answers]
    assert (await client.post("/v1/models/weather/feedback", json={"items": items})).json()["accepted"] == 3
    assert sorted(await logged(client), key=str) == sorted(({"input_ids": row} for row in rows), key=str)
    refused = await client.post("/v1/models/weather/predict", json={"inputs": {"input_ids": [[1], [0] * 13]}})
    assert refused.json()["error"]["details"]["field"] == "inputs.input_ids[1]"


async def test_a_tokenizer_that_is_not_there_is_refused_with_the_model(client: AppClient) -> None:
    pytest.importorskip("tokenizers")
    inputs = {"input_ids": {**IDS, "tokenizer": "missing.json"}}
    given = {
        "name": "m",
        "task": "classification",
        "classes": [0, 1, 2],
        "inputs": inputs,
        "network": own("classifier"),
    }
    answer = await client.post("/v1/models", json=given)
    assert (answer.status_code, answer.json()["error"]["details"]["field"]) == (422, "inputs.input_ids.tokenizer")
