"""What one key predicts and labels is not there for another one, by any call; an admin sees all."""

from __future__ import annotations

from typing import Any

import httpx
import msgspec
import pytest

from driftline.store.owners import stored_name
from driftline.store.rejected import RejectedLabels, RejectedRecord
from tests.app.conftest import AppClient, create, start
from tests.waiting import until_async

pytestmark = pytest.mark.anyio
start = start
CALL = "/v1/models/weather"
ROW = [0.0] * 8


def headers(client: AppClient, *scopes: Any, owner: str = "") -> dict[str, str]:
    return {"authorization": f"Bearer {client.services.keys.create(scopes, owner=owner)}"}


async def label(client: AppClient, holder: dict[str, str], **item: Any) -> str:
    answer = await client.post(f"{CALL}/feedback", json={"items": [item]}, headers=holder)
    body = answer.json()
    (told,) = body["items"] if answer.status_code == 202 else body["error"]["details"]["items"]
    return str(told["error"]["code"] if "error" in told else told["status"])


async def predict(client: AppClient, holder: dict[str, str], version: int, key: str) -> str:
    if version == 1:
        answer = await client.post(f"{CALL}/predict", json={"inputs": [ROW], "keys": [key]}, headers=holder)
        found = answer.json()["predictions"][0]["id"]
    else:
        tensor = {"name": "inputs", "shape": [1, 8], "datatype": "FP32", "data": ROW}
        body = {"parameters": {"keys": [key]}, "inputs": [tensor]}
        answer = await client.post("/v2/models/weather/infer", json=body, headers=holder)
        found = answer.json()["parameters"]["prediction_id"]
    await client.services.prediction_writer.flush()
    return str(found)


@pytest.mark.parametrize("version", [1, 2])
async def test_what_a_key_has_made_is_nothing_to_another_one(start: Any, version: int) -> None:
    client: AppClient = await start()
    await create(client)
    a, b = (headers(client, "predict", "feedback") for _ in range(2))
    admin = headers(client, "admin")
    own = await predict(client, a, version, "order-17")
    for about in ({"prediction_id": own}, {"key": "order-17"}):
        never: dict[str, str] = {name: value[:-1] + "8" for name, value in about.items()}
        assert await label(client, b, **about, label=1) == await label(client, b, **never, label=1)
    assert await label(client, a, key="order-17", label=1) == "queued"
    assert await label(client, a, id="mine", inputs=ROW, label=1) == "queued"
    for path, named in (
        ("feedback/mine", "mine"),
        ("feedback/key:order-17", "key:order-17"),
        (f"feedback/p:{own}", f"p:{own}"),
        ("receipts?key=order-17", "order-17"),
    ):
        never_path = path[:-1] + "8"
        seen, unseen, none = [
            await client.get(f"{CALL}/{each}", headers=holder)
            for each, holder in ((path, admin), (path, b), (never_path, b))
        ]
        assert seen.status_code == 200 or path.startswith("feedback/p:"), "what goes by a key goes by that alone"
        assert (unseen.status_code, unseen.text) == (404, none.text.replace(named[:-1] + "8", named))
        assert (await client.get(f"{CALL}/{path}", headers=a)).text == seen.text
    ids = {"ids": ["mine", "key:order-17"]}
    listed = {
        name: [each["state"] for each in answer.json()["receipts"]]
        for name, answer in {
            "a": await client.post(f"{CALL}/receipts", json=ids, headers=a),
            "b": await client.post(f"{CALL}/receipts", json=ids, headers=b),
            "admin": await client.post(f"{CALL}/receipts", json=ids, headers=admin),
        }.items()
    }
    assert listed == {"a": ["queued"] * 2, "b": ["unknown"] * 2, "admin": ["queued"] * 2}
    assert await label(client, b, id="mine", inputs=ROW, label=0) == "queued", "ids are within their key"
    assert (await client.get(f"{CALL}/log", headers=b)).status_code == 403
    shown = (await client.get(f"{CALL}/log", headers=admin)).text.splitlines()
    assert [httpx.Response(200, text=line).json()["id"] for line in shown] == ["key:order-17", "mine", "mine"]


async def test_keys_of_one_owner_share_what_they_make(start: Any) -> None:
    client: AppClient = await start()
    await create(client)
    phone, desk = (headers(client, scope, owner="shop") for scope in ("predict", "feedback"))
    own = await predict(client, phone, 1, "order-17")
    assert await label(client, desk, prediction_id=own, label=1) == "queued"
    assert await label(client, desk, key="order-17", label=1) == "duplicate"
    answer = await client.get(f"{CALL}/receipts?key=order-17", headers=desk)
    assert answer.json()["state"] == "queued"
    bad = {"scopes": ["predict"], "owner": "a\x1fb"}
    answer = await client.post("/v1/keys", json=bad, headers=headers(client, "admin"))
    assert (answer.status_code, answer.json()["error"]["details"]["field"]) == (422, "owner")


async def test_keys_of_former_releases_share_what_was_there(start: Any) -> None:
    """What was made without keys, or with keys that have no owner, goes on under the same names."""
    client: AppClient = await start()
    await create(client)
    own = await predict(client, {}, 1, "order-17")
    assert await label(client, {}, id="mine", inputs=ROW, label=1) == "queued"
    admin = headers(client, "admin")
    keys = client.services.keys
    former = [headers(client, "predict", "feedback") for _ in range(2)]
    text = keys.path.read_text()
    for key in keys.list():
        text = text.replace(f',\n      "owner": "{key.id}"', "")
    keys.path.write_text(text)
    assert await until_async(lambda: {key.owner for key in keys.list()} == {""})
    for holder in (*former, admin):
        assert await label(client, holder, id="mine", inputs=ROW, label=1) == "duplicate"
    assert await label(client, former[0], prediction_id=own, label=1) == "queued"
    assert await label(client, former[1], key="order-17", label=1) == "duplicate"
    assert await label(client, headers(client, "feedback"), prediction_id=own, label=1) == "prediction_unknown"


async def test_labels_that_were_not_learned_are_listed_to_whose_they_are(start: Any) -> None:
    client: AppClient = await start()
    await create(client)
    uid = await client.services.catalog.uid("weather")
    connection = client.services.connection
    labels = RejectedLabels(connection, uid)
    a, b, admin = headers(client, "feedback", owner="a"), headers(client, "feedback"), headers(client, "admin")
    for n, owner in enumerate(["a", "", "a"], start=1):
        record = RejectedRecord(n, stored_name(f"item-{n}", owner), "rejected", "it does not fit", 1.0)
        await connection.redis.zadd(labels.key, {msgspec.json.encode(record): n})
    seen = {
        name: [each["id"] for each in (await client.get(f"{CALL}/rejected", headers=holder)).json()["labels"]]
        for name, holder in (("a", a), ("b", b), ("admin", admin))
    }
    assert seen == {"a": ["item-3", "item-1"], "b": [], "admin": ["item-3", "item-2", "item-1"]}
