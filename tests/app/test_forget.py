"""What is to be forgotten, over HTTP: what would be, what is asked for, and what is said of it afterwards."""

from __future__ import annotations

from typing import Any

import pytest

from driftline.records import Command
from driftline.store.erasure import Erasure
from driftline.store.selection import Selection, find
from tests.app.conftest import AppClient, create
from tests.app.test_labels import ROW, labelled

pytestmark = pytest.mark.anyio


async def ask(client: AppClient, **body: Any) -> Any:
    return await client.post("/v1/models/weather/forget", json=body)


async def test_a_dry_run_says_what_would_be_forgotten_and_begins_nothing(client: AppClient) -> None:
    await create(client)
    body = {"inputs": [ROW, ROW], "keys": ["order-17", "order-18"]}
    await client.post("/v1/models/weather/predict", json=body)
    await client.services.prediction_writer.flush()
    assert await labelled(client, {"key": "order-17", "label": 1}) == "queued"
    assert await labelled(client, {"inputs": ROW, "label": 1, "id": "mine", "source": "crm"}) == "queued"
    found = (await ask(client, keys=["order-17", "order-18", "nobody"], ids=["mine", "no"], dry_run=True)).json()
    nothing = {"relearned": 0, "unlearned": True, "versions": []}
    assert found == {"labels": 2, "learned": 0, "predictions": 2, "unknown": ["nobody", "no"], **nothing}
    assert (await ask(client, source="crm", since=1.0, dry_run=True)).json()["labels"] == 1
    assert (await ask(client, source="crm", until=1.0, dry_run=True)).json()["labels"] == 0
    uid = await client.services.catalog.uid("weather")
    assert await client.services.log(uid).newest() == 2


async def test_it_is_a_job_that_is_asked_for_once(client: AppClient) -> None:
    await create(client)
    for _ in range(2):
        headers = {"Idempotency-Key": "one"}
        answer = await client.post(
            "/v1/models/weather/forget", json={"keys": ["a"], "reason": "asked"}, headers=headers
        )
        assert answer.status_code == 202
    uid = await client.services.catalog.uid("weather")
    job = answer.json()["job_id"]
    (entry,) = await client.services.log(uid).since(1, 10)
    assert isinstance(entry.record, Command) and entry.record.kind == "forget"
    asked = {"keys": ["a"], "ids": [], "source": None, "since": None, "until": None}
    assert (entry.record.arguments, entry.record.reason) == (asked, "asked")
    assert (await client.get(f"/v1/jobs/{job}")).json()["state"] == "queued"


@pytest.mark.parametrize(
    "body, field",
    [
        ({}, "keys"),
        ({"keys": [], "ids": []}, "keys"),
        ({"keys": [""]}, "keys.0"),
        ({"ids": ["x" * 201]}, "ids.0"),
        ({"source": 7}, "source"),
        ({"since": -1}, "since"),
        ({"untill": 5.0, "keys": ["a"]}, "untill"),
    ],
)
async def test_what_cannot_be_meant_is_refused_and_named(client: AppClient, body: dict[str, Any], field: str) -> None:
    await create(client)
    answer = await ask(client, **body)
    assert answer.status_code == 422
    assert answer.json()["error"]["details"]["field"] == field


async def test_what_was_forgotten_is_told_by_its_receipt_and_is_not_taken_again(client: AppClient) -> None:
    await create(client)
    item = {"inputs": ROW, "label": 1, "key": "order-17"}
    assert await labelled(client, item) == "queued"
    services = client.services
    uid = await services.catalog.uid("weather")
    records = await find(services.log(uid), Selection(keys=("order-17",)), 10, 0)
    await Erasure(services.connection, uid, 0).receipts(records)
    receipt = (await client.get("/v1/models/weather/receipts", params={"key": "order-17"})).json()
    assert receipt == {"id": "key:order-17", "state": "forgotten", "reason": "it was erased"}
    assert await labelled(client, item) == "duplicate"
    assert await labelled(client, item | {"label": 0}) == "conflict"
    assert await labelled(client, item | {"label": 0, "revise": True}) == "forgotten"
