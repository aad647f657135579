"""A key does what it is for, of the models that it is for, and nothing else; and what it was refused is told."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from driftline.api.endpoint import Endpoint
from driftline.api.endpoints import ENDPOINTS
from driftline.api.scopes import Scope
from driftline.api_keys import KeyStore
from tests.api.test_endpoints import PARTS
from tests.app.conftest import AppClient, create, start
from tests.services import spec

pytestmark = pytest.mark.anyio
start = start

OWN, OTHERS = "team-a-1", "team-b-1"


@pytest.fixture
async def client(start: Any) -> AppClient:
    made: AppClient = await start()
    for name in (OWN, OTHERS):
        await create(made, name=name)
    return made


def key(client: AppClient, *scopes: Scope, models: tuple[str, ...] = (), name: str = "") -> dict[str, str]:
    """The headers of a call with a new key."""
    return {"authorization": f"Bearer {client.services.keys.create(scopes, name, models=models)}"}


def code(answer: httpx.Response) -> str:
    return str(answer.json()["error"]["code"])


@pytest.mark.parametrize(
    "endpoint", [each for each in ENDPOINTS if each.scopes], ids=lambda each: f"{each.method} {each.path}"
)
async def test_no_call_is_made_for_a_model_that_the_key_is_not_for(start: Any, endpoint: Endpoint[Any]) -> None:
    """Whatever it is sent: the gatekeeper reads no body. A call that spans all models is refused, or shows its own alone."""
    client: AppClient = await start()
    headers = key(client, "admin", models=("team-a-*",))
    answer = await client.request(endpoint.method, endpoint.url(PARTS | {"model": OTHERS}), headers=headers)
    if endpoint.is_filtered:
        assert "model" not in endpoint.parts
        return
    text = answer.json()["error"]
    assert answer.status_code == 403 and ("wrong_model" in str(text) or "this key is for" in str(text))


@pytest.mark.parametrize("content", ["", "{", "[]", '{"keys": [{"scopes": ["root"]}]}'])
async def test_keys_that_cannot_be_read_let_nobody_in_and_are_no_fault_of_the_server(start: Any, content: str) -> None:
    client: AppClient = await start()
    headers, path = key(client, "admin"), client.services.keys.path
    kept = path.read_text()
    path.write_text(content)
    for sent in ({}, headers, {"authorization": "Bearer a.b"}):
        answer = await client.get("/v1/models", headers=sent)
        assert (answer.status_code, code(answer)) == (503, "keys_unreadable")
        assert str(path) not in answer.text and path.name not in answer.text
    assert (await client.get("/livez")).status_code == 200
    path.write_text(kept)
    assert (await client.get("/v1/models", headers=headers)).status_code == 200


async def test_a_key_sees_its_own_models_alone(client: AppClient) -> None:
    headers = key(client, "admin", models=("team-a-*",), name="team a")
    everything = key(client, "admin")
    job = (await client.post(f"/v1/models/{OTHERS}/retrain", json={}, headers=everything)).json()["job_id"]
    own_job = (await client.post(f"/v1/models/{OWN}/retrain", json={}, headers=headers)).json()["job_id"]
    assert [model["name"] for model in (await client.get("/v1/models", headers=headers)).json()["models"]] == [OWN]
    events = (await client.get("/v1/events", headers=headers)).json()["events"]
    assert {event["model"] for event in events} == {OWN}
    for method in ("GET", "DELETE"):
        answer = await client.request(method, f"/v1/jobs/{job}", headers=headers)
        assert (answer.status_code, code(answer)) == (404, "unknown_job")
    assert (await client.get(f"/v1/jobs/{own_job}", headers=headers)).status_code == 200
    answer = await client.post("/v1/models", json=spec("team-b-2"), headers=headers)
    assert (answer.status_code, code(answer)) == (403, "wrong_model")
    assert (await client.post("/v1/models", json=spec("team-a-2"), headers=headers)).status_code == 201


@pytest.mark.parametrize("path", ["/v1/models/team-b-1", "/v1/models/team-b-1/predict", "/v2/models/team-b-1/infer"])
@pytest.mark.parametrize("change", ["{}", "{}/", "/{}", "{}?model=team-a-1", "/v1/models/team-a-1/../..{}"])
async def test_no_spelling_of_a_path_leads_to_another_model(client: AppClient, path: str, change: str) -> None:
    headers = key(client, "admin", models=("team-a-*",)) | {"content-type": "application/json"}
    for method in ("GET", "POST", "DELETE"):
        answer = await client.request(method, change.format(path), headers=headers, content=b"{}")
        assert answer.status_code in (403, 404, 405), (method, answer.text)
    assert OTHERS in await client.services.catalog.names()


@pytest.mark.parametrize("weight", [0, 0.5, 1000.0])
async def test_a_weight_needs_its_scope(client: AppClient, weight: float) -> None:
    item = {"inputs": [0.0] * 8, "label": 1, "weight": weight}
    call = f"/v1/models/{OWN}/feedback"
    answer = await client.post(call, json={"items": [item]}, headers=key(client, "feedback"))
    assert (answer.status_code, code(answer)) == (422, "missing_scope")
    lines = {"content-type": "application/x-ndjson"} | key(client, "feedback")
    line = (await client.post(f"{call}/stream", json=item, headers=lines)).json()
    assert line["error"]["code"] == "missing_scope"
    for scopes in (("feedback", "weights"), ("admin",)):
        answer = await client.post(call, json={"items": [item]}, headers=key(client, *scopes))
        assert answer.status_code == 202
    unweighted = {"items": [item | {"weight": 1}]}
    assert (await client.post(call, json=unweighted, headers=key(client, "feedback"))).status_code == 202


async def test_an_auditor_reads_who_did_what_and_changes_nothing(client: AppClient) -> None:
    auditor = key(client, "audit", name="auditor")
    phone = key(client, "predict", models=(OWN,), name="phone")
    reader = key(client, "metrics")
    assert code(await client.delete(f"/v1/models/{OWN}", headers=phone)) == "missing_scope"
    assert code(await client.get(f"/v1/models/{OTHERS}", headers=phone)) == "wrong_model"
    for _ in range(3):
        assert code(await client.get("/v1/models", headers={"authorization": "Bearer secret.secret"})) == "unknown_key"
    await client.services.refusals.tell(client.services.connection)
    found = (await client.get("/v1/events?kind=refused", headers=auditor)).json()["events"]
    told = {(event["actor"], event["details"]["code"], event["details"]["count"]) for event in found}
    assert told == {("phone", "missing_scope", 1), ("phone", "wrong_model", 1), ("nobody", "unknown_key", 3)}
    assert "secret.secret" not in str(found) and {event["details"].get("call") for event in found} == {
        *(f"DELETE /v1/models/{OWN}", f"GET /v1/models/{OTHERS}", None)
    }
    for headers in (reader, phone):
        assert (await client.get("/v1/events?kind=refused", headers=headers)).json()["events"] == []
    assert (await client.get("/v1/keys", headers=auditor)).status_code == 200
    for made in (
        client.post("/v1/keys", json={"scopes": ["admin"]}, headers=auditor),
        client.delete(f"/v1/models/{OWN}", headers=auditor),
    ):
        assert code(await made) == "missing_scope"


async def test_a_flood_of_refusals_is_few_events(client: AppClient) -> None:
    token = KeyStore(client.services.settings.keys_path).create(["predict"], models=(OWN,))
    headers = {"authorization": f"Bearer {token}"}
    for number in range(20):
        await client.get(f"/v1/models/m{number}", headers=headers)
    refusals = client.services.refusals
    for number in range(3000):
        refusals.note("wrong_model", client.services.keys.check(token), f"GET /{number}")
    assert len(refusals._counts) <= 1001
