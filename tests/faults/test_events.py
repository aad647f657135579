"""What happens is told once, and with its cause: whatever dies, and however often a write is sent."""

from __future__ import annotations

import pytest

from driftline.records import Command, Plan
from driftline.store.commits import Commit, Step
from driftline.store.events import BEGINNING, END, EventRecord
from tests.faults.test_trainer import LABELS, POINTS, UID, busy, dying_at, items
from tests.happened import check_scores, check_versions, events_of
from tests.worker.conftest import Bench, labelled

__all__ = ["busy"]

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("name", POINTS)
async def test_a_trainer_that_dies_there_has_told_of_each_version_and_score_once(
    busy: Bench, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await busy.model(uid=UID)
    await store.log.append(items())
    with dying_at(name, 2, monkeypatch) as reached:
        await busy.train(store)
    assert reached, "the place was not reached"
    await busy.train(store)
    await check_versions(store.connection, store.uid, (await store.commit_log.head()).version)
    await check_scores(store.connection, store.uid, LABELS)


@pytest.mark.parametrize("name", ["job.finished", *POINTS])
async def test_a_job_whose_trainer_dies_is_told_of_once(
    busy: Bench, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await busy.model(uid=UID)
    job = f"{store.uid}-job"
    arguments = {"recipe": {}, "edits": [], "epochs": 2}
    await store.log.append([*labelled(200, answered=1), Command(job, "retrain", arguments, "ops", "the sensor moved")])
    with dying_at(name, 1, monkeypatch):
        await busy.train(store)
    await busy.train(store)
    told = [stored.event for stored in await events_of(store.connection, store.uid) if stored.event.job == job]
    told = [event for event in told if event.kind == "job"]
    assert [event.details["state"] for event in told] == ["queued", "running", "succeeded"]
    assert {(event.actor, event.reason) for event in told[:2]} == {("ops", "the sensor moved")}
    done = await store.commit_log.job(job)
    assert done is not None and (done.asked_by, done.reason) == ("ops", "the sensor moved")


async def test_a_commit_that_is_sent_again_tells_nothing_twice(bench: Bench) -> None:
    store = await bench.model()
    trainer = await bench.trainer(store)
    await trainer.committer.recover()
    step = Step(1, 0, 0, Plan(), "")
    event = EventRecord("refusal", "a candidate was refused", "worker")
    commit = Commit(
        step, trainer.committer.lease.epoch, "token", 0, events=[event], alarms={"drift": {"kind": "drift"}}
    )
    for _ in range(2):
        await store.commit_log.commit(commit)
    kinds = [stored.event.kind for stored in await events_of(store.connection, store.uid)]
    assert kinds == ["created", "worker", "refusal"]


async def test_a_command_that_is_sent_again_is_told_of_once(bench: Bench) -> None:
    store = await bench.model()
    pause = Command("c:1", "pause", {}, "ops", "the sensor is being changed")
    for _ in range(2):
        await store.log.append([pause])
    *_, told = [stored.event for stored in await events_of(store.connection, store.uid)]
    assert len(await events_of(store.connection, store.uid)) == 2
    assert (told.kind, told.actor, told.reason) == ("pause", "ops", "the sensor is being changed")


async def test_what_a_fenced_owner_does_is_not_told(bench: Bench) -> None:
    store = await bench.model()
    await bench.trainer(store)
    step = Step(1, 0, 0, Plan(), "")
    stale = Commit(step, 0, "token", 0, events=[EventRecord("version", "version 2 is live", "worker")])
    with pytest.raises(Exception, match="owns the model"):
        await store.commit_log.commit(stale)
    assert [stored.event.kind for stored in await events_of(store.connection, store.uid)] == ["created", "worker"]


async def test_what_is_beyond_its_time_or_number_goes_and_versions_push_out_nothing_else(bench: Bench) -> None:
    store = await bench.model()
    trainer = await bench.trainer(store)
    await trainer.committer.recover()
    epoch = trainer.committer.lease.epoch
    for k in range(1, 40):
        event = EventRecord("version", f"version {k + 1} is live", "worker", version=k + 1)
        await store.commit_log.commit(Commit(Step(k, 0, 0, Plan(), ""), epoch, f"token{k}", 0, events=[event]))
    await store.events.trim(10, 0)
    found = await store.events.newest(BEGINNING, END, 100)
    assert [stored.event.kind for stored in found] == ["version"] * 10 + ["worker", "created"]
    assert found[0].event.version == 40
    await store.events.trim(10, store.now() + 3600)
    assert await store.events.newest(BEGINNING, END, 100) == []
