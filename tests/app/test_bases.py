"""Models on a base, over HTTP: made in one call, with what is not said as of the base, which stays as long as they are."""

from __future__ import annotations

import json
from base64 import b64decode
from typing import Any

import numpy as np
import pytest

from tests.app.conftest import AppClient, Start, predict
from tests.services import spec

pytestmark = pytest.mark.anyio
ROWS = [[0.5] * 8, [-1.0] * 8]


@pytest.fixture
async def client(start: Start) -> AppClient:
    client = await start()
    layers = [{"type": "linear", "features": 16}, {"type": "relu"}, {"type": "linear", "features": 12}]
    base = spec(
        name="bert", network={"layers": layers}, recipe={"strategy": "replay", "optimizer": {"learning_rate": 0.02}}
    )
    made = await client.post("/v1/models", json=base)
    assert made.status_code == 201, made.text
    return client


async def test_all_that_is_not_said_is_as_of_the_base(client: AppClient) -> None:
    made = await client.post("/v1/models", json={"name": "weather", "network": {"base": "bert"}})
    assert made.status_code == 201, made.text
    own, base = made.json()["spec"], (await client.get("/v1/models/bert")).json()["spec"]
    assert own["network"]["base"] == "bert@1"
    assert {**own, "name": "", "network": {}} == {**base, "name": "", "network": {}}
    answers = [
        (await client.post(f"/v1/models/{name}/predict", json={"inputs": ROWS})).json() for name in ("bert", "weather")
    ]
    first, second = ([row["probabilities"] for row in answer["predictions"]] for answer in answers)
    # Where tensors lie may decide how products are rounded.
    np.testing.assert_allclose(first, second, rtol=1e-5)


async def test_what_is_said_is_its_own(client: AppClient) -> None:
    said = {"name": "weather", "classes": ["a", "b", "c"], "recipe": {"strategy": "finetune"}}
    network = {"base": "bert", "version": 1, "adapter": {"rank": 3, "layers": ["linear2"]}}
    made = await client.post("/v1/models", json={**said, "network": network})
    assert made.status_code == 201, made.text
    assert made.json()["spec"]["classes"] == ["a", "b", "c"]
    assert {row["label"] for row in (await predict(client, ROWS))["predictions"]} <= {"a", "b", "c"}


async def test_a_base_stays_while_models_are_on_it(client: AppClient) -> None:
    for name in ("one", "two"):
        await client.post("/v1/models", json={"name": name, "network": {"base": "bert"}})
    refused = await client.delete("/v1/models/bert")
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "base_in_use")
    assert refused.json()["error"]["message"] == "'bert' is the base of one, two: remove these first"
    for name in ("one", "two", "bert"):
        assert (await client.delete(f"/v1/models/{name}")).status_code == 200


async def test_an_adapter_goes_out_and_comes_back_as_another_model(client: AppClient) -> None:
    await client.post("/v1/models", json={"name": "one", "network": {"base": "bert", "adapter": {"rank": 2}}})
    exported = (await client.get("/v1/models/one/versions/1/adapter")).json()
    spec = {"name": "two", "network": {"base": "bert", "adapter": {"peft": exported["config"]}}}
    files: dict[str, tuple[str | None, str | bytes]] = {
        "spec": (None, json.dumps(spec)),
        "weights": ("adapter_model.safetensors", b64decode(exported["weights"])),
    }
    made = await client.post("/v1/models", files=files)
    assert made.status_code == 201, made.text
    one, two = [
        (await client.post(f"/v1/models/{name}/predict", json={"inputs": ROWS})).json()["predictions"]
        for name in ("one", "two")
    ]
    assert [row["probabilities"] for row in one] == [row["probabilities"] for row in two]
    refused = await client.post("/v1/models", json={**spec, "name": "three"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "wrong_adapter")
    spec = {"name": "three", "network": {"base": "bert"}}
    refused = await client.post("/v1/models", files={**files, "spec": (None, json.dumps(spec))})
    assert refused.status_code == 422 and "brings none but those of an adapter" in refused.json()["error"]["message"]
    refused = await client.get("/v1/models/bert/versions/1/adapter")
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "no_adapter")


BROKEN: list[tuple[dict[str, Any], int, str, str]] = [
    ({"network": {"base": "brt"}}, 404, "unknown_model", "network.base: there is no model 'brt'"),
    ({"network": {"base": "bert", "version": 7}}, 404, "unknown_version", "7"),
    ({"network": {"base": "bert", "adapter": {"rank": 0}}}, 422, "invalid_input", "network.adapter.rank"),
    ({"network": {"base": "bert", "adapter": {"rank": 500}}}, 422, "invalid_input", "no layer that can have"),
    ({"network": {"base": "bert", "adapter": {"layers": ["linear7"]}}}, 422, "invalid_input", "linear7"),
    ({"network": {"base": "bert", "layer": 1}}, 422, "invalid_input", "network.layer"),
    ({"network": {"base": 5}}, 422, "invalid_input", "network.base"),
    ({"inputs": {"shape": [9]}}, 422, "invalid_input", "inputs: a model on the base 'bert@1' takes what that takes"),
    ({"classes": 5}, 422, "invalid_input", "classes"),
    ({"task": "cooking"}, 422, "invalid_input", "task"),
    ({"wether": 1}, 422, "invalid_input", "wether"),
]


@pytest.mark.parametrize(("said", "status", "code", "message"), BROKEN)
async def test_what_does_not_fit_is_named(
    client: AppClient, said: dict[str, Any], status: int, code: str, message: str
) -> None:
    answer = await client.post("/v1/models", json={"name": "weather", "network": {"base": "bert"}, **said})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (status, code), error
    assert message in error["message"]
    assert [model["name"] for model in (await client.get("/v1/models")).json()["models"]] == ["bert"]
