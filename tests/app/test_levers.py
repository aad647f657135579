"""Every lever that docs/levers.md tells of can be pulled on a live model, by the calls that it names."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch

from driftline.learning.training.optimizers import TORCH_NAMES
from driftline.networks import bundle
from driftline.spec import Recipe
from driftline.spec.parts.averaging import AVERAGINGS
from driftline.spec.parts.losses import LOSSES
from driftline.spec.parts.schedules import SCHEDULES
from tests.app.conftest import Start
from tests.services import spec

pytestmark = pytest.mark.anyio

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "levers.md").read_text()
EDITS = [json.loads(given) for given in re.findall(r"^\| `(\{.+?\})` \| .+ \|$", PAGE, re.MULTILINE)]
LINEAR, RELU = {"type": "linear", "features": 64}, {"type": "relu"}
NETWORK = {"layers": [LINEAR, RELU, LINEAR, RELU]}
OWN = "tests.learning.functions:cross_entropy"
REGRESSION = {"mse", "mae", "huber", "quantile"}
PARTS: list[dict[str, Any]] = [
    *({"loss": name} for name in LOSSES.parts if name != "custom"),
    {"loss": {"name": "custom", "function": OWN}},
    {"distillation": {"weight": 1, "temperature": 2}},
    *({"optimizer": {"name": name}} for name in TORCH_NAMES),
    {"optimizer": {"clip": 1, "weight_decay": 0.1, "layers": {"linear1": 0.1, "output": 2}, "discriminative": 0.9}},
    *({"optimizer": {"schedule": name}} for name in SCHEDULES.parts),
    *({"averaging": name} for name in AVERAGINGS.parts),
    {"l2_sp": {"version": 1}},
    {"shrink_and_perturb": {}},
    {"refresh": {}},
    {"max_norm": {}},
    {"sanitize": "repair"},
]


async def test_a_recipes_levers_are_pulled_for_the_stream_and_for_a_job(start: Start) -> None:
    client = await start(factories=[OWN])
    for name, changes in (("classes", {}), ("values", {"task": "regression", "classes": None})):
        assert (await client.post("/v1/models", json=spec(name, network=NETWORK, **changes))).status_code == 201
    refused = []
    for recipe in PARTS:
        model = "/v1/models/values" if str(recipe.get("loss")) in REGRESSION else "/v1/models/classes"
        answers = [
            await client.patch(f"{model}/recipe", json=recipe),
            await client.post(f"{model}/retrain", json={"recipe": recipe}),
            await client.post(f"{model}/retrain", json={"recipe": recipe, "dry_run": True}),
        ]
        if [answer.status_code for answer in answers] != [202, 202, 200]:
            refused.append((recipe, [answer.text for answer in answers]))
    assert not refused


def test_every_field_of_a_recipe_on_the_page_is_among_these() -> None:
    pulled = {name for recipe in PARTS for name in recipe}
    others = {name for name in Recipe.model_fields if f"| `{name}` |" in PAGE} - {"layers", "discriminative"}
    assert others <= pulled


def fitting(edit: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What a spec needs for an edit to fit it, and what comes with it."""
    match edit["type"]:
        case "merge":
            return {"network": {"layers": [LINEAR, LINEAR]}}, [edit]
        case "grow_embedding":
            embedding = {"type": "embedding", "name": "users", "count": 10, "features": 4}
            network = {"layers": [embedding, {"type": "flatten"}]}
            return {"inputs": {"shape": [2], "dtype": "int64"}, "network": network}, [edit]
        case "merge_adapters":
            return {"network": NETWORK}, [{"type": "adapter", "rank": 2}, edit]
        case "merge_units":
            return {"network": NETWORK}, [{"type": "widen", "layer": "linear1", "features": 96, "noise": 0}, edit]
        case "average":
            return {"network": NETWORK}, [edit | {"versions": [1]}]
        case "remove_classes":
            return {"network": NETWORK}, [{"type": "add_classes", "classes": edit["classes"]}, edit]
        case "add_field":
            return {"network": NETWORK, "inputs": {"fields": {"more": "number"}}}, [edit]
        case "rename_field" | "drop_field":
            return {"network": NETWORK, "inputs": {"fields": {edit["field"]: "number", "more": "number"}}}, [edit]
    return {"network": NETWORK}, [edit]


async def test_edits_are_taken_for_a_job(client: httpx.AsyncClient) -> None:
    refused = []
    for number, edit in enumerate(EDITS):
        (changes, edits), name = fitting(edit), f"model{number}"
        assert (await client.post("/v1/models", json=spec(name, **changes))).status_code == 201
        bodies = [{"edits": edits, "dry_run": is_dry_run} for is_dry_run in (True, False)]
        answers = [await client.post(f"/v1/models/{name}/retrain", json=body) for body in bodies]
        if [answer.status_code for answer in answers] != [200, 202]:
            refused.append((edit, [answer.text for answer in answers]))
    assert len(EDITS) > 15 and not refused


async def test_an_edit_is_judged_by_the_weights_of_the_live_version(client: httpx.AsyncClient) -> None:
    alike = {
        "network.linear1.weight": torch.ones(64, 8),
        "network.linear1.bias": torch.zeros(64),
        "output.weight": torch.ones(2, 64),
        "output.bias": torch.zeros(2),
    }
    given = spec(network={"layers": [LINEAR, RELU]})
    parts: dict[str, tuple[str | None, str | bytes]] = {
        "spec": (None, json.dumps(given)),
        "weights": ("w", bundle.weights_to_bytes(alike)),
    }
    assert (await client.post("/v1/models", files=parts)).status_code == 201
    body = {"edits": [{"type": "merge_units", "layer": "linear1"}], "dry_run": True}
    found = (await client.post("/v1/models/weather/retrain", json=body)).json()
    assert found["after"]["layers"][0]["shape"] == [1] and found["keeps_function"]


async def test_a_dry_run_shows_which_classes_stay_and_the_last_one_cannot_go(client: httpx.AsyncClient) -> None:
    assert (await client.post("/v1/models", json=spec(classes=["a", "b"]))).status_code == 201
    one, both = (
        {"edits": [{"type": "remove_classes", "classes": gone}], "dry_run": True} for gone in (["a"], ["a", "b"])
    )
    found = (await client.post("/v1/models/weather/retrain", json=one)).json()
    assert [found[when]["layers"][-1]["shape"] for when in ("before", "after")] == [[2], [1]]
    for body in (both, both | {"dry_run": False}):
        answer = await client.post("/v1/models/weather/retrain", json=body)
        assert answer.status_code == 422 and answer.json()["error"]["details"]["field"] == "edits.0"
        assert "no class would be left" in answer.json()["error"]["message"]


async def test_a_rate_is_found_and_versions_that_are_not_kept_are_told(client: httpx.AsyncClient) -> None:
    await client.post("/v1/models", json=spec(network=NETWORK))
    find = {"recipe": {"optimizer": {"learning_rate": "find"}}}
    assert (await client.post("/v1/models/weather/retrain", json=find)).status_code == 202
    for body in (
        {"edits": [{"type": "average", "versions": [1, 9], "soup": "greedy"}]},
        {"recipe": {"l2_sp": {"version": 9}}},
    ):
        answer = await client.post("/v1/models/weather/retrain", json=body)
        assert answer.status_code == 404 and "no version 9" in answer.json()["error"]["message"]
