"""API keys over HTTP: made, listed and revoked by an admin, and each time an event."""

from __future__ import annotations

from typing import Any

import pytest

from driftline.api_keys import KeyStore
from tests.app.conftest import AppClient

pytestmark = pytest.mark.anyio


async def make(client: AppClient, *scopes: str, name: str = "", key: str | None = None) -> Any:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    return await client.post("/v1/keys", json={"scopes": list(scopes), "name": name}, headers=headers)


async def events(client: AppClient, key: str) -> list[tuple[str, str]]:
    answer = await client.get("/v1/events", params={"kind": "key"}, headers={"authorization": f"Bearer {key}"})
    return [(event["actor"], event["message"]) for event in answer.json()["events"]]


async def test_a_key_is_made_used_listed_and_revoked(client: AppClient) -> None:
    assert (await client.get("/v1/keys")).json() == {"keys": []}
    answer = await make(client, "admin", name="me")
    assert answer.status_code == 201
    admin = answer.json()["key"]
    assert (await client.get("/v1/keys")).status_code == 401, "from the first key on, every call needs one"
    phone = (await make(client, "predict", "feedback", name="phone", key=admin)).json()["key"]
    headers = {"authorization": f"Bearer {admin}"}
    listed = (await client.get("/v1/keys", headers=headers)).json()["keys"]
    assert [(key["name"], key["scopes"]) for key in listed] == [("me", ["admin"]), ("phone", ["predict", "feedback"])]
    assert listed[1]["id"] == phone.partition(".")[0] and listed[1]["created"] > 1.7e9
    assert phone.partition(".")[2] not in str(listed)
    assert (await client.delete(f"/v1/keys/{listed[1]['id']}", headers=headers)).json() == listed[1]
    assert (await client.get("/v1/models", headers={"authorization": f"Bearer {phone}"})).status_code == 401
    identifier, other = (key["id"] for key in listed)
    assert await events(client, admin) == [
        ("me", f"the key {other} (phone) was revoked"),
        ("me", f"the key {other} (phone) was made"),
        ("local", f"the key {identifier} (me) was made"),
    ]


async def test_nobody_locks_all_out(client: AppClient) -> None:
    answer = await make(client, "predict")
    assert answer.status_code == 409 and answer.json()["error"]["code"] == "no_admin"
    assert (await client.get("/v1/keys")).json() == {"keys": []}, "nothing was changed"
    admin = (await make(client, "admin")).json()["key"]
    headers = {"authorization": f"Bearer {admin}"}
    identifier = admin.partition(".")[0]
    assert (await client.delete(f"/v1/keys/{identifier}", headers=headers)).status_code == 409
    another = (await make(client, "admin", key=admin)).json()["key"]
    assert (await client.delete(f"/v1/keys/{identifier}", headers=headers)).status_code == 200
    assert (await client.get("/v1/keys", headers={"authorization": f"Bearer {another}"})).status_code == 200


@pytest.mark.parametrize("scope", ["predict", "feedback", "metrics"])
async def test_others_than_an_admin_neither_see_nor_make_keys(client: AppClient, scope: str) -> None:
    store = KeyStore(client.services.settings.keys_path)
    store.create(["admin"])
    token = store.create([scope])
    headers = {"authorization": f"Bearer {token}"}
    assert (await client.get("/v1/keys", headers=headers)).status_code == 403
    assert (await make(client, "admin", key=token)).status_code == 403
    assert (await client.delete(f"/v1/keys/{token.partition('.')[0]}", headers=headers)).status_code == 403
    assert len(store.list()) == 2


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({}, "scopes"),
        ({"scopes": []}, "scopes"),
        ({"scopes": ["all"]}, "scopes"),
        ({"scopes": ["admin"], "name": 3}, "name"),
    ],
)
async def test_what_is_wrong_is_named_and_makes_nothing(client: AppClient, body: dict[str, Any], told: str) -> None:
    answer = await client.post("/v1/keys", json=body)
    assert answer.status_code == 422 and told in answer.text
    assert (await client.delete("/v1/keys/none")).status_code == 404
    assert (await client.get("/v1/keys")).json() == {"keys": []}
