"""The page that describes the calls: complete, with examples that work, and from this server alone."""

from __future__ import annotations

import re
from typing import Any

import httpx
import jsonschema
import pytest

from tests.services import spec

pytestmark = pytest.mark.anyio


async def operations(client: httpx.AsyncClient) -> dict[str, dict[str, Any]]:
    schema = (await client.get("/openapi.json")).json()
    return {f"{verb.upper()} {path}": call for path, calls in schema["paths"].items() for verb, call in calls.items()}


async def test_every_call_has_a_summary_and_an_example(client: httpx.AsyncClient) -> None:
    for name, call in (await operations(client)).items():
        assert call["summary"], name
        if name == "GET /metrics":
            continue
        answers = [content for status, answer in call["responses"].items() for content in examples(answer)]
        assert answers, f"{name} shows no answer"
        if "requestBody" in call:
            schema = (await client.get("/openapi.json")).json()
            assert [*examples(call["requestBody"]), *schema_examples(call["requestBody"], schema)], name


def examples(part: dict[str, Any]) -> list[Any]:
    return [content["example"] for content in part.get("content", {}).values() if "example" in content]


def schema_examples(part: dict[str, Any], schema: dict[str, Any]) -> list[Any]:
    found = []
    for content in part["content"].values():
        described = content.get("schema", {})
        if "$ref" in described:
            described = schema["components"]["schemas"][described["$ref"].rsplit("/", 1)[1]]
        found += described.get("examples", [])
    return found


def validate(value: Any, content: dict[str, Any]) -> None:
    jsonschema.validate(value, content["content"]["application/json"]["schema"])


@pytest.mark.parametrize("changes", [{}, {"classes": "open"}, {"task": "regression", "classes": None}])
async def test_the_fast_path_calls_take_and_answer_what_the_page_says(
    client: httpx.AsyncClient, changes: dict[str, Any]
) -> None:
    assert (await client.post("/v1/models", json=spec(**changes))).status_code == 201
    calls = await operations(client)
    tensor = {"name": "inputs", "shape": [2, 8], "datatype": "FP32", "data": [0.0] * 16}
    for name, path, body in (
        ("POST /v1/models/{model}/predict", "/v1/models/weather/predict", {"inputs": [[0.0] * 8] * 2}),
        ("POST /v2/models/{model}/infer", "/v2/models/weather/infer", {"id": "1", "inputs": [tensor]}),
        (
            "POST /v2/models/{model}/versions/{version}/infer",
            "/v2/models/weather/versions/1/infer",
            {"inputs": [tensor]},
        ),
    ):
        call = calls[name]
        validate(body, call["requestBody"])
        answer = await client.post(path, json=body)
        validate(answer.json(), call["responses"][str(answer.status_code)])
        wrong = await client.post(path, json={"inputs": []})
        validate(wrong.json(), call["responses"][str(wrong.status_code)])
        validate(call["requestBody"]["content"]["application/json"]["example"], call["requestBody"])
        validate(call["responses"]["200"]["content"]["application/json"]["example"], call["responses"]["200"])


async def test_the_examples_of_create_and_predict_work(client: httpx.AsyncClient) -> None:
    calls = await operations(client)
    spec = calls["POST /v1/models"]["requestBody"]["content"]["application/json"]["example"]
    assert (await client.post("/v1/models", json=spec)).status_code == 201
    body = calls["POST /v1/models/{model}/predict"]["requestBody"]["content"]["application/json"]["example"]
    answer = await client.post(f"/v1/models/{spec['name']}/predict", json=body)
    shown = calls["POST /v1/models/{model}/predict"]["responses"]["200"]["content"]["application/json"]["example"]
    assert answer.json().keys() == shown.keys()
    assert answer.json()["predictions"][0].keys() == shown["predictions"][0].keys()


async def test_the_page_and_all_that_it_loads_come_from_this_server(client: httpx.AsyncClient) -> None:
    page = (await client.get("/docs")).text
    loaded = re.findall(r"(?:src|href)=\"([^\"]+)\"", page)
    assert len(loaded) >= 2
    for url in loaded:
        assert not url.startswith(("http", "/")), f"it stands beside the page, wherever a proxy shows that: {url}"
        assert (await client.get(f"/{url}")).status_code == 200, url
