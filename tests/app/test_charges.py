"""What a caller may ask for in a second, and that another is not charged for it."""

from __future__ import annotations

import pytest

from app.charges import BURST_SECONDS, Charges
from driftline.errors import Busy
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
