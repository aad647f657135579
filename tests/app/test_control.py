"""What an admin asks is checked before it is told to the worker."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.services import spec

pytestmark = pytest.mark.anyio

MLP = {"preset": "mlp", "hidden": [6]}
WIDEN = {"type": "widen", "layer": "linear1", "features": 9}


async def retrain(client: httpx.AsyncClient, **body: Any) -> httpx.Response:
    return await client.post("/v1/models/weather/retrain", json=body)


async def log_length(client: httpx.AsyncClient) -> int:
    waiting: int = (await client.get("/v1/models/weather")).json()["waiting"]
    return waiting


async def test_a_dry_run_tells_structure_and_cost_and_begins_nothing(client: httpx.AsyncClient) -> None:
    assert (await client.post("/v1/models", json=spec(network=MLP))).status_code == 201
    answer = await retrain(client, edits=[WIDEN], dry_run=True)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    before, after = found["before"], found["after"]
    assert (before["parameters"], after["parameters"]) == (8 * 6 + 6 + 6 * 2 + 2, 8 * 9 + 9 + 9 * 2 + 2)
    assert [layer["name"] for layer in after["layers"]] == ["flatten1", "linear1", "relu1", "output"]
    assert after["bytes"] > before["bytes"] and after["flops"] > before["flops"] and found["keeps_function"]
    assert found["training"] == {"examples": 0, "updates": 0, "flops": 0}, "there is no label yet"
    assert await log_length(client) == 0


@pytest.mark.parametrize("is_dry_run", [False, True])
@pytest.mark.parametrize(
    ("body", "field", "told"),
    [
        ({"edits": [WIDEN, {"type": "merge", "layers": ["linear1", "relu1"]}]}, "edits.1", "relu1"),
        ({"edits": [{"type": "remove", "layer": "nothing"}]}, "edits.0", "nothing"),
        ({"recipe": {"optimizer": {"learning_rate": -1}}}, "recipe.optimizer.learning_rate", "-1"),
        ({"race": [{}, {}, {"loss": "mse"}]}, "race[2]", "mse"),
        ({"race": [{}, {"optimizer": {"name": "sgdd"}}]}, "race[1].recipe.optimizer.name", "sgdd"),
        ({"race": [{"edits": [WIDEN | {"layer": "linear7"}]}, {}]}, "race[0].edits.0", "linear7"),
        ({"race": [{}, "sgd"]}, "race[1]", "sgd"),
        ({"race": [{}]}, "race", "at least 2"),
        ({"race": [{}] * 17}, "race", "at most 16"),
    ],
)
async def test_what_does_not_fit_is_refused_with_its_place_and_reason(
    client: httpx.AsyncClient, body: dict[str, Any], field: str, told: str, is_dry_run: bool
) -> None:
    await client.post("/v1/models", json=spec(network=MLP))
    answer = await retrain(client, **body, dry_run=is_dry_run)
    error = answer.json()["error"]
    assert (answer.status_code, error["details"]["field"]) == (422, field), error
    assert told in error["message"]
    assert await log_length(client) == 0


@pytest.mark.parametrize(
    ("versions", "status", "field", "told"),
    [
        ([1], 422, "versions", "at least 2"),
        ([1, 1], 422, "versions", "not 1 with itself"),
        ([1, 0], 422, "versions.1", "greater than or equal to 1"),
        ([1, "x"], 422, "versions.1", "integer"),
        ([1, 7], 404, "version", "no version 7, or it is no longer kept"),
    ],
)
async def test_versions_that_cannot_be_compared_are_refused_by_name(
    client: httpx.AsyncClient, versions: list[Any], status: int, field: str, told: str
) -> None:
    await client.post("/v1/models", json=spec(network=MLP))
    answer = await client.post("/v1/models/weather/compare", json={"versions": versions})
    error = answer.json()["error"]
    assert (answer.status_code, error["details"]["field"]) == (status, field), error
    assert told in error["message"]
    assert await log_length(client) == 0


@pytest.mark.parametrize("is_dry_run", [False, True])
@pytest.mark.parametrize(
    "entry", [{"l2_sp": {"version": 99}}, {"edits": [{"type": "average", "versions": [1, 99]}]}], ids=["recipe", "edit"]
)
async def test_a_version_that_an_entry_of_a_race_names_must_be_kept(
    client: httpx.AsyncClient, entry: dict[str, Any], is_dry_run: bool
) -> None:
    await client.post("/v1/models", json=spec(network=MLP))
    answer = await retrain(client, race=[{}, entry], dry_run=is_dry_run)
    assert answer.status_code == 404 and "99" in answer.json()["error"]["message"]
    assert await log_length(client) == 0


async def test_a_race_that_could_not_be_judged_is_told_by_its_dry_run(client: httpx.AsyncClient) -> None:
    await client.post("/v1/models", json=spec(network=MLP))
    answer = await retrain(client, race=[{}, {}], dry_run=True)
    assert (answer.status_code, answer.json()["error"]["details"]) == (422, {"field": "race", "value": 0})


async def told(client: httpx.AsyncClient) -> int:
    """How many commands the model was told before this one."""
    number: int = (await client.post("/v1/models/weather/promote")).json()["command"]
    return number - 1


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "retrain", {"epochs": 2}),
        ("POST", "rollback", {"version": 1}),
        ("POST", "promote", {}),
        ("POST", "pause", {"reason": "a drill"}),
        ("PATCH", "recipe", {"updates": 3}),
    ],
)
async def test_a_call_with_the_same_key_is_done_once(
    client: httpx.AsyncClient, method: str, path: str, body: dict[str, Any]
) -> None:
    await client.post("/v1/models", json=spec(network=MLP))
    answers = [
        await client.request(method, f"/v1/models/weather/{path}", json=body, headers={"idempotency-key": key})
        for key in ("first", "first", "second")
    ]
    assert [answer.status_code for answer in answers] == [202] * 3, answers[0].text
    first, again, other = (answer.json() for answer in answers)
    assert first == again != other
    assert await told(client) == 2


async def test_a_key_that_was_used_for_another_call_is_a_conflict(client: httpx.AsyncClient) -> None:
    await client.post("/v1/models", json=spec())
    headers = {"idempotency-key": "mine"}
    assert (await client.post("/v1/models/weather/pause", json={}, headers=headers)).status_code == 202
    answer = await client.post("/v1/models/weather/resume", json={}, headers=headers)
    assert (answer.status_code, answer.json()["error"]["details"]["field"]) == (409, "Idempotency-Key")
    assert await told(client) == 1


async def test_without_a_key_every_call_is_another_one(client: httpx.AsyncClient) -> None:
    await client.post("/v1/models", json=spec())
    for _ in range(2):
        assert (await client.post("/v1/models/weather/promote")).status_code == 202
    assert await told(client) == 2
