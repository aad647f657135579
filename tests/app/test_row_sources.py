"""Sources of rows: answered as calls are, recorded under their keys, and written to a sink, whatever dies in between."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from app.streams.keeper import RowSources
from driftline.sinks.base import Moved, SinkMessage
from driftline.sinks.redis_stream import RedisStreamWriter
from driftline.store.source_lags import RowLags
from driftline.store.sources import SourceBook
from tests.app.conftest import AppClient, Start, source_as
from tests.services import spec
from tests.waiting import until_async
from tests.worker.source_reading import row

pytestmark = pytest.mark.anyio

PATH, DEAD = "/v1/models/weather/sources", "/v1/models/weather/dead-letters"


def name_of(client: AppClient, stream: str) -> str:
    return f"{client.services.settings.prefix}{stream}"


def described(client: AppClient, **changes: Any) -> dict[str, Any]:
    url = str(client.services.settings.redis_url)
    sink = {"type": "redis_stream", "url": url, "stream": name_of(client, "predictions")}
    source = {"type": "redis_stream", "name": "rows", "url": url, "stream": name_of(client, "rows")}
    return source | {"mode": "infer", "sink": sink} | changes


async def add(client: AppClient, numbers: Sequence[int], **fields: Any) -> None:
    async with client.services.connection.redis.pipeline(transaction=False) as pipe:
        for n in numbers:
            pipe.xadd(name_of(client, "rows"), {"inputs": json.dumps(row(n)), "key": f"row {n}"} | fields)
        await pipe.execute()


async def written(client: AppClient) -> list[dict[str, Any]]:
    entries = await client.services.connection.redis.xrange(name_of(client, "predictions"))
    found = [json.loads(fields[b"data"]) for _, fields in entries]
    assert [fields[b"id"].decode() for _, fields in entries] == [each["record"] for each in found]
    return found


async def shows(client: AppClient, **wanted: Any) -> dict[str, Any]:
    return await source_as(client, f"{PATH}/rows", **wanted)


async def test_rows_are_answered_as_calls_are_in_their_order_and_known_by_their_keys(weather: AppClient) -> None:
    await add(weather, range(300))
    made = await weather.post(PATH, json=described(weather))
    assert made.status_code == 201, made.text
    await shows(weather, state="running", taken=300, lag_records=0)
    found = await written(weather)
    assert [each["key"] for each in found] == [f"row {n}" for n in range(300)]
    assert len({each["record"] for each in found}) == len({each["id"] for each in found}) == 300
    called = await weather.post("/v1/models/weather/predict", json={"inputs": [row(n) for n in range(300)]})
    expected = called.json()
    assert [each["label"] for each in found] == [each["label"] for each in expected["predictions"]]
    assert all({name: each[name] for name in ("model", "version", "classes")} == {
        name: expected[name] for name in ("model", "version", "classes")
    } for each in found)  # fmt: skip
    for label in ({"key": "row 7"}, {"prediction_id": found[8]["id"]}):
        given = await weather.post("/v1/models/weather/feedback", json={"items": [{"label": 1, **label}]})
        assert given.status_code == 202, given.text


async def test_rows_without_a_sink_are_kept_for_their_labels(weather: AppClient) -> None:
    await weather.post(PATH, json=described(weather, sink=None, mapping={"inputs": "inputs", "key": "key"}))
    await add(weather, range(5), order="of no interest")
    await shows(weather, state="running", taken=5)
    given = await weather.post("/v1/models/weather/feedback", json={"items": [{"label": 1, "key": "row 4"}]})
    assert given.status_code == 202, given.text


BAD: dict[str, dict[str, Any]] = {
    "another shape": {"inputs": "[1, 2]"},
    "cut off": {"inputs": "[1, 2"},
    "not finite": {"inputs": json.dumps([1e39] + [0.0] * 7)},
    "a name that no row has": {"label": "1"},
    "a key that is none": {"key": ""},
    "no inputs": {"inputs": "null"},
}


async def test_a_row_that_cannot_be_answered_is_kept_and_the_others_are(weather: AppClient) -> None:
    for n, fields in enumerate(BAD.values()):
        await add(weather, [2 * n])
        await add(weather, [2 * n + 1], **fields)
    tried = (await weather.post(f"{PATH}/try", json=described(weather))).json()["records"]
    assert ["error" in each for each in tried] == [False, True] * 5
    await weather.post(PATH, json=described(weather))
    await shows(weather, state="running", taken=len(BAD), refused=len(BAD))
    assert [each["key"] for each in await written(weather)] == [f"row {2 * n}" for n in range(len(BAD))]
    letters = (await weather.get(DEAD)).json()["letters"]
    assert len(letters) == len(BAD) and all(each["reason"] for each in letters)

    await weather.delete(f"{PATH}/rows")
    assert (await weather.get(DEAD)).json()["letters"] == []


async def test_a_row_is_answered_again_once_the_cause_is_mended(weather: AppClient) -> None:
    await add(weather, [1], colour="red")
    await weather.post(PATH, json=described(weather))
    await shows(weather, state="running", refused=1)
    assert (await weather.post(f"{DEAD}/send", json={})).json()["left"] == 1
    changed = await weather.patch(f"{PATH}/rows", json={"mapping": {"inputs": "inputs", "key": "key"}})
    assert changed.status_code == 200, changed.text
    assert (await weather.post(f"{DEAD}/send", json={})).json()["left"] == 0
    assert [each["key"] for each in await written(weather)] == ["row 1"]


async def test_whatever_dies_in_between_each_row_is_answered_and_written_with_one_id(
    weather: AppClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, calls = RedisStreamWriter.write, 0

    async def dying(self: RedisStreamWriter, messages: Sequence[SinkMessage], moved: Moved) -> None:
        nonlocal calls
        calls += 1
        if calls % 3 == 1:
            raise ConnectionError("before")
        await whole(self, messages, moved)
        if calls % 3 == 2:
            raise ConnectionError("after")

    monkeypatch.setattr(RedisStreamWriter, "write", dying)
    monkeypatch.setattr(weather.services.row_sources, "retry_seconds", 0.01)
    await weather.post(PATH, json=described(weather, max_rate=350))
    for first in range(0, 200, 50):
        await add(weather, range(first, first + 50))
        await asyncio.sleep(0)

    async def have_come() -> bool:
        return len({each["key"] for each in await written(weather)}) == 200

    await until_async(have_come)
    await shows(weather, state="running", lag_records=0)
    found = await written(weather)
    once = list(dict.fromkeys(each["record"] for each in found))
    keys = {each["record"]: each["key"] for each in found}
    assert [keys[record] for record in once] == [f"row {n}" for n in range(200)]
    assert calls >= 7


async def test_of_two_processes_one_runs_a_source_and_the_other_goes_on_when_it_is_gone(
    start: Start, client: AppClient
) -> None:
    assert (await client.post("/v1/models", json=spec())).status_code == 201
    other = await start()
    await client.post(PATH, json=described(client))
    await add(client, range(20))
    await shows(client, state="running", lag_records=0)
    uid = await client.services.catalog.uid("weather")

    async def told() -> list[tuple[str, int | None]]:
        return [
            (lag.source, lag.records) for lag in await RowLags(client.services.connection).read() if lag.model == uid
        ]

    assert await until_async(told) == [("rows", 0)]

    def running(app: AppClient) -> RowSources:
        return app.services.row_sources

    async def is_run() -> RowSources | None:
        return next((running(app) for app in (client, other) if running(app)._models), None)

    holder = await until_async(is_run)
    (left,) = {running(client), running(other)} - {holder}
    assert not left._models
    await holder.close()
    holder._follow = _nothing  # type: ignore[method-assign]
    await add(client, range(20, 40))

    async def all_come() -> bool:
        return len(await written(client)) >= 40

    await until_async(all_come)
    assert [each["key"] for each in await written(client)] == [f"row {n}" for n in range(40)]
    await client.delete(f"{PATH}/rows")
    await until_async(lambda: _is_empty(told))


async def _is_empty(told: Callable[[], Awaitable[list[Any]]]) -> bool:
    return not await told()


async def _nothing() -> None:
    return None


async def test_a_sink_that_is_not_there_is_told_and_nothing_is_lost(weather: AppClient) -> None:
    redis = weather.services.connection.redis
    await redis.set(name_of(weather, "predictions"), "no stream")
    await add(weather, range(3))
    await weather.post(PATH, json=described(weather))
    state = await shows(weather, state="failing")
    assert "cannot be written" in state["reason"]
    uid = await weather.services.catalog.uid("weather")
    assert await redis.hget(weather.services.connection.keys.of(uid).alarms, "source_infer")
    assert not await SourceBook(weather.services.connection, uid).dead()
    await redis.delete(name_of(weather, "predictions"))
    await shows(weather, state="running", lag_records=0)
    assert len(await written(weather)) == 3


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({"mode": "labels"}, "sink"),
        ({"wait_seconds": 3}, "wait_seconds"),
        ({"sink": {"type": "carrier pigeon"}}, "sink"),
        ({"sink": {"type": "files", "path": "/etc/predictions"}}, "DRIFTLINE_SOURCE_FOLDERS"),
        ({"sink": {"type": "redis_stream", "url": "redis://me:secret@h/x/", "stream": "s"}}, "url"),
    ],
)
async def test_a_source_that_cannot_be_is_refused_with_the_reason(
    weather: AppClient, changes: dict[str, Any], wrong: str
) -> None:
    refused = await weather.post(PATH, json=described(weather) | changes)
    assert refused.status_code == 422 or refused.status_code == 400
    assert wrong in refused.json()["error"]["message"]
    assert "secret" not in refused.text


async def test_no_password_of_a_sink_is_shown(weather: AppClient) -> None:
    url = str(weather.services.settings.redis_url).replace("redis://", "redis://me:secret@")
    sink = {"type": "redis_stream", "url": url, "stream": "s"}
    made = await weather.post(PATH, json=described(weather, sink=sink))
    assert made.status_code == 201
    assert "secret" not in made.text and made.json()["spec"]["sink"]["stream"] == "s"
