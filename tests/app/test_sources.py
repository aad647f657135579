"""Sources through the API: made, read, paused, changed and removed without a restart; what was refused is sent again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from driftline.store.sources import SourceBook, SourceState
from driftline.support.tasks import Troubles, end
from tests.app.conftest import AppClient, Start, source_as
from tests.services import spec
from tests.waiting import until_async
from worker.model_store import ModelStore
from worker.sources.keeper import SourceKeeper

pytestmark = pytest.mark.anyio

PATH, DEAD = "/v1/models/weather/sources", "/v1/models/weather/dead-letters"


def described(client: AppClient, **changes: Any) -> dict[str, Any]:
    url = str(client.services.settings.redis_url)
    return {"type": "redis_stream", "name": "labels", "url": url, "stream": stream(client)} | changes


def stream(client: AppClient) -> str:
    return f"{client.services.settings.prefix}labels"


async def add(client: AppClient, *texts: str, **fields: Any) -> None:
    for text in texts:
        entry = {"inputs": json.dumps([0.1] * 8), "label": text} | fields
        await client.services.connection.redis.xadd(stream(client), entry)


@asynccontextmanager
async def worker(client: AppClient) -> AsyncIterator[SourceKeeper]:
    """What reads the sources of the model, as the worker that owns it does."""
    services = client.services
    uid = await services.catalog.uid("weather")
    keeper = SourceKeeper(services.connection, [], [], Troubles(), poll_seconds=0.02)
    keeper.add("weather", ModelStore(services.connection, services.artifacts, uid, services.settings))
    running = asyncio.create_task(keeper.run())
    try:
        yield keeper
    finally:
        await end(running)
        await keeper.remove(uid)


async def shows(client: AppClient, **wanted: Any) -> dict[str, Any]:
    return await source_as(client, f"{PATH}/labels", **wanted)


async def test_a_source_is_made_read_paused_changed_and_removed_while_the_worker_runs(weather: AppClient) -> None:
    assert (await weather.get(PATH)).json() == {"sources": []}
    async with worker(weather):
        await add(weather, "1", "0")
        made = await weather.post(PATH, json=described(weather))
        assert made.status_code == 201
        assert made.json()["state"] == "starting"
        await shows(weather, state="running", taken=2, lag_records=0, origin="api")

        paused = await weather.patch(f"{PATH}/labels", json={"paused": True})
        assert paused.json()["state"] == "paused"
        uid = await weather.services.catalog.uid("weather")
        keys = weather.services.connection.keys.of(uid)

        async def is_told() -> bool:
            text = await weather.services.connection.redis.hget(keys.source_states, "labels")
            return bool(json.loads(text)["state"] == "paused")

        await until_async(is_told)
        await add(weather, "1")
        assert await weather.services.log(uid).newest() == 2
        await weather.patch(f"{PATH}/labels", json={"paused": False, "max_rate": 1000})
        changed = await shows(weather, state="running", taken=1)
        assert changed["spec"]["max_rate"] == 1000

        assert (await weather.delete(f"{PATH}/labels")).json() == {"removed": "labels"}
        assert (await weather.get(PATH)).json() == {"sources": []}
        await add(weather, "0")
        await weather.post(PATH, json=described(weather, name="again"))

        async def goes_on() -> bool:
            return await weather.services.log(uid).newest() == 4

        await until_async(goes_on)
        await weather.delete(f"{PATH}/again", params={"forget": True})
        await weather.post(PATH, json=described(weather, mapping={"inputs": "inputs", "id": "missing"}))
        await shows(weather, state="running", taken=4)
    events = (await weather.get("/v1/models/weather/events", params={"kind": "source"})).json()["events"]
    told = [event["message"] for event in events]
    for what in ("made", "paused", "resumed", "removed"):
        assert any(what in message for message in told) or what == "resumed", told


async def test_what_is_told_of_a_source_outlasts_a_look_from_before_it_was_made_again(weather: AppClient) -> None:
    book = SourceBook(weather.services.connection, await weather.services.catalog.uid("weather"))
    assert (await weather.post(PATH, json=described(weather))).status_code == 201
    states = [SourceState(name, "redis_stream", "running", 1.0, 1.0) for name in ("labels", "gone")]
    for state in states:
        await book.tell(state)
    await book.forget(["labels", "gone"])
    assert set(await book.states()) == {"labels"}
    await weather.delete(f"{PATH}/labels")
    await book.tell(states[0])
    await book.forget(["labels"])
    assert await book.states() == {}


async def test_what_was_refused_is_shown_and_is_sent_again_once_the_cause_is_mended(weather: AppClient) -> None:
    async with worker(weather):
        await weather.post(PATH, json=described(weather, mapping={"inputs": "row"}))
        await add(weather, "1", "0")
        await shows(weather, refused=2, dead=2)
        letters = (await weather.get(DEAD)).json()["letters"]
        assert [letter["source"] for letter in letters] == ["labels"] * 2
        assert "no inputs" in letters[0]["reason"]
        assert json.loads(letters[0]["raw"])["label"] == "0"
        uid = await weather.services.catalog.uid("weather")
        alarms = weather.services.connection.keys.of(uid).alarms
        assert await until_async(lambda: weather.services.connection.redis.hget(alarms, "source_refused"))

        again = (await weather.post(f"{DEAD}/send")).json()
        assert (again["sent"], again["left"]) == (0, 2)
        assert "no inputs" in again["letters"][0]["error"]
        await weather.patch(f"{PATH}/labels", json={"mapping": {"inputs": "inputs"}})
        one = (await weather.post(f"{DEAD}/send", json={"ids": [letters[0]["id"]]})).json()
        assert (one["sent"], one["left"]) == (1, 1)
        rest = (await weather.post(f"{DEAD}/send", json={"source": "labels"})).json()
        assert (rest["sent"], rest["left"]) == (1, 0)
        assert not await weather.services.connection.redis.hget(alarms, "source_refused")
        assert await weather.services.log(uid).newest() == 2
        assert (await weather.get(f"{PATH}/labels")).json()["refused"] == 2


async def test_dead_letters_are_dropped_all_or_one(weather: AppClient) -> None:
    async with worker(weather):
        await weather.post(PATH, json=described(weather))
        await add(weather, "7", "8", "9")
        await shows(weather, dead=3)
        letters = (await weather.get(DEAD, params={"limit": 2})).json()["letters"]
        assert len(letters) == 2
        assert (await weather.delete(DEAD, params={"id": letters[0]["id"]})).json() == {"dropped": 1}
        assert (await weather.delete(DEAD, params={"id": letters[0]["id"]})).status_code == 404
        assert (await weather.delete(DEAD, params={"source": "other"})).json() == {"dropped": 0}
        assert (await weather.delete(DEAD)).json() == {"dropped": 2}


async def test_a_trial_shows_what_would_be_learned_and_takes_nothing(weather: AppClient) -> None:
    await add(weather, "1", "red")
    await add(weather, "1", inputs="[1]")
    answer = await weather.post(f"{PATH}/try", json=described(weather))
    records = answer.json()["records"]
    assert records[0]["item"] == {"inputs": [0.1] * 8, "label": 1}
    assert "error" not in records[0]
    assert "`red` is none of the model's classes" in records[1]["error"]
    assert "shape" in records[2]["error"]
    assert (await weather.get(PATH)).json() == {"sources": []}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"type": "kafkaesque"}, "type"),
        ({"stream": ""}, "stream"),
        ({"name": None}, "name"),
        ({"name": "Not A Name"}, "name"),
        ({"mapping": {"lable": "x"}}, "mapping.lable"),
        ({"format": "yaml"}, "format"),
        ({"colour": 1}, "colour"),
    ],
)
async def test_a_wrong_source_is_refused_by_its_field(weather: AppClient, changes: dict[str, Any], field: str) -> None:
    body = {name: value for name, value in described(weather, **changes).items() if value is not None}
    answer = await weather.post(PATH, json=body)
    assert answer.status_code == 422, answer.text
    assert answer.json()["error"]["details"]["field"] == field
    assert (await weather.get(PATH)).json() == {"sources": []}


async def test_a_source_is_made_once_and_one_stream_is_read_by_one(weather: AppClient) -> None:
    assert (await weather.post(PATH, json=described(weather))).status_code == 201
    assert (await weather.post(PATH, json=described(weather))).status_code == 201, "a resend is the same"
    other = await weather.post(PATH, json=described(weather, stream="another"))
    assert (other.status_code, other.json()["error"]["code"]) == (409, "source_exists")
    same = await weather.post(PATH, json=described(weather, name="other"))
    assert (same.status_code, same.json()["error"]["code"]) == (409, "source_exists")
    for method, name in (("get", "none"), ("delete", "none")):
        answer = await weather.request(method, f"{PATH}/{name}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_source")
    fixed = await weather.patch(f"{PATH}/labels", json={"type": "kafka"})
    assert fixed.status_code == 422


async def test_passwords_are_kept_and_never_shown(weather: AppClient) -> None:
    url = "redis://me:hunter2@127.0.0.1:1/0"
    made = (await weather.post(PATH, json=described(weather, url=url))).json()
    assert made["spec"]["url"] == "redis://me:***@127.0.0.1:1/0"
    shown = await weather.patch(f"{PATH}/labels", json={"url": made["spec"]["url"], "max_rate": 5})
    assert "hunter2" not in shown.text
    uid = await weather.services.catalog.uid("weather")
    stored = await weather.services.connection.redis.hget(
        weather.services.connection.keys.of(uid).source_specs, "labels"
    )
    assert json.loads(stored)["spec"]["url"] == url


async def test_sources_of_the_setting_are_shown_and_are_changed_there(start: Start) -> None:
    setting = json.dumps([{"type": "redis_stream", "model": "weather", "url": "redis://h", "stream": "s"}])
    client = await start(sources=setting)
    await client.post("/v1/models", json=spec())
    (shown,) = (await client.get(PATH)).json()["sources"]
    assert (shown["name"], shown["origin"]) == ("environment-1", "environment")
    answer = await client.patch(f"{PATH}/environment-1", json={"paused": True})
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "source_of_environment")
