"""Labels by the user's own keys, over HTTP."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest

from tests.app.conftest import AppClient, Start
from tests.services import spec
from tests.waiting import until_async

pytestmark = pytest.mark.anyio
ROW = [0.5] * 8
FIELDS = {"fields": {"size": {"type": "number"}, "colour": {"type": "category"}}}


@pytest.fixture
async def client(start: Start) -> AppClient:
    found = await start()
    assert (await found.post("/v1/models", json=spec())).status_code == 201
    return found


async def labelled(client: httpx.AsyncClient, item: dict[str, Any]) -> str:
    answer = (await client.post("/v1/models/weather/feedback", json={"items": [item]})).json()
    error = answer.get("error") or answer["items"][0].get("error")
    return str(error["code"] if error else answer["items"][0]["status"])


async def test_rows_are_labelled_by_the_keys_that_they_were_predicted_under(client: AppClient) -> None:
    body = {"inputs": [ROW, ROW, ROW], "keys": ["order-17", None, "ordre [18] é"]}
    answer = await client.post("/v1/models/weather/predict", json=body)
    ids = [row["id"] for row in answer.json()["predictions"]]
    for key, identifier in (("order-17", ids[0]), ("ordre [18] é", ids[2])):
        assert await labelled(client, {"key": key, "label": 1}) == "queued"
        assert await labelled(client, {"prediction_id": identifier, "label": 1}) == "duplicate"
        receipt = (await client.get("/v1/models/weather/receipts", params={"key": key})).json()
        assert receipt == {"id": f"key:{key}", "state": "queued"}
        assert (await client.get(f"/v1/models/weather/feedback/p:{identifier}")).json()["state"] == "queued"
    assert await labelled(client, {"key": "order-19", "label": 1}) == "key_unknown"
    lines = [json.loads(line) for line in (await client.get("/v1/models/weather/log")).text.splitlines()]
    assert [(line["key"], line["inputs"]) for line in lines] == [("order-17", ROW), ("ordre [18] é", ROW)]
    unknown = await client.get("/v1/models/weather/receipts", params={"key": "nobody"})
    assert (unknown.status_code, unknown.json()["error"]["details"]) == (404, {"field": "key", "value": "nobody"})


@pytest.mark.parametrize(
    "keys, place",
    [
        (["a"], "keys"),
        (["a", "b", "c"], "keys"),
        ([], "keys"),
        (["a", ""], "keys[1]"),
        (["a", "k" * 201], "keys[1]"),
        (["a", 7], "keys[1]"),
        ("ab", "keys"),
        ([["a"], ["b"]], "keys[0]"),
    ],
)
async def test_keys_that_do_not_fit_are_refused_with_their_place(client: AppClient, keys: Any, place: str) -> None:
    answer = await client.post("/v1/models/weather/predict", json={"inputs": [ROW, ROW], "keys": keys})
    assert answer.status_code == 422
    error = answer.json()["error"]
    assert error["details"]["field"] == place and error["message"].startswith(place)


async def test_no_keys_are_as_none(client: AppClient) -> None:
    answers = [
        await client.post("/v1/models/weather/predict", json={"inputs": [ROW]} | more) for more in ({}, {"keys": None})
    ]
    assert [answer.status_code for answer in answers] == [200, 200]


async def test_rows_of_fields_have_keys_too(client: AppClient) -> None:
    await client.post(
        "/v1/models", json={"name": "shop", "task": "classification", "inputs": FIELDS, "classes": [0, 1]}
    )
    for rows in ([{"size": 1, "colour": "red"}], [{"size": 1, "colour": "red", "unknown": 2}]):
        body = {"inputs": rows, "keys": [f"shop-{len(rows[0])}"]}
        assert (await client.post("/v1/models/shop/predict", json=body)).status_code == 200
        items = {"items": [{"key": f"shop-{len(rows[0])}", "label": 0}]}
        assert (await client.post("/v1/models/shop/feedback", json=items)).status_code == 202


async def test_the_inference_protocol_takes_keys_as_a_parameter(client: AppClient) -> None:
    tensor: dict[str, Any] = {"name": "inputs", "shape": [2, 8], "datatype": "FP32"}
    whole = {"parameters": {"keys": ["json-1", "json-2"]}, "inputs": [tensor | {"data": ROW + ROW}]}
    assert (await client.post("/v2/models/weather/infer", json=whole)).status_code == 200
    data = b"\0\0\0?" * 16
    binary = json.dumps(
        {
            "parameters": {"keys": ["bytes-1", None]},
            "inputs": [tensor | {"parameters": {"binary_data_size": len(data)}}],
        }
    ).encode()
    headers = {"Inference-Header-Content-Length": str(len(binary))}
    assert (await client.post("/v2/models/weather/infer", content=binary + data, headers=headers)).status_code == 200
    for key in ("json-1", "json-2", "bytes-1"):
        assert await labelled(client, {"key": key, "label": 0}) == "queued"
    for wrong in ("a", ["a"], [1, 2], {"a": "b"}):
        answer = await client.post("/v2/models/weather/infer", json=whole | {"parameters": {"keys": wrong}})
        assert answer.status_code == 400 and "keys" in answer.json()["error"], wrong


async def test_a_correction_and_what_it_corrects_name_each_other(client: AppClient) -> None:
    await client.post("/v1/models/weather/predict", json={"inputs": [ROW], "keys": ["a"]})
    assert await labelled(client, {"key": "a", "label": 1, "id": "first"}) == "queued"
    assert await labelled(client, {"key": "a", "label": 0, "id": "second"}) == "conflict"
    assert await labelled(client, {"key": "a", "label": 0, "id": "second", "revise": True}) == "queued"
    receipts = (await client.post("/v1/models/weather/receipts", json={"ids": ["first", "second", "key:a"]})).json()
    first = {"state": "revised", "n": 1, "revised_by": 2}
    second = {"state": "queued", "n": 2, "revises": 1}
    assert receipts["receipts"] == [{"id": "first", **first}, {"id": "second", **second}, {"id": "key:a", **second}]
    assert (await client.get("/v1/models/weather/feedback/first")).json() == {"id": "first", **first}
    assert (await client.get("/v1/models/weather/receipts?key=a")).json() == {"id": "second", **second}


async def test_keys_of_a_batch_are_of_its_own_rows(client: AppClient) -> None:
    """Requests that are computed together keep their keys."""
    rows = [[float(n)] * 8 for n in range(20)]
    calls = [
        client.post("/v1/models/weather/predict", json={"inputs": [row], **({"keys": [f"k{n}"]} if n % 3 else {})})
        for n, row in enumerate(rows)
    ]
    await asyncio.gather(*calls)

    async def is_learned() -> bool:
        statuses = [await labelled(client, {"key": f"k{n}", "label": 1}) for n in range(20) if n % 3]
        return set(statuses) <= {"queued", "duplicate"}

    await until_async(is_learned)
    lines = [json.loads(line) for line in (await client.get("/v1/models/weather/log")).text.splitlines()]
    assert {line["key"]: line["inputs"][0] for line in lines} == {f"k{n}": float(n) for n in range(20) if n % 3}
