"""Sizes are priced before anything is allocated: at create, edit, dry run and upload, and at each new class."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
import torch
from safetensors.torch import save

from driftline.errors import InvalidInput
from driftline.networks.build import build
from driftline.networks.edit_session import Sources
from driftline.networks.edits import apply_all
from driftline.networks.model import Model
from driftline.networks.price import UNLIMITED, ModelBudget, NewClasses, price_of
from driftline.spec import ModelSpec, parse
from driftline.spec.parts.edits import parse_edits
from tests.app.conftest import AppClient, Start, create
from tests.app.conftest import start as start
from tests.networks.test_build import LAYER_SHAPES
from tests.services import spec

pytestmark = pytest.mark.anyio

MANY_BRANCHES = {f"branch{number}": [{"type": "relu"}] for number in range(1, 6001)}
BIG_NAMES = [str(number) + "x" * 2**20 for number in range(30)]
TOO_MUCH: dict[str, tuple[dict[str, Any], str]] = {
    "wide layers": ({"network": {"preset": "mlp", "hidden": [100_000, 2000]}}, "parameters"),
    "branches": ({"network": {"layers": [], "branches": MANY_BRANCHES}}, "layers"),
    "names of classes": ({"classes": BIG_NAMES}, "answer_bytes"),
    "classes": ({"classes": list(range(5100))}, "classes"),
    "a wide row": (
        {"inputs": {"shape": [100_000, 10_000]}, "network": {"layers": [{"type": "flatten"}]}},
        "parameters",
    ),
    "what layers give": (
        {"inputs": {"shape": [1, 8, 8]}, "network": {"layers": [{"type": "conv2d", "channels": 1, "padding": 30_000}]}},
        "parameters",
    ),
}


def refusal(answer: httpx.Response) -> tuple[int, str, str]:
    error = answer.json()["error"]
    details = error["details"]
    over = details["over"]
    assert (
        f"{details['price'][over]} {over.replace('_', ' ')} where {details['budget'][over]} is the most"
        in error["message"]
    )
    return answer.status_code, error["code"], over


def never(*_: Any, **__: Any) -> Any:
    raise AssertionError("it was built before it was priced")


@pytest.mark.parametrize("kind", TOO_MUCH)
async def test_too_much_is_refused_before_it_is_built(start: Any, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    changes, over = TOO_MUCH[kind]
    client: AppClient = await start()
    monkeypatch.setattr("app.routes.models.Learner.create", never)
    answer = await client.post("/v1/models", json=spec(**changes))
    assert refusal(answer) == (422, "over_budget", over)
    assert (await client.get("/v1/models")).json()["models"] == []


@pytest.mark.parametrize(
    "edit",
    [
        {"type": "widen", "layer": "linear1", "features": 10**6},
        {"type": "insert", "after": "relu1", "layer": {"type": "linear", "features": 10**6}},
        {"type": "concatenate", "branch": [{"type": "linear", "features": 10**6}]},
        {"type": "add_classes", "classes": list(range(2, 5100))},
        {"type": "add_classes", "classes": ["x" * 2**20]},
    ],
    ids=lambda edit: str(edit["type"]),
)
@pytest.mark.parametrize("is_dry", [True, False])
async def test_an_edit_is_priced_before_it_is_carried_out(start: Any, edit: dict[str, Any], is_dry: bool) -> None:
    client: AppClient = await start()
    layers = [{"type": "linear", "features": 64}, {"type": "relu"}]
    await create(client, network={"layers": layers}, inputs={"shape": [64]})
    answer = await client.post("/v1/models/weather/retrain", json={"edits": [edit], "dry_run": is_dry})
    assert refusal(answer)[:2] == (422, "over_budget")


async def test_more_is_allowed_where_the_settings_say_so(start: Any) -> None:
    client: AppClient = await start(max_classes=2)
    assert refusal(await client.post("/v1/models", json=spec(classes=[0, 1, 2])))[2] == "classes"
    client = await start(max_classes=-1, max_layers=5)
    await create(client, name="many", classes=list(range(5100)), recipe={"strategy": "finetune"})
    assert (
        refusal(await client.post("/v1/models", json=spec(network={"layers": 6 * [{"type": "relu"}]})))[2] == "layers"
    )


async def test_there_are_as_many_models_as_the_instance_allows(start: Any) -> None:
    client: AppClient = await start(max_models=1)
    await create(client)
    answer = await client.post("/v1/models", json=spec("another"))
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "over_budget")
    assert (await client.delete("/v1/models/weather")).status_code == 200
    await create(client, name="another")


async def test_a_file_of_many_tensors_is_refused(start: Any) -> None:
    client: AppClient = await start(max_tensors=50)
    weights = save({f"t{number}": torch.zeros(0) for number in range(51)})
    parts: Any = {"spec": (None, httpx.Request("POST", "http://x", json=spec()).content), "weights": weights}
    assert refusal(await client.post("/v1/models", files=parts))[2] == "tensors"


@pytest.mark.parametrize("number", [3e38, -3e38])
async def test_weights_whose_answers_are_no_numbers_are_refused(start: Any, number: float) -> None:
    client: AppClient = await start()
    wanted = spec(network={"layers": [{"type": "linear", "features": 8}]})
    state = build(parse(ModelSpec, wanted), [0, 1]).state_dict()
    weights = {
        name: torch.full_like(tensor, number)
        for name, tensor in state.items()
        if name.startswith(("network.", "output."))
    }
    body = httpx.Request("POST", "http://x", json=wanted).content
    parts: Any = {"spec": (None, body), "weights": save(weights)}
    answer = await client.post("/v1/models", files=parts)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "not_finite")
    assert (await client.get("/v1/models")).json()["models"] == []


async def test_labels_bring_as_many_classes_as_the_budget_allows(start: Any) -> None:
    client: AppClient = await start(max_classes=20, max_answer_bytes=1000)
    await create(client, classes="open")

    async def give(*labels: Any) -> list[str]:
        items = [{"inputs": [0.0] * 8, "label": label} for label in labels]
        answer = (await client.post("/v1/models/weather/feedback", json={"items": items})).json()
        return [item["status"] for item in answer.get("items") or answer["error"]["details"]["items"]]

    refused = {"prediction_id": "none", "label": "refused"}
    for name in ("a", "b"):
        items = [refused | {"label": f"{name}{number}"} for number in range(15)]
        assert (await client.post("/v1/models/weather/feedback", json={"items": items})).status_code == 422
    assert await give(*range(21)) == [*["queued"] * 20, "error"]
    assert await give(20, 3, "x") == ["error", "queued", "error"]
    assert await give("x" * 1000) == ["error"]


def test_a_label_is_priced_with_those_that_came_before() -> None:
    classes = NewClasses(ModelBudget())
    for label in range(5000):
        classes.take(classes.check(label))
    with pytest.raises(InvalidInput, match="5001 classes where 5000 is the most"):
        classes.check(5100)
    with pytest.raises(InvalidInput):
        classes.check(["a", "b"])
    classes.follow(range(100))
    with pytest.raises(InvalidInput):
        classes.check(5100)
    assert classes.check([99, 4999]) == {}


def test_a_label_is_priced_with_those_beside_it_and_one_that_is_only_looked_at_takes_nothing() -> None:
    classes = NewClasses(ModelBudget(classes=2))
    for label in range(10):
        assert [*classes.check(label)] == [label]
    assert [*classes.check("b", {"a": 3})] == ["b"]
    with pytest.raises(InvalidInput):
        classes.check("c", {"a": 3, "b": 3})


def test_an_embedding_is_priced() -> None:
    inputs = {"shape": [3], "dtype": "int64"}
    network = {"layers": [{"type": "embedding", "count": 10**8, "features": 10**5}]}
    with pytest.raises(InvalidInput, match="10000000600002 parameters"):
        ModelBudget().check_spec(parse(ModelSpec, spec(inputs=inputs, network=network)), [0, 1])


@pytest.mark.parametrize(("layer", "shape", "_"), LAYER_SHAPES)
def test_the_price_of_every_layer_is_what_it_takes(layer: dict[str, Any], shape: list[int], _: Any) -> None:
    """No layer may be one that the meta device does not know: it would be refused, or built unpriced."""
    wanted = parse(ModelSpec, spec(inputs={"shape": shape}, network={"layers": [layer]}))
    module = build(wanted, [0, 1])
    taken = [*module.network.state_dict().values(), *module.output.state_dict().values()]
    price = price_of(wanted, [0, 1])
    assert price.parameters == sum(tensor.numel() for tensor in taken)
    assert price.bytes >= sum(tensor.numel() * tensor.element_size() for tensor in taken)
    ModelBudget().check_spec(wanted, [0, 1])


def test_a_network_of_a_users_own_is_priced_as_it_grows() -> None:
    wanted = parse(ModelSpec, spec(network={"factory": "tests.networks.factories:plain"}, inputs={"shape": [4]}))
    factories = ["tests.networks.factories:plain"]
    before = Model(wanted, [0, 1], build(wanted, [0, 1], factories=factories))
    layer = next(name for name, part in before.module.network.named_modules() if isinstance(part, torch.nn.Linear))
    edits = parse_edits([{"type": "widen", "layer": layer, "features": 10**6}])
    with pytest.raises(InvalidInput, match="widen, which could add"):
        apply_all(edits, before, Sources(budget=ModelBudget(parameters=10**6)))
    with pytest.raises(InvalidInput, match="parameters where 10 is the most"):
        ModelBudget(**{**vars(UNLIMITED), "parameters": 10}).check_module(before.module)


def as_admins(client: AppClient, count: int) -> list[dict[str, str]]:
    keys = client.services.keys
    return [{"authorization": f"Bearer {keys.create(['admin'], name=f'{number}')}"} for number in range(count)]


async def made(client: AppClient, name: str, headers: dict[str, str]) -> httpx.Response:
    return await client.post("/v1/models", json=spec(name), headers=headers)


def over_shared(answer: httpx.Response) -> tuple[int, str, int]:
    error = answer.json()["error"]
    details = error["details"]
    over = details["over"]
    asked, most = details["price"][over], details["budget"][over]
    assert (
        f"{asked} " in error["message"]
        and f"where {most} is the most here (DRIFTLINE_MAX_{over.upper()})" in error["message"]
    )
    assert error["code"] == "over_budget"
    return answer.status_code, over, asked - most


async def test_a_key_makes_so_many_models_also_at_once_and_others_make_theirs(start: Start) -> None:
    client = await start(max_key_models=2)
    one, other = as_admins(client, 2)
    answers = await asyncio.gather(*(made(client, f"one{number}", one) for number in range(4)))
    assert sorted(answer.status_code for answer in answers) == [201, 201, 422, 422]
    assert {over_shared(answer) for answer in answers if answer.status_code == 422} == {(422, "key_models", 1)}
    assert (await made(client, "other", other)).status_code == 201
    name = next(answer.json()["name"] for answer in answers if answer.status_code == 201)
    await client.delete(f"/v1/models/{name}", headers=other)
    assert (await made(client, "another", one)).status_code == 201
    assert (await made(client, "more", one)).status_code == 422


async def test_the_weights_of_a_keys_models_are_counted_together_also_those_that_others_let_grow(start: Start) -> None:
    client = await start()
    (admin,) = as_admins(client, 1)
    await made(client, "first", admin)
    path, widen = "/v1/models/first/retrain", {"edits": [{"type": "widen", "layer": "linear1", "features": 256}]}
    sizes = (await client.post(path, json={"edits": [], "dry_run": True}, headers=admin)).json()
    size = sizes["after"]["bytes"]
    limited = await start(max_key_model_bytes=2 * size)
    one, other = as_admins(limited, 2)
    assert (await made(limited, "second", one)).status_code == 201
    assert (await made(limited, "third", one)).status_code == 201
    assert over_shared(await made(limited, "fourth", one)) == (422, "key_model_bytes", size)
    for body in (widen | {"dry_run": True}, widen):
        refused = await limited.post("/v1/models/second/retrain", json=body, headers=other)
        assert over_shared(refused)[:2] == (422, "key_model_bytes")
    same = await limited.post("/v1/models/second/retrain", json={}, headers=other)
    assert same.status_code == 202, "what does not grow always fits"


async def test_models_of_a_former_release_count_among_all(start: Start) -> None:
    client = await start()
    (admin,) = as_admins(client, 1)
    await made(client, "first", admin)
    await client.services.connection.redis.delete(client.services.connection.keys.model_prices)
    assert (await client.post("/v1/models/first/retrain", json={}, headers=admin)).status_code == 202
    (price,) = await client.services.connection.redis.hvals(client.services.connection.keys.model_prices)
    assert price.endswith(b" "), "whoever lets it be trained has not made it"
    await client.services.connection.redis.delete(client.services.connection.keys.model_prices)
    limited = await start(max_all_model_bytes=1000)
    refused = await made(limited, "second", admin)
    status, over, excess = over_shared(refused)
    assert (status, over) == (422, "all_model_bytes") and excess > 1000
    prices = await client.services.connection.redis.hkeys(client.services.connection.keys.model_prices)
    assert [uid.decode() for uid in prices] == [*(await client.services.catalog.names()).values()]
