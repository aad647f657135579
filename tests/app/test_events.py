"""What has happened is told in pages and as a stream, in order, and to whoever comes back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from app.event_feed import Batch, EventFeed
from app.routes.events import Wanted, _messages
from driftline.store.events import BEGINNING, END, EventRecord, happen, parse_cursor
from tests.app.conftest import AppClient, Start, create
from tests.waiting import until_async

pytestmark = pytest.mark.anyio

EVERYTHING = Wanted(BEGINNING, END, 100, None)


async def page(client: AppClient, path: str = "/v1/models/weather/events", **query: Any) -> dict[str, Any]:
    answer = await client.get(path, params=query)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def pause(client: AppClient, times: int, model: str = "weather") -> None:
    for number in range(times):
        command = ("pause", "resume")[number % 2]
        answer = await client.post(f"/v1/models/{model}/{command}", json={"reason": f"no. {number}"})
        assert answer.status_code == 202, answer.text


async def test_a_model_begins_with_the_event_of_its_creation(client: AppClient) -> None:
    await create(client)
    found = await page(client)
    (event,) = found["events"]
    assert found["next"] is None
    assert (event["n"], event["kind"], event["model"], event["version"]) == (1, "created", "weather", 1)
    assert event["actor"] == "local" and event["message"]


async def test_a_command_is_told_of_with_who_gave_it_and_why(client: AppClient) -> None:
    await create(client)
    await pause(client, 1)
    answer = await client.post("/v1/models/weather/pause")
    assert answer.status_code == 202, "a reason is not needed"
    without, told, _ = (await page(client))["events"]
    assert (told["kind"], told["actor"], told["reason"], told["n"]) == ("pause", "local", "no. 0", 2)
    assert without["reason"] == ""


async def test_pages_go_back_to_the_first_event_and_hold_each_once(client: AppClient) -> None:
    await create(client)
    await pause(client, 12)
    numbers: list[int] = []
    query: dict[str, Any] = {"limit": 5}
    while True:
        found = await page(client, **query)
        numbers += [event["n"] for event in found["events"]]
        if found["next"] is None:
            break
        query["before"] = found["next"]
    assert numbers == list(range(13, 0, -1))


async def test_events_are_found_by_kind_time_and_place(client: AppClient) -> None:
    await create(client)
    await pause(client, 6)
    whole = (await page(client))["events"]
    assert [event["n"] for event in (await page(client, kind="resume,created"))["events"]] == [7, 5, 3, 1]
    assert [event["n"] for event in (await page(client, after=whole[2]["id"]))["events"]] == [7, 6]
    assert [event["n"] for event in (await page(client, kind="pause", limit=1))["events"]] == [6]
    middle = whole[3]
    later = (await page(client, since=middle["time"]))["events"]
    earlier = (await page(client, until=middle["time"]))["events"]
    assert {event["n"] for event in later} | {event["n"] for event in earlier} == set(range(1, 8))
    assert middle["n"] in {event["n"] for event in later} and not {e["n"] for e in later} & {e["n"] for e in earlier}
    assert (await page(client, since=time.time() + 3600))["events"] == []


async def test_the_page_of_all_models_is_in_order_and_continues(client: AppClient) -> None:
    for name in ("one", "two", "three"):
        await create(client, name=name)
    for _ in range(4):
        for name in ("one", "two", "three"):
            await pause(client, 1, name)
    identifiers: list[str] = []
    query: dict[str, Any] = {"limit": 4}
    while True:
        found = await page(client, "/v1/events", **query)
        identifiers += [event["id"] for event in found["events"]]
        if found["next"] is None:
            break
        query["before"] = found["next"]
    assert len(identifiers) == 15 == len(set(identifiers))
    assert identifiers == sorted(identifiers, reverse=True), "ids are ordered"


async def test_a_removed_model_is_told_of_among_all(client: AppClient) -> None:
    await create(client)
    assert (await client.delete("/v1/models/weather")).status_code == 200
    (event,) = (await page(client, "/v1/events", kind="deleted"))["events"]
    assert (event["model"], event["actor"]) == ("weather", "local")
    assert (await client.get("/v1/models/weather/events")).status_code == 404


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"kind": "versions"}, "kind"),
        ({"before": "7"}, "before"),
        ({"after": "x"}, "after"),
        ({"limit": 0}, "limit"),
        ({"limit": 100_000}, "limit"),
        ({"since": "yesterday"}, "since"),
    ],
)
async def test_a_wrong_query_is_refused_by_field_and_value(client: AppClient, query: Any, field: str) -> None:
    await create(client)
    answer = await client.get("/v1/models/weather/events", params=query)
    assert answer.status_code == 422
    details = answer.json()["error"]["details"]
    assert details["field"].endswith(field) and str(details["value"]) == str(query[field])


async def taken(batches: AsyncIterator[Batch], count: int) -> list[str]:
    """The ids of the next events of a stream."""
    found: list[str] = []
    async with asyncio.timeout(60):
        async for batch in batches:
            found += [str(stored.cursor) for stored in batch]
            if len(found) >= count:
                break
    return found


async def test_a_stream_goes_on_where_it_broke_off(client: AppClient) -> None:
    await create(client)
    uid, feed = await client.services.catalog.uid("weather"), client.services.events
    first = (await page(client))["events"][0]["id"]
    await pause(client, 5)
    ids = [event["id"] for event in reversed((await page(client))["events"])]
    assert await taken(feed.of_model(uid, parse_cursor(first, "")), 5) == ids[1:]
    assert await taken(feed.of_model(uid, parse_cursor(ids[3], "")), 2) == ids[4:]


async def test_a_stream_brings_what_happens_as_it_happens(client: AppClient) -> None:
    await create(client)
    uid, feed = await client.services.catalog.uid("weather"), client.services.events
    end = parse_cursor((await page(client))["events"][0]["id"], "")
    waiting = asyncio.create_task(taken(feed.of_model(uid, end), 1))
    await asyncio.sleep(0)
    await pause(client, 1)
    assert await waiting == [(await page(client))["events"][0]["id"]]


async def test_a_stream_of_a_model_ends_with_its_removal(client: AppClient) -> None:
    await create(client)
    uid, feed = await client.services.catalog.uid("weather"), client.services.events
    end = parse_cursor((await page(client))["events"][0]["id"], "")
    assert (await client.delete("/v1/models/weather")).status_code == 200
    async with asyncio.timeout(60):
        batches = [batch async for batch in feed.of_model(uid, end)]
    assert [stored.event.kind for batch in batches for stored in batch] == ["deleted"]


async def test_a_stream_of_all_loses_nothing_over_any_break(client: AppClient) -> None:
    """It breaks after every single event, and goes on after the last one that it has seen."""
    for name in ("one", "two", "three"):
        await create(client, name=name)
    feed, seen, place = client.services.events, list[str](), None
    reader = await feed.all_events(None)
    for _ in range(5):
        for name in ("one", "two", "three"):
            await pause(client, 1, name)
        found = await taken(feed.of_all(reader), 3)
        seen += [found[0]]
        reader = await feed.all_events(parse_cursor(found[0], ""))
        again = await taken(feed.of_all(reader), 3)
        assert set(found) <= set(again)
        seen += again
        place = parse_cursor(again[-1], "")
        reader = await feed.all_events(place)
        await taken(feed.of_all(reader), 1)
    there = {event["id"] for event in (await page(client, "/v1/events", kind="pause,resume"))["events"]}
    assert there <= set(seen) and len(there) == 15


async def test_what_a_slow_round_may_have_missed_waits_for_the_next(client: AppClient) -> None:
    await create(client)
    feed = EventFeed(client.services.connection, 0.05, overlap_seconds=-10.0)
    reader = await feed.all_events(None)
    await pause(client, 1)
    assert await reader.read() == [], "it happened after the round began, as far as that round can know"
    reader.overlap_seconds = 10.0
    assert len(await reader.read()) == 1


async def test_the_messages_of_a_stream_are_those_of_the_standard(client: AppClient) -> None:
    async def batches() -> AsyncIterator[Batch]:
        for _ in range(3):
            yield []
        log = (await feed.all_events(None)).connection
        await happen(log, "k", EventRecord("key", "a key was made", "ops"))
        reader = await feed.all_events(parse_cursor("0000000000001-00000001-x", ""))
        yield await reader.read()

    feed = client.services.events
    sent = [text async for text in _messages(batches(), EVERYTHING, {}, heartbeat=0.0)]
    assert sent[:4] == [b": still here\n\n"] * 4, "silence is broken"
    lines = sent[4].decode().split("\n")
    assert lines[0].startswith("id: ") and lines[1] == "event: key" and lines[3:] == ["", ""]
    event = orjson.loads(lines[2].removeprefix("data: "))
    assert (event["id"], event["model"], event["actor"]) == (lines[0][4:], "", "ops")


async def test_an_alarm_is_acknowledged_once_and_stands_anew(client: AppClient) -> None:
    await create(client)
    uid = await client.services.catalog.uid("weather")
    path = "/v1/models/weather/alarms/step_failed/acknowledge"
    answer = await client.post(path, json={"reason": "seen"})
    assert answer.status_code == 404 and answer.json()["error"]["code"] == "unknown_alarm"
    alarms = client.services.alarms(uid)
    await alarms.raise_alarm("step_failed", "the network failed on record 7")
    assert (await shown(client))["state"] == "standing"
    for reason in ("seen", "again"):
        answer = await client.post(path, json={"reason": reason})
        assert answer.json() == {"alarm": "step_failed", "acknowledged_by": "local"}
    assert {key: (await shown(client))[key] for key in ("state", "acknowledged_by")} == {
        "state": "acknowledged",
        "acknowledged_by": "local",
    }
    await alarms.raise_alarm("step_failed", "the network failed on record 9")
    assert (await shown(client))["state"] == "standing"
    await alarms.end("step_failed", "disk")
    found = await shown(client)
    assert found["state"] == "over" and found["ended"] >= found["time"]
    kinds = [event["kind"] for event in (await page(client))["events"]]
    assert kinds == ["alarm_over", "alarm", "alarm_acknowledged", "alarm", "created"]


async def shown(client: AppClient) -> dict[str, Any]:
    """The one alarm of the model."""
    (alarm,) = (await client.get("/v1/models/weather/metrics")).json()["alarms"]
    found: dict[str, Any] = alarm
    return found


async def test_an_event_names_the_key_that_was_used(start: Start) -> None:
    client = await start()
    keys = client.app.gatekeeper.keys  # type: ignore[attr-defined]
    client.headers["authorization"] = f"Bearer {keys.create(['admin'], 'anna')}"
    await until_async(lambda: keys.is_required)
    await create(client)
    await pause(client, 1)
    assert {event["actor"] for event in (await page(client))["events"]} == {"anna"}
