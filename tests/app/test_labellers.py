"""Whose labels are learned, over HTTP."""

from __future__ import annotations

import json

import pytest

from tests.app.conftest import AppClient, Start
from tests.services import spec

pytestmark = pytest.mark.anyio
ROW = [0.5] * 8


@pytest.fixture
async def client(start: Start) -> AppClient:
    found = await start()
    assert (await found.post("/v1/models", json=spec())).status_code == 201
    return found


async def test_a_label_names_whom_it_came_from(client: AppClient) -> None:
    items = [{"inputs": ROW, "label": 1, "id": "a", "source": "ward-7"}, {"inputs": ROW, "label": 1, "id": "b"}]
    assert (await client.post("/v1/models/weather/feedback", json={"items": items})).status_code == 202
    lines = [json.loads(line) for line in (await client.get("/v1/models/weather/log")).text.splitlines()]
    assert [line.get("labeller") for line in lines] == ["anyone/ward-7", None]
    receipt = (await client.get("/v1/models/weather/feedback/a")).json()
    assert receipt["labeller"] == "anyone/ward-7"


async def test_who_is_not_known_cannot_be_released(client: AppClient) -> None:
    assert (await client.get("/v1/models/weather/labellers")).json() == {"labellers": []}
    for decision in ("release", "drop"):
        answer = await client.post(f"/v1/models/weather/labellers/{decision}", json={"labeller": "k1/s"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_labeller")
        details = answer.json()["error"]["details"]
        assert (details["field"], details["value"]) == ("labeller", "k1/s")
