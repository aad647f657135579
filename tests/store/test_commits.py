"""The head moves by whole steps, and only for the owner."""

from __future__ import annotations

import itertools
import time

import pytest

from driftline.errors import CorruptData, Fenced, NotFound
from driftline.records import Command, Plan
from driftline.store.catalog import Catalog
from driftline.store.commits import Checkpoint, Commit, CommitLog, JobRecord, Step, Version, with_progress
from driftline.store.connection import RedisConnection
from driftline.store.lease import Lease
from driftline.store.log import Log
from driftline.store.rejected import RejectedLabels, RejectedRecord
from driftline.store.watermarks import Cap
from tests.store.conftest import item, stored_keys
from tests.waiting import until_async

pytestmark = pytest.mark.anyio


@pytest.fixture
async def lease(connection: RedisConnection, uid: str) -> Lease:
    lease = Lease(connection, uid, "me")
    assert await lease.acquire()
    return lease


@pytest.fixture
def commit_log(connection: RedisConnection, uid: str) -> CommitLog:
    return CommitLog(connection, uid)


def commit(lease: Lease, k: int, start: int, end: int, **more: object) -> Commit:
    step = Step(k, start, end, Plan(updates=1), f"digest{k}")
    return Commit(step=step, epoch=lease.epoch, token=f"{lease.owner}:{k}", learned=end - start, **more)  # type: ignore[arg-type]


def version(number: int, k: int, offset: int) -> Version:
    return Version(number, f"{number:064}", number - 1, k, offset, time.time(), "better", {"holdout": 0.5})


def rejected(n: int, why: str, identifier: str = "") -> RejectedRecord:
    return RejectedRecord(n, identifier or str(n), "rejected", why, 1.8e9 + n)


async def test_a_step_moves_head_version_and_coverage_at_once(commit_log: CommitLog, lease: Lease, log: Log) -> None:
    await log.append([item(str(n)) for n in range(1, 33)])
    await commit_log.commit(commit(lease, 1, 0, 32, version=version(2, 1, 32), rejected=[rejected(7, "why: this")]))
    head = await commit_log.head()
    assert (head.version, head.step, head.offset, head.learned) == (2, 1, 32, 32)
    assert [step.k for step in await commit_log.steps(0)] == [1]
    assert [found.version for found in await commit_log.versions()] == [1, 2]
    assert (await commit_log.covering(32), await commit_log.covering(33)) == (2, None)
    assert [known and known.exception for known in [await log.find("7"), await log.find("8")]] == [
        ("rejected", "why: this"),
        None,
    ]


async def test_of_versions_at_one_offset_the_first_covers_it(commit_log: CommitLog, lease: Lease) -> None:
    ends = [0] * 7 + [32] * 4
    for k, (start, end) in enumerate(itertools.pairwise([0, *ends]), start=1):
        await commit_log.commit(commit(lease, k, start, end, version=version(k + 1, k, end)))
    assert (await commit_log.covering(1), await commit_log.covering(32)) == (9, 9), "not version 10, 11 or 12"


async def test_a_commit_that_is_sent_twice_counts_once(commit_log: CommitLog, lease: Lease) -> None:
    first = commit(lease, 1, 0, 10)
    await commit_log.commit(first)
    await commit_log.commit(first)
    head = await commit_log.head()
    assert (head.step, head.learned) == (1, 10)


async def test_a_former_owner_is_fenced_as_soon_as_another_takes_over(
    commit_log: CommitLog, lease: Lease, connection: RedisConnection, uid: str
) -> None:
    await connection.redis.delete(lease.keys.lease)  # As if its time had run out.
    other = Lease(connection, uid, "other")
    assert await other.acquire()
    with pytest.raises(Fenced):
        await commit_log.commit(commit(lease, 1, 0, 10))
    assert not await lease.is_held()
    assert (await commit_log.head()).step == 0
    await commit_log.commit(commit(other, 1, 0, 10))


async def test_an_owner_that_nobody_replaced_goes_on_after_its_lease_ran_out(
    lease: Lease, commit_log: CommitLog, connection: RedisConnection
) -> None:
    await connection.redis.delete(lease.keys.lease)
    await commit_log.commit(commit(lease, 1, 0, 10))


async def test_a_worker_that_died_and_takes_its_lease_again_fences_what_it_was(
    connection: RedisConnection, commit_log: CommitLog
) -> None:
    dead, again = (Lease(connection, commit_log.uid, "worker") for _ in range(2))
    assert await dead.acquire()
    assert await again.acquire()
    assert again.epoch > dead.epoch
    assert not await dead.is_held()
    assert await again.is_held()


async def test_two_workers_never_hold_one_lease(lease: Lease, connection: RedisConnection, uid: str) -> None:
    other = Lease(connection, uid, "other")
    assert not await other.acquire()
    await lease.release()
    assert await other.acquire()


async def test_a_step_out_of_order_is_refused(commit_log: CommitLog, lease: Lease) -> None:
    for wrong in (commit(lease, 2, 0, 10), commit(lease, 1, 5, 10)):
        with pytest.raises(CorruptData):
            await commit_log.commit(wrong)
    assert (await commit_log.head()).step == 0


async def test_a_missing_step_is_seen(commit_log: CommitLog, lease: Lease, connection: RedisConnection) -> None:
    for k in range(1, 4):
        await commit_log.commit(commit(lease, k, k - 1, k))
    await connection.redis.xdel(commit_log.keys.steps, "2-0")
    with pytest.raises(CorruptData):
        await commit_log.steps(0)


@pytest.mark.parametrize("stored", [b"0.125", b'{"share":0.125}'], ids=["by a former release", "now"])
async def test_how_far_a_running_job_has_come_stands_beside_what_is_committed_of_it(stored: bytes) -> None:
    job = JobRecord("uid-1", "running")
    assert with_progress(job, stored) == JobRecord("uid-1", "running", 0.125)
    assert with_progress(job, None) == job
    told = with_progress(job, b'{"share":0.5,"report":{"race":[{"outcome":"running"}]}}')
    assert told.progress == 0.5 and told.report == {"race": [{"outcome": "running"}]}


async def test_a_command_leaves_the_waiting_ones_with_its_step(
    commit_log: CommitLog, lease: Lease, log: Log, connection: RedisConnection
) -> None:
    await log.append([Command("x", "pause")])
    step = Step(1, 0, 0, Plan(command=1), "digest")
    job = JobRecord("uid-1", "running")
    await commit_log.report_progress("uid-1", 0.5)
    await commit_log.commit(Commit(step=step, epoch=lease.epoch, token="t", learned=0, paused=True, jobs=[job]))
    assert await connection.redis.zcard(log.keys.pending) == 0
    assert (await Catalog(connection).get("weather")).paused
    assert await commit_log.job("uid-1") == job
    assert await commit_log.running_jobs() == [job]


async def test_of_ended_jobs_the_newest_are_kept_and_of_running_ones_all(
    lease: Lease, connection: RedisConnection, uid: str
) -> None:
    commit_log = CommitLog(connection, uid, keep_jobs=3)
    await commit_log.commit(commit(lease, 1, 0, 0, jobs=[JobRecord("runs", "running")]))
    for k in range(2, 12):
        await commit_log.commit(commit(lease, k, 0, 0, jobs=[JobRecord(f"job{k}", "succeeded")]))
    kept = {job.decode() for job in await connection.redis.hkeys(commit_log.keys.jobs)}
    assert kept == {"runs", "job9", "job10", "job11"}
    assert await connection.redis.zcard(commit_log.keys.ended) == 3


async def test_the_newest_labels_that_were_not_learned_are_kept(
    commit_log: CommitLog, lease: Lease, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("driftline.store.commits.MAX_REJECTED", 3)
    labels = RejectedLabels(commit_log.connection, commit_log.uid)
    await log.append([item(str(n)) for n in range(1, 9)])
    assert await labels.newest(10) == []
    first = commit(lease, 1, 0, 4, rejected=[rejected(1, "a"), rejected(3, "b")])
    await commit_log.commit(first)
    await commit_log.commit(first)
    assert await labels.newest(10) == [rejected(3, "b"), rejected(1, "a")], "once, whatever is sent again"
    await commit_log.commit(commit(lease, 2, 4, 8, rejected=[rejected(5, "c"), rejected(8, "d")]))
    assert await labels.newest(2) == [rejected(8, "d"), rejected(5, "c")]
    assert await labels.newest(10, before=5) == [rejected(3, "b")], "the oldest has gone"


async def test_why_a_record_was_not_learned_is_kept_as_long_as_its_receipt(
    commit_log: CommitLog, lease: Lease, connection: RedisConnection, uid: str
) -> None:
    log = Log(connection, uid, cap=Cap(1000), receipt_seconds=1)
    await log.append([item("a"), item("b")])
    await commit_log.commit(commit(lease, 1, 0, 1, rejected=[rejected(1, "why", "a")]))
    known = await log.find("a")
    assert known is not None and known.exception == ("rejected", "why")
    assert [receipt.status for receipt in await log.append([item("a"), item("a", label=0)])] == [
        "duplicate",
        "conflict",
    ]

    async def receipts() -> list[str]:
        return [key for key in await stored_keys(connection, uid) if ":item:" in key]

    async def are_gone() -> bool:
        return not await receipts()

    await until_async(are_gone)
    await commit_log.commit(commit(lease, 2, 1, 2, rejected=[rejected(2, "why", "b")]))
    assert not await receipts(), "nothing is kept beyond it"


async def test_a_checkpoint_trims_the_log_to_the_one_before_it(commit_log: CommitLog, lease: Lease, log: Log) -> None:
    await log.append([item(str(index)) for index in range(30)])
    for k in range(1, 4):
        await commit_log.commit(commit(lease, k, 10 * (k - 1), 10 * k))
        await commit_log.checkpoint(Checkpoint(f"{k:064}", k, 10 * k), lease.epoch, log_keep=0)
    head = await commit_log.head()
    assert (head.checkpoint, head.older_checkpoint) == (Checkpoint(f"{3:064}", 3, 30), Checkpoint(f"{2:064}", 2, 20))
    assert (await log.read(20, 100))[0].n == 21
    assert await log.get(20) is None


async def test_trimming_leaves_what_retraining_keeps_and_what_waits(
    commit_log: CommitLog, lease: Lease, log: Log
) -> None:
    await log.append([item("0"), Command("x", "retrain"), *(item(str(index)) for index in range(1, 29))])
    for k in range(1, 4):
        await commit_log.commit(commit(lease, k, 10 * (k - 1), 10 * k))
        await commit_log.checkpoint(Checkpoint(f"{k:064}", k, 10 * k), lease.epoch, log_keep=12)
    assert await log.get(2) is not None, "the command waits"
    assert len(await log.latest(30, 1000)) == 28


async def test_a_fenced_owner_names_no_checkpoint(commit_log: CommitLog, lease: Lease) -> None:
    stale = Checkpoint("0" * 64, 0, 0)
    with pytest.raises(Fenced):
        await commit_log.checkpoint(stale, lease.epoch - 1, log_keep=0)
    assert (await commit_log.head()).checkpoint is None


async def test_a_deleted_model_takes_no_step(commit_log: CommitLog, lease: Lease, connection: RedisConnection) -> None:
    await Catalog(connection).delete("weather")
    with pytest.raises(NotFound):
        await commit_log.commit(commit(lease, 1, 0, 10))
    assert await stored_keys(connection) == []
