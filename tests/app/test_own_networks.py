"""A network of a user's own is brought with its weights and an example, and named where it does not fit."""

from __future__ import annotations

import json
from typing import Any

import httpx
import numpy as np
import pytest
import safetensors.torch
import torch

from tests.app.conftest import AppClient, Start, predict
from tests.networks.own_networks import FACTORIES, called, shared
from tests.services import spec

pytestmark = pytest.mark.anyio


@pytest.fixture
async def client(start: Start) -> AppClient:
    return await start(factories=FACTORIES, max_body_bytes=1024, max_weights_bytes=4096)


def network(factory: str, way: str) -> dict[str, Any]:
    own = {"factory": f"tests.networks.own_networks:{factory}", "arguments": {"way": way}, "output": "own"}
    return spec(inputs={"shape": [4]}, classes=[0, 1, 2, 3], network=own)


async def brought(client: AppClient, given: dict[str, Any], **parts: Any) -> httpx.Response:
    files: dict[str, Any] = {
        name: (None, json.dumps(part) if name == "example" else part) for name, part in parts.items()
    }
    if "weights" in files:
        files["weights"] = ("w", parts["weights"])
    return await client.post("/v1/models", data={"spec": json.dumps(given)}, files=files)


async def test_it_answers_as_it_did_where_it_came_from(client: AppClient) -> None:
    own = shared("one parameter")
    weights = safetensors.torch.save({name: value.clone() for name, value in own.state_dict().items()})
    example = torch.randn(3, 4).tolist()
    made = await brought(client, network("shared", "one parameter"), weights=weights, example=example)
    assert made.status_code == 201, made.text
    served = [row["probabilities"] for row in (await predict(client, example))["predictions"]]
    np.testing.assert_allclose(served, own(torch.tensor(example)).softmax(1).detach().numpy(), atol=1e-3)


async def test_what_is_wrong_with_it_is_named_and_makes_no_model(client: AppClient) -> None:
    answer = await client.post("/v1/models", json=network("called", "batch mates"))
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["details"]["field"]) == (422, "network_unfit", "network")
    assert error["message"].startswith("network: its answer to a row depends on the other rows of the batch")
    answer = await client.post("/v1/models", json=network("called", "frozen"))
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "nothing_to_learn")
    assert (await client.get("/v1/models")).json() == {"models": []}


async def test_it_is_tried_on_the_example(client: AppClient) -> None:
    example = [[0.5, 0.0, 1.0]]
    answer = await brought(client, network("called", "good"), example=example)
    assert answer.json()["error"]["message"].startswith("example.inputs[0]: a row of shape [3] where [4] is expected")
    answer = await brought(client, network("called", "good"), example=[[1, 2, 3, "four"]])
    assert (answer.status_code, answer.json()["error"]["details"]["field"]) == (422, "[0][3]")
    assert (await brought(client, network("called", "good"), example=[[1, 2, 3, 4]])).status_code == 201


async def test_weights_have_a_limit_of_their_own(client: AppClient) -> None:
    tensors = {name: value.detach() for name, value in called("good").state_dict().items()}
    allowed = safetensors.torch.save(tensors | {"more": torch.zeros(300)})
    answer = await brought(client, network("called", "good"), weights=allowed)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "wrong_weights")
    answer = await brought(client, network("called", "good"), weights=b"0" * 4096)
    assert (answer.status_code, answer.json()["error"]["details"]["limit"]) == (413, 4096)
    answer = await client.post("/v1/models", json=network("called", "good") | {"more": "0" * 1024})
    assert (answer.status_code, answer.json()["error"]["details"]["limit"]) == (413, 1024)


@pytest.mark.parametrize("parts", [{}, {"weights": "no file"}, {"example": "[]", "other": "x"}])
async def test_a_form_of_other_parts_is_refused(client: AppClient, parts: dict[str, str]) -> None:
    fields = {"spec": json.dumps(network("called", "good"))} | parts
    answer = await client.post("/v1/models", files={name: (None, text) for name, text in fields.items()})
    assert (answer.status_code, answer.json()["error"]["details"]["field"]) == (422, "body")
    headers = {"content-type": "multipart/form-data"}
    answer = await client.post("/v1/models", content=b"--no boundary", headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "malformed_form")
