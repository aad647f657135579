"""What has happened is told in pages and as a stream, each event once and in order."""

from __future__ import annotations

import pytest

from tests.app.conftest import AppClient, create

pytestmark = pytest.mark.anyio


async def test_a_model_begins_with_the_event_of_its_creation(client: AppClient) -> None:
    await create(client)
    page = (await client.get("/v1/models/weather/events")).json()
    (event,) = page["events"]
    assert page["next"] is None
    assert (event["n"], event["kind"], event["model"], event["version"]) == (1, "created", "weather", 1)
