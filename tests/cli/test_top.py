"""The screen of ``top``: what it shows is what the server says."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from textual.widgets import DataTable, Static

from driftline.cli.screen import Screen
from driftline.client.clients import Client
from tests.services import Instance, emptied, spec
from tests.waiting import SECONDS

pytestmark = pytest.mark.anyio


@pytest.fixture
def instance(shared_instance: Instance) -> Iterator[Instance]:
    with emptied(shared_instance) as instance:
        yield instance


async def eventually(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)


async def test_models_and_what_happens_are_shown_and_kept_up_to_date(instance: Instance) -> None:
    instance.client.create_model(spec("weather"))
    with Client(instance.url, retries=0) as client:
        async with Screen(client, 0.2).run_test(size=(140, 40)) as pilot:
            table: DataTable[Any] = pilot.app.query_one(DataTable)
            await eventually(lambda: table.row_count == 1)
            assert [str(cell) for cell in table.get_row_at(0)][:3] == ["weather", "idle", "1"]
            lines = pilot.app.query_one("#lines", Static)
            await eventually(lambda: "the model was made" in str(lines.content))
            instance.client.pause("weather")
            instance.client.create_model(spec("zoo"))
            await eventually(lambda: table.row_count == 2 and str(table.get_row_at(0)[1]) == "paused")
            await pilot.press("q")


async def test_a_server_that_is_gone_is_told_and_the_screen_stays() -> None:
    with Client("http://127.0.0.1:1", retries=0) as client:
        async with Screen(client, 0.2).run_test(size=(140, 40)) as pilot:
            note = pilot.app.query_one("#note", Static)
            await eventually(lambda: "cannot be reached" in str(note.content))
            assert pilot.app.query_one(DataTable).row_count == 0
