"""The Open Inference Protocol, by a client that is not ours and by requests that no client should send."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio

from tests.app.conftest import Start
from tests.services import Instance, emptied, spec

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

ROWS = np.random.default_rng(5).normal(size=(3, 8)).astype(np.float32)


@pytest.fixture(scope="module")
def instance(shared_instance: Instance) -> Iterator[Instance]:
    with emptied(shared_instance) as instance:
        instance.client.create_model(spec())
        instance.client.create_model(spec("words", classes=["dry", "wet"]))
        instance.client.create_model(spec("price", task="regression", classes=None))
        two = {"user": {"shape": [2]}, "item": {"shape": [], "dtype": "int64"}}
        instance.client.create_model(spec("pairs", inputs=two))
        yield instance


def tensor(binary: bool, name: str = "inputs", rows: Any = ROWS, datatype: str = "FP32") -> triton.InferInput:
    given = triton.InferInput(name, list(rows.shape), datatype)
    given.set_data_from_numpy(rows, binary_data=binary)
    return given


def address(instance: Instance) -> str:
    return instance.url.removeprefix("http://")


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
def test_a_client_of_the_protocol_gets_what_v1_answers(instance: Instance, binary_in: bool, binary_out: bool) -> None:
    expected = instance.client.predict("weather", ROWS)
    wanted = [triton.InferRequestedOutput(name, binary_data=binary_out) for name in ("label", "probabilities")]
    with triton.InferenceServerClient(address(instance)) as client:
        result = client.infer("weather", [tensor(binary_in)], outputs=wanted, request_id="seven")
        np.testing.assert_allclose(
            result.as_numpy("probabilities"), [row["probabilities"] for row in expected["predictions"]], atol=1e-6
        )
        assert result.as_numpy("label").tolist() == [row["label"] for row in expected["predictions"]]
        response = result.get_response()
        assert (response["model_name"], response["model_version"], response["id"]) == ("weather", "1", "seven")


async def test_the_asyncio_client_works_too(instance: Instance) -> None:
    async with triton_aio.InferenceServerClient(address(instance)) as client:
        assert await client.is_server_live() and await client.is_server_ready()
        for binary in (True, False):
            result = await client.infer("weather", [tensor(binary)])
            assert result.as_numpy("probabilities").shape == (3, 2)


def test_feedback_refers_to_the_prediction_ids_of_the_answer(instance: Instance) -> None:
    wanted = [triton.InferRequestedOutput(name) for name in ("label", "prediction_id")]
    with triton.InferenceServerClient(address(instance)) as client:
        result = client.infer("words", [tensor(True)], outputs=wanted)
    ids = result.get_response()["parameters"]["prediction_id"].split(",")
    assert [value.decode() for value in result.as_numpy("prediction_id")] == ids
    accepted = instance.client.feedback("words", [{"prediction_id": name, "label": "wet"} for name in ids])
    assert [item["status"] for item in accepted["items"]] == ["queued"] * 3
    assert set(result.as_numpy("label")) <= {b"dry", b"wet"}


def test_metadata_and_readiness(instance: Instance) -> None:
    with triton.InferenceServerClient(address(instance)) as client:
        assert client.is_server_live() and client.is_server_ready()
        assert client.get_server_metadata()["name"] == "driftline"
        assert client.is_model_ready("weather") and client.is_model_ready("weather", "1")
        assert not client.is_model_ready("wether") and not client.is_model_ready("weather", "99")
        described = client.get_model_metadata("pairs")
    assert described["inputs"] == [
        {"name": "user", "datatype": "FP32", "shape": [-1, 2]},
        {"name": "item", "datatype": "INT64", "shape": [-1]},
    ]
    assert [output["name"] for output in described["outputs"]] == ["label", "probabilities", "prediction_id"]


def test_several_inputs_and_a_regression(instance: Instance) -> None:
    users, items = ROWS[:, :2].copy(), np.array([1, 2, 3], np.int64)
    with triton.InferenceServerClient(address(instance)) as client:
        for binary in (True, False):
            given = [tensor(binary, "item", items, "INT64"), tensor(binary, "user", users)]
            assert client.infer("pairs", given).as_numpy("probabilities").shape == (3, 2)
        assert client.infer("price", [tensor(True)]).as_numpy("value").shape == (3,)


def test_a_version_can_be_asked_for(instance: Instance) -> None:
    with triton.InferenceServerClient(address(instance)) as client:
        result = client.infer("weather", [tensor(True)], model_version="1")
        assert result.get_response()["model_version"] == "1"
        with pytest.raises(triton.InferenceServerException, match="no version 99"):
            client.infer("weather", [tensor(True)], model_version="99")


def test_other_datatypes_are_converted_where_they_fit(instance: Instance) -> None:
    with triton.InferenceServerClient(address(instance)) as client:
        wanted = client.infer("weather", [tensor(True, rows=np.array([[1, 0, 1, 0, 1, 0, 1, 0]], np.float32))])
        for datatype, dtype in (("FP64", "f8"), ("FP16", "f2"), ("INT8", "i1"), ("UINT64", "u8"), ("BOOL", "?")):
            rows = np.array([[1, 0, 1, 0, 1, 0, 1, 0]], dtype)
            for binary in {True, datatype == "FP16"}:
                found = client.infer("weather", [tensor(binary, rows=rows, datatype=datatype)])
                np.testing.assert_array_equal(found.as_numpy("probabilities"), wanted.as_numpy("probabilities"))


def described(**changes: Any) -> dict[str, Any]:
    return {"name": "inputs", "shape": [1, 8], "datatype": "FP32", "data": [0.0] * 8} | changes


def without_data(**changes: Any) -> dict[str, Any]:
    return {name: value for name, value in described(**changes).items() if name != "data"}


SIZE = {"parameters": {"binary_data_size": 32}}
GOOD = json.dumps({"inputs": [without_data(**SIZE)]}).encode()


@pytest.mark.parametrize(
    ("request_json", "says"),
    [
        ({"inputs": [described(shape=[2, 8])]}, "16 elements, and data has 8"),
        ({"inputs": [described(shape=[1, 7], data=[0.0] * 7)]}, "is not [rows, 8]"),
        ({"inputs": [described(shape=[8])]}, "is not [rows, 8]"),
        ({"inputs": [described(shape=[-1, -8])]}, "negative size"),
        ({"inputs": [described(shape=[10**30, 8])]}, "and data has 8"),
        ({"inputs": [described(shape=[0, 8], data=[])]}, "no row"),
        ({"inputs": [described(datatype="FP31")]}, "datatype 'FP31'"),
        ({"inputs": [described(datatype="BYTES")]}, "datatype 'BYTES'"),
        ({"inputs": [described(data=["a"] * 8)]}, "its data is not FP32"),
        ({"inputs": [described(data=[True] * 8)]}, "its data is not FP32"),
        ({"inputs": [described(data={})]}, "its data is not FP32"),
        ({"inputs": [described(data=[1e39] * 8)]}, "finite float32"),
        ({"inputs": [described(datatype="INT8", data=[128] * 8)]}, "does not fit INT8"),
        ({"inputs": [described(datatype="INT32", data=[1.5] * 8)]}, "its data is not INT32"),
        ({"inputs": [described(name="input")]}, "no such input"),
        ({"inputs": [described(), described()]}, "given twice"),
        ({"inputs": []}, "'inputs' is missing"),
        ({"inputs": [without_data()]}, 'either "data" or'),
        ({"inputs": [described(**SIZE)]}, 'either "data" or'),
        ({"inputs": [without_data(**SIZE)]}, "more than the 0 bytes"),
        ({"inputs": [without_data(parameters={"binary_data_size": -1})]}, "binary_data_size -1 is not"),
        ({"inputs": [without_data(parameters={"binary_data_size": "32"})]}, "binary_data_size '32' is not"),
        ({"inputs": [described(parameters={"shared_memory_region": "x"})]}, "shared memory"),
        ({"inputs": [described()], "outputs": [{"name": "logits"}]}, "no such output"),
        ({"inputs": [described()], "outputs": [{"name": "label"}, {"name": "label"}]}, "asked for twice"),
        (
            {"inputs": [described()], "outputs": [{"name": "label", "parameters": {"classification": 2}}]},
            "'classification' is not supported",
        ),
        ({"inputs": 5}, "not as the protocol"),
        ({}, "not as the protocol"),
        ([], "not as the protocol"),
    ],
)
async def test_a_wrong_request_is_a_sentence(client: httpx.AsyncClient, request_json: Any, says: str) -> None:
    assert (await client.post("/v1/models", json=spec())).status_code == 201
    answer = await client.post("/v2/models/weather/infer", json=request_json)
    assert answer.status_code == 400, answer.text
    assert isinstance(answer.json()["error"], str) and says in answer.json()["error"], answer.text


@pytest.mark.parametrize(
    ("body", "length", "says"),
    [
        (GOOD + b"\0" * 32, "100000", "within the body"),
        (GOOD + b"\0" * 32, "-5", "within the body"),
        (GOOD + b"\0" * 32, "x", "within the body"),
        (GOOD + b"\0" * 32, "3", "not JSON"),
        (GOOD + b"\0" * 31, str(len(GOOD)), "more than the 31 bytes"),
        (GOOD + b"\0" * 33, str(len(GOOD)), "1 bytes are left"),
        (GOOD + b"\xff" * 32, str(len(GOOD)), "finite float32"),
        (b"", "0", "not JSON"),
        (b"\xff\xfe", "2", "not JSON"),
    ],
)
async def test_a_wrong_binary_request_is_a_sentence(
    client: httpx.AsyncClient, body: bytes, length: str, says: str
) -> None:
    assert (await client.post("/v1/models", json=spec())).status_code == 201
    headers = {"inference-header-content-length": length, "content-type": "application/octet-stream"}
    answer = await client.post("/v2/models/weather/infer", content=body, headers=headers)
    assert answer.status_code == 400, answer.text
    assert isinstance(answer.json()["error"], str) and says in answer.json()["error"], answer.text
    whole = {"inference-header-content-length": str(len(GOOD)), "content-type": "application/octet-stream"}
    again = await client.post("/v2/models/weather/infer", content=GOOD + b"\0" * 32, headers=whole)
    assert again.status_code == 200, again.text


async def test_errors_of_every_kind_are_one_sentence(start: Start) -> None:
    client = await start(max_queue=2)
    assert (await client.post("/v1/models", json=spec())).status_code == 201
    for path, status in (("/v2/models/wether/infer", 404), ("/v2/models/weather/versions/x/infer", 400)):
        answer = await client.post(path, json={"inputs": [described()]})
        assert (answer.status_code, type(answer.json()["error"])) == (status, str), answer.text
    answer = await client.post("/v2/models/weather/infer", json={"inputs": [described(shape=[3, 8], data=[0.0] * 24)]})
    assert (answer.status_code, type(answer.json()["error"])) == (413, str)
    for path in ("/v2/models/wether", "/v2/nothing"):
        answer = await client.get(path)
        assert (answer.status_code, type(answer.json()["error"])) == (404, str)
