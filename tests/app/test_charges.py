"""What a caller may ask for in a second, and that another is not charged for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from app.charges import BURST_SECONDS, Charges
from driftline.errors import Busy, Unavailable
from driftline.store.connection import RedisConnection
from driftline.store.shared_charges import Bucket, SharedCharges
from tests.app.conftest import Start, create

pytestmark = pytest.mark.anyio


def test_a_caller_has_a_burst_and_then_its_rate_and_others_have_theirs() -> None:
    now = [0.0]
    charges = Charges({"requests": 10, "bytes": 0}, lambda: now[0])

    def taken(caller: str) -> int:
        count = 0
        while True:
            try:
                charges.take(caller, "requests", 1)
            except Busy as error:
                assert error.code == "rate_limited" and error.retry_after is not None and error.retry_after > 0
                return count
            count += 1

    assert taken("a") == 10 * BURST_SECONDS
    now[0] = 2.0
    assert taken("a") == 20
    assert taken("b") == 10 * BURST_SECONDS
    now[0] = 1000.0
    assert taken("a") == 10 * BURST_SECONDS, "no more than a burst is saved"
    charges.take("a", "bytes", 1e12)


def test_what_is_larger_than_a_burst_is_taken_once_and_made_up_for() -> None:
    now = [0.0]
    charges = Charges({"items": 100}, lambda: now[0])
    charges.take("a", "items", 10_000)
    with pytest.raises(Busy) as refused:
        charges.take("a", "items", 1)
    assert refused.value.retry_after == pytest.approx((10_000 - 100 * BURST_SECONDS + 1) / 100)
    now[0] = refused.value.retry_after or 0
    charges.take("a", "items", 1)


async def test_replicas_share_what_a_caller_may_have_and_its_debt(connection: RedisConnection) -> None:
    now = [0.0]
    shared = SharedCharges(connection, BURST_SECONDS)
    replicas = [Charges({"requests": 0.001, "items": 100}, lambda: now[0]) for _ in range(3)]
    for replica in replicas:
        replica.take("a", "items", 400)
        await replica.settle(shared)
    # 1200 were taken of 500, and the last one knows it.
    with pytest.raises(Busy) as refused:
        replicas[-1].take("a", "items", 1)
    assert 1 < (refused.value.retry_after or 0) <= (1200 - 500 + 1) / 100
    replicas[0].take("a", "items", 50)
    await replicas[0].settle(shared)
    with pytest.raises(Busy):
        replicas[0].take("a", "items", 1)
    replicas[0].take("b", "items", 1)


async def test_an_outage_of_the_store_is_no_debt_and_each_process_counts_by_itself(connection: RedisConnection) -> None:
    class Away(SharedCharges):
        async def charge(self, taken: Mapping[Bucket, float], rates: Mapping[Any, float]) -> dict[Bucket, float]:
            raise Unavailable("away", code="store_unavailable")

    now = [0.0]
    charges = Charges({"items": 100}, lambda: now[0])
    for _ in range(10):
        charges.take("a", "items", 500)
        with pytest.raises(Busy):
            charges.take("a", "items", 1)
        with pytest.raises(Unavailable):
            await charges.settle(Away(connection, BURST_SECONDS))
        now[0] += 10
    await charges.settle(SharedCharges(connection, BURST_SECONDS))
    charges.take("a", "items", 1)


async def test_a_key_is_charged_for_requests_bytes_and_labels(start: Start) -> None:
    client = await start(key_requests=1000, key_bytes=1000, key_items=1)
    keys = client.services.keys
    admin, labeller = (f"Bearer {keys.create([scope])}" for scope in ("admin", "feedback"))
    client.headers["authorization"] = admin
    await create(client)
    items = {"items": [{"inputs": [0.5] * 8, "label": 1}] * 20}
    client.headers["authorization"] = labeller
    assert (await client.post("/v1/models/weather/feedback", json=items)).status_code == 202
    refused = await client.post("/v1/models/weather/feedback", json=items)
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limited")
    assert int(refused.headers["retry-after"]) >= 1
    client.headers["authorization"] = admin
    assert (await client.post("/v1/models/weather/feedback", json=items)).status_code == 202
    rows = {"inputs": [[0.123456789] * 8] * 100}
    assert (await client.post("/v1/models/weather/predict", json=rows)).status_code in (200, 429)
    assert (await client.post("/v1/models/weather/predict", json=rows)).status_code == 429


async def test_a_key_is_charged_for_rows_however_they_come(start: Start) -> None:
    client = await start(key_rows=2)
    keys = client.services.keys
    admin, other, one = (f"Bearer {keys.create([scope])}" for scope in ("admin", "predict", "predict"))
    client.headers["authorization"] = admin
    await create(client)
    asked = {
        "/v1/models/weather/predict": {"inputs": [[0.5] * 8] * 20},
        "/v2/models/weather/infer": {
            "inputs": [{"name": "inputs", "shape": [20, 8], "datatype": "FP32", "data": [0.5] * 160}]
        },
    }
    for key, paths in ((other, list(asked)), (one, list(asked)[::-1])):
        client.headers["authorization"] = key
        assert (await client.post(paths[0], json=asked[paths[0]])).status_code == 200
        refused = await client.post(paths[1], json=asked[paths[1]])
        assert refused.status_code == 429 and "2 rows a second" in refused.text


async def test_a_key_is_charged_for_jobs_and_their_dry_runs_and_not_for_the_same_call_again(start: Start) -> None:
    client = await start(key_jobs=0.5)
    await create(client)
    path, again = "/v1/models/weather/retrain", {"Idempotency-Key": "k"}
    first = await client.post(path, json={}, headers=again)
    assert first.status_code == 202
    assert (await client.post(path, json={}, headers=again)).json() == first.json()
    versions = {"versions": [1, 2]}
    for other, body in ((path, {}), (path, {"dry_run": True}), ("/v1/models/weather/compare", versions)):
        refused = await client.post(other, json=body)
        assert refused.status_code == 429 and "0.5 jobs a minute" in refused.text
        assert int(refused.headers["retry-after"]) > 60
    refused = await client.post("/v1/models/weather/forget", json={"ids": ["a"], "dry_run": True})
    assert refused.status_code == 429
