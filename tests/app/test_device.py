"""A device that is not there: no model is made for it, and a process that is to use it is not ready."""

from __future__ import annotations

import pytest

from driftline.doctor import device
from driftline.settings import Settings
from tests.app.conftest import Start
from tests.services import spec

pytestmark = pytest.mark.anyio
ABSENT = "cuda:99"


async def test_no_model_is_made_for_it(start: Start) -> None:
    client = await start()
    answer = await client.post("/v1/models", json=spec(device=ABSENT))
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["details"]["field"]) == (422, "device_missing", "device")
    assert error["message"].startswith("device: 'cuda:99' is not there: ")
    made = await client.post("/v1/models", json=spec(device="cpu", precision="bf16"))
    assert (made.status_code, made.json()["spec"]["device"]) == (201, "cpu"), made.text
    answer = await client.post("/v1/models/weather/predict", json={"inputs": [[0.0] * 8]})
    assert answer.status_code == 200


async def test_a_process_that_is_to_use_it_is_not_ready_and_the_doctor_says_why(start: Start) -> None:
    client = await start(device=ABSENT)
    answer = await client.get("/readyz")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "device_missing")
    assert answer.json()["error"]["message"].startswith("DRIFTLINE_DEVICE: 'cuda:99' is not there: ")
    answer = await client.post("/v1/models", json=spec())
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "device_missing")
    (finding,) = device.check(Settings(device=ABSENT))
    assert finding.level == "error" and "DRIFTLINE_DEVICE: 'cuda:99' is not there" in finding.message
    (finding,) = device.check(Settings(device="cpu"))
    assert finding.level == "ok"
