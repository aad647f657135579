"""What a model has been through: its jobs, and the files that were imported."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from driftline.store.commits import JobRecord
from driftline.store.events import EventRecord
from driftline.store.imports import MAX_FILES, ImportRecord, Imports
from driftline.store.job_list import StoredJob, list_jobs
from driftline.store.rejected import RejectedRecord
from tests.app.conftest import AppClient, create

pytestmark = pytest.mark.anyio

FILE = "0123456789abcdef"
NOTE = {"name": "history.csv", "first": 1, "row": 40, "is_whole": False, "round": 0}


async def note(client: AppClient, file: str = FILE, **changes: Any) -> Any:
    answer = await client.put(f"/v1/models/weather/imports/{file}", json=NOTE | changes)
    return answer.status_code, answer.json()


async def test_how_far_a_file_was_imported_is_remembered(client: AppClient) -> None:
    await create(client)
    assert (await client.get("/v1/models/weather/imports")).json() == {"imports": []}
    status, first = await note(client)
    assert status == 200 and first == {"file": FILE, **NOTE, "time": first["time"]} and first["time"] > 1.7e9
    status, later = await note(client, row=52, is_whole=True)
    assert (await client.get("/v1/models/weather/imports")).json() == {"imports": [later]}
    assert later["row"] == 52 and later["time"] >= first["time"]


async def test_a_model_of_the_same_name_knows_nothing_of_it(client: AppClient) -> None:
    await create(client)
    await note(client)
    await client.delete("/v1/models/weather")
    await create(client)
    assert (await client.get("/v1/models/weather/imports")).json() == {"imports": []}


@pytest.mark.parametrize(
    ("file", "changes", "field"),
    [("history", {}, "file"), (FILE, {"row": 0}, "row"), (FILE, {"rows": 3}, "rows"), (FILE, {"first": "x"}, "first")],
)
async def test_a_wrong_note_names_its_field_and_changes_nothing(
    client: AppClient, file: str, changes: dict[str, Any], field: str
) -> None:
    await create(client)
    status, answer = await note(client, file, **changes)
    assert status == 422 and field in answer["error"]["message"], answer
    assert (await client.get("/v1/models/weather/imports")).json() == {"imports": []}


async def test_the_oldest_files_are_forgotten(client: AppClient, monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_FILES == 1000
    monkeypatch.setattr("driftline.store.imports.MAX_FILES", 3)
    imports = Imports(client.services.connection, "u1")
    for number in range(5):
        await imports.note(ImportRecord(f"{number:016x}", "x.csv", 1, number + 1, True, 0, 0.0))
    assert [each.row for each in await imports.all()] == [5, 4, 3]


async def test_jobs_are_listed_with_what_their_events_tell(client: AppClient) -> None:
    made = await create(client)
    assert (await client.get("/v1/models/weather/jobs")).json() == {"jobs": []}
    begun = await client.post("/v1/models/weather/retrain", json={"epochs": 1, "reason": "it is late"})
    job = begun.json()["job_id"]
    found = (await client.get("/v1/models/weather/jobs")).json()["jobs"]
    assert [each["id"] for each in found] in ([job], []), "one that waits is listed where its event is written"
    assert made["name"] == "weather"
    missing = await client.get("/v1/models/none/jobs")
    assert missing.status_code == 404


async def test_a_jobs_moments_come_of_its_events(client: AppClient) -> None:
    connection = client.services.connection
    keys = connection.keys.of("u1")
    for state, seconds in (("running", 100), ("succeeded", 160)):
        event = EventRecord(
            "job", f"job u1-1 {state}", "ops", "because", job="u1-1", details={"state": state, "kind": "retrain"}
        )
        await connection.redis.xadd(keys.events, {"k": "job", "e": event.stored[1]}, id=f"{seconds}000-{seconds}")
    record = JobRecord("u1-1", "succeeded", 1.0, True, 7)
    await connection.redis.hset(keys.jobs, "u1-1", msgspec.json.encode(record))
    (found,) = await list_jobs(connection, "u1", 10)
    assert found == StoredJob(record, "retrain", 100.0, 160.0, "ops", "because", "job u1-1 succeeded")


async def test_receipts_of_many_labels_are_those_of_each(client: AppClient) -> None:
    await create(client)
    items = [{"id": f"i{number}", "inputs": [0.0] * 8, "label": number % 2} for number in range(4)]
    assert (await client.post("/v1/models/weather/feedback", json={"items": items})).status_code == 202
    connection = client.services.connection
    uid = await client.services.catalog.uid("weather")
    keys = connection.keys.of(uid)
    await connection.redis.hset(keys.head, "offset", 3)
    await connection.redis.zadd(keys.coverage, {"2": 1, "3": 2})
    stored = await connection.redis.get(keys.item("i0"))
    await connection.redis.set(keys.item("i0"), stored + b":rejected:it is broken")
    ids = ["i1", "i0", "i2", "i3", "none"]
    found = (await client.post("/v1/models/weather/receipts", json={"ids": ids})).json()["receipts"]
    assert [each["state"] for each in found] == ["served", "rejected", "learned", "queued", "unknown"]
    assert found[0]["version"] == 3 and found[1]["reason"] == "it is broken"
    for each in found[:-1]:
        assert (await client.get(f"/v1/models/weather/feedback/{each['id']}")).json() == each
    nothing: list[dict[str, object]] = [{"ids": []}, {"ids": "i1"}, {}]
    for wrong in nothing:
        assert (await client.post("/v1/models/weather/receipts", json=wrong)).status_code == 422


async def test_labels_that_were_not_learned_are_listed_page_by_page(client: AppClient) -> None:
    await create(client)
    path = "/v1/models/weather/rejected"
    assert (await client.get(path)).json() == {"labels": [], "next": None}
    connection = client.services.connection
    key = connection.keys.of(await client.services.catalog.uid("weather")).rejected
    labels = [RejectedRecord(n, f"i{n}", "rejected", "it does not fit", 1.8e9) for n in range(1, 6)]
    await connection.redis.zadd(key, {msgspec.json.encode(label): label.n for label in labels})
    page = (await client.get(path, params={"limit": 2})).json()
    assert [label["n"] for label in page["labels"]] == [5, 4] and page["next"] == 4
    page = (await client.get(path, params={"limit": 10, "before": page["next"]})).json()
    assert page == {"labels": [msgspec.to_builtins(label) for label in labels[2::-1]], "next": None}
    answer = await client.get(path, params={"before": 0})
    assert answer.status_code == 422 and "before" in answer.json()["error"]["message"]
    assert (await client.get("/v1/models/none/rejected")).status_code == 404
