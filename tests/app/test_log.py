"""The kept log, as the API shows it."""

from __future__ import annotations

import json
from typing import Any

import httpx
import numpy as np
import pytest

from app.routes.log import lines_of
from driftline.spec import ModelSpec, parse
from tests.app.conftest import AppClient, create, predict

pytestmark = pytest.mark.anyio


async def feed(client: httpx.AsyncClient, *items: dict[str, Any]) -> None:
    answer = await client.post("/v1/models/weather/feedback", json={"items": list(items)})
    assert answer.status_code == 202 and answer.json()["accepted"] == len(items), answer.text


async def shown(client: httpx.AsyncClient, **parameters: int) -> list[dict[str, Any]]:
    answer = await client.get("/v1/models/weather/log", params=parameters)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    return [json.loads(line) for line in answer.text.splitlines()]


async def test_an_item_comes_back_with_its_inputs_and_what_was_answered(client: httpx.AsyncClient) -> None:
    await create(client)
    row = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 1e30]
    (prediction,) = (await predict(client, [row]))["predictions"]
    await feed(
        client,
        {"prediction_id": prediction["id"], "label": 1, "time": 12.5},
        {"inputs": [1.0] * 8, "label": 0, "id": "mine", "weight": 2.0, "route": "import"},
    )
    first, second = await shown(client)
    assert (first["n"], first["id"], first["label"], first["time"]) == (1, f"p:{prediction['id']}", 1, 12.5)
    assert first["inputs"] == [float(np.float32(number)) for number in row]
    assert first["answer"]["version"] == 1 and first["answer"]["label"] == prediction["label"]
    assert first["answer"]["probabilities"] == pytest.approx(prediction["probabilities"])
    assert (second["n"], second["id"], second["weight"], second["route"]) == (2, "mine", 2.0, "import")
    assert second["inputs"] == [1.0] * 8 and second["answer"] is None and second["time"] > 1e9


async def test_named_inputs_and_values_keep_their_shape(client: httpx.AsyncClient) -> None:
    inputs = {"image": {"shape": [2, 2]}, "place": {"shape": [1], "dtype": "int64"}}
    await create(client, task="regression", classes=None, inputs=inputs)
    (prediction,) = (await predict(client, {"image": [[[1, 2], [3, 4]]], "place": [[7]]}))["predictions"]
    await feed(client, {"prediction_id": prediction["id"], "label": 3.5})
    (item,) = await shown(client)
    assert item["inputs"] == {"image": [[1, 2], [3, 4]], "place": [7]}
    assert item["label"] == 3.5
    assert item["answer"] == {"version": 1, "value": pytest.approx(prediction["value"])}


async def test_any_part_of_a_log_without_its_commands(client: AppClient) -> None:
    await create(client)
    assert await shown(client) == []
    for number in range(3):
        await feed(client, {"inputs": [float(number)] * 8, "label": 0})
    await client.post("/v1/models/weather/pause", json={})
    await client.post("/v1/models/weather/resume", json={})
    await feed(client, *({"inputs": [float(number)] * 8, "label": 0} for number in range(3, 6)))
    for parameters, numbers in (
        ({}, [1, 2, 3, 6, 7, 8]),
        ({"start": 3}, [3, 6, 7, 8]),
        ({"start": 2, "limit": 3}, [2, 3, 6]),
        ({"start": 4, "limit": 1}, [6]),
        ({"start": 9}, []),
    ):
        assert [item["n"] for item in await shown(client, **parameters)] == numbers
        assert await read_by_twos(client, **parameters) == numbers


async def read_by_twos(client: AppClient, **parameters: int) -> list[int]:
    """The numbers of the items, where only two records of the log are read at once."""
    found = await client.services.catalog.get("weather")
    parts = lines_of(client.services.log(found.uid), parse(ModelSpec, found.spec), page=2, **parameters)
    return [json.loads(line)["n"] async for part in parts for line in part.splitlines()]


async def test_a_wrong_ask_says_why(client: httpx.AsyncClient) -> None:
    assert (await client.get("/v1/models/wether/log")).status_code == 404
    await create(client)
    for query in ("start=0", "limit=0", "start=x"):
        assert (await client.get(f"/v1/models/weather/log?{query}")).status_code == 422
