"""What happens, and what sources could not take, is written to sinks: in order, until it is taken, by one process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from app.streams import sink_feeder
from app.streams.sink_feeder import parse_sinks
from driftline.errors import ConfigurationError, Unavailable
from driftline.sinks.base import Moved, SinkMessage
from driftline.sinks.files import FileWriter
from driftline.store.sources import DeadLetter, SourceBook
from tests.app.conftest import Start, create
from tests.app.test_events import pause
from tests.waiting import until_async
from tests.worker.source_reading import row

pytestmark = pytest.mark.anyio


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


async def test_events_are_written_once_each_in_order_of_the_wanted_kinds_and_by_one_process(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "events.ndjson"
    sinks = json.dumps([{"type": "files", "path": str(path), "kinds": ["pause", "resume"]}])
    monkeypatch.setattr(sink_feeder, "FIRST_PAUSE", 0.01)
    whole, failures = FileWriter.write, 2

    async def failing(self: FileWriter, messages: Sequence[SinkMessage], moved: Moved) -> None:
        nonlocal failures
        failures -= 1
        if failures >= 0:
            raise Unavailable("no room")
        await whole(self, messages, moved)

    monkeypatch.setattr(FileWriter, "write", failing)
    client, _ = await start(sinks=sinks), await start(sinks=sinks)
    feeder = client.services.sinks[0]
    await until_async(lambda: feeder._kept(feeder._field))
    await create(client)
    await pause(client, 6)
    await until_async(lambda: _count(path, 6))
    found = lines(path)
    assert [each["kind"] for each in found] == ["pause", "resume"] * 3
    assert len({each["id"] for each in found}) == 6
    assert all(each["model"] == "weather" for each in found)


async def _count(path: Path, count: int) -> bool:
    return len(lines(path)) >= count


async def test_dead_letters_are_written_as_they_come(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "dead.ndjson"
    client = await start(sinks=json.dumps([{"type": "files", "path": str(path), "carries": "dead_letters"}]))
    await create(client)
    book = SourceBook(client.services.connection, await client.services.catalog.uid("weather"))
    for n in range(3):
        await book.bury([DeadLetter(f"x:{n}", "labels", str(n), "no label", b'{"a": 1}', "json", 1.0)])
    await until_async(lambda: _count(path, 3))
    assert [each["place"] for each in lines(path)] == ["0", "1", "2"]
    assert lines(path)[0]["raw"] == '{"a": 1}'


async def test_predictions_are_written_with_the_ids_by_which_labels_join_them_and_the_keys(
    start: Start, tmp_path: Path
) -> None:
    path = tmp_path / "predictions.ndjson"
    sink = {"type": "files", "path": str(path), "carries": "predictions", "models": ["weather"]}
    client = await start(sinks=json.dumps([sink]))
    await create(client)
    await create(client, name="other")
    bodies: list[dict[str, Any]] = [{"inputs": [row(n), row(n + 1)]} for n in range(3)]
    bodies[1]["keys"] = ["a", None]
    answers = await asyncio.gather(*(client.post("/v1/models/weather/predict", json=body) for body in bodies))
    await client.post("/v1/models/other/predict", json=bodies[0])
    await until_async(lambda: _count(path, 6))
    wanted: dict[str, dict[str, Any]] = {}
    for answer, body in zip(answers, bodies, strict=True):
        found = answer.json()
        head = {name: found[name] for name in ("model", "version", "classes")}
        for prediction, key in zip(found["predictions"], body.get("keys", [None, None]), strict=True):
            wanted[prediction["id"]] = head | prediction | {"key": key}
    assert {each["id"]: each for each in lines(path)} == wanted
    item = {"prediction_id": lines(path)[0]["id"], "label": 1}
    assert (await client.post("/v1/models/weather/feedback", json={"items": [item]})).status_code == 202


async def test_predictions_wait_for_a_sink_in_their_order_and_those_that_are_kept_no_longer_are_counted(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, whole = tmp_path / "predictions.ndjson", FileWriter.write
    sink = {"type": "files", "path": str(path), "carries": "predictions"}
    client = await start(sinks=json.dumps([sink]))
    (feeder,) = client.services.prediction_sinks
    feeder.first_pause, is_failing, failed = 0.01, True, 0

    async def failing(self: FileWriter, messages: Sequence[SinkMessage], moved: Moved) -> None:
        nonlocal failed
        if is_failing:
            failed += 1
            raise Unavailable("no room")
        await whole(self, messages, moved)

    await create(client)
    ids = [await predicted(client, n) for n in range(2)]
    await until_async(lambda: _count(path, 2))
    monkeypatch.setattr(FileWriter, "write", failing)
    ids += [await predicted(client, n) for n in range(2, 8)]
    await client.services.prediction_writer.flush()
    connection, uid = client.services.connection, await client.services.catalog.uid("weather")
    stream = connection.keys.of(uid).predictions(client.services.prediction_writer.nonce)
    assert await connection.redis.xtrim(stream, maxlen=4, approximate=False)
    # The first try may be of what was read before: what the second one has is what is kept.
    before = failed
    await until_async(lambda: failed >= before + 2)
    is_failing = False
    await until_async(lambda: _count(path, 6))
    assert [each["id"] for each in lines(path)] == ids[:2] + ids[4:]
    await until_async(lambda: feeder.dropped == 2)
    client.services.sample()
    assert b"driftline_predictions_unsent_total 2.0" in client.services.metrics.counted(None).text


async def test_what_a_sink_has_lost_over_a_restart_is_counted_and_told(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, whole, is_failing = tmp_path / "predictions.ndjson", FileWriter.write, False
    sinks = json.dumps([{"type": "files", "path": str(path), "carries": "predictions"}])

    async def failing(self: FileWriter, messages: Sequence[SinkMessage], moved: Moved) -> None:
        if is_failing:
            raise Unavailable("no room")
        await whole(self, messages, moved)

    monkeypatch.setattr(FileWriter, "write", failing)
    client = await start(sinks=sinks)
    await create(client)
    connection, uid = client.services.connection, await client.services.catalog.uid("weather")
    writer = client.services.prediction_writer
    stream, nonce = connection.keys.of(uid).predictions(writer.nonce), writer.nonce
    await predicted(client, 0)
    await until_async(lambda: _count(path, 1))
    is_failing = True
    for n in range(1, 4):
        await predicted(client, n)
    await writer.end()
    # Of what the former app has recorded nothing is kept any more when the next one goes on in its stream.
    assert await connection.redis.xtrim(stream, maxlen=0, approximate=False) == 4
    next_client = await start(sinks=sinks)
    assert next_client.services.prediction_writer.nonce == nonce
    kept = await predicted(next_client, 4)
    is_failing = False
    await until_async(lambda: _count(path, 2))
    assert lines(path)[-1]["id"] == kept
    feeders = [each.services.prediction_sinks[0] for each in (client, next_client)]
    await until_async(lambda: sum(feeder.dropped for feeder in feeders) == 3)
    alarms = {
        alarm["kind"]: alarm["message"] for alarm in (await client.get("/v1/models/weather/metrics")).json()["alarms"]
    }
    assert alarms["sink_gap"].startswith("3 predictions were no longer kept")


async def test_what_a_sink_has_lost_is_told_also_where_no_prediction_comes_after_it(
    start: Start, tmp_path: Path
) -> None:
    path = tmp_path / "predictions.ndjson"
    client = await start(sinks=json.dumps([{"type": "files", "path": str(path), "carries": "predictions"}]))
    await create(client)
    await predicted(client, 0)
    await until_async(lambda: _count(path, 1))
    feeder, connection = client.services.prediction_sinks[0], client.services.connection
    (stream,) = [name.decode() for name in await connection.redis.hkeys(connection.keys.told_counts)]
    await connection.redis.hincrby(connection.keys.told_counts, stream, 5)
    feeder.wake()
    await until_async(lambda: feeder.dropped == 5)


async def test_one_app_writes_what_all_have_recorded(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "predictions.ndjson"
    sinks = json.dumps([{"type": "files", "path": str(path), "carries": "predictions"}])
    first = await start(sinks=sinks)

    async def never() -> bool:
        return False

    monkeypatch.setattr(first.services.prediction_sinks[0], "_is_mine", never)
    await create(first)
    second = await start(sinks=sinks)
    ids = [await predicted(client, n) for n in range(4) for client in (first, second)]
    await until_async(lambda: _count(path, len(ids)))
    written = [each["id"] for each in lines(path)]
    assert sorted(written) == sorted(ids)
    assert [each for each in written if each in ids[::2]] == ids[::2]


async def predicted(client: Any, n: int) -> str:
    answer = await client.post("/v1/models/weather/predict", json={"inputs": [row(n)]})
    return str(answer.json()["predictions"][0]["id"])


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("{}", "list"),
        ("[", "DRIFTLINE_SINKS"),
        ('[{"type": "pigeon"}]', "pigeon"),
        ('[{"type": "files", "path": "x", "kinds": ["weather"]}]', "weather"),
        ('[{"type": "files", "path": "x", "carries": "rows"}]', "carries"),
        ('[{"type": "redis_stream", "url": "redis://me:secret@h/x/"}]', "stream"),
    ],
)
def test_a_setting_that_is_wrong_is_one_sentence_without_passwords(text: str, wrong: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        parse_sinks(text)
    assert "DRIFTLINE_SINKS" in refused.value.message
    assert "secret" not in refused.value.message
    assert wrong in refused.value.message or wrong == "pigeon"
