"""The store against a plain model of it: in whatever order things happen, what was acknowledged stays true."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from driftline.errors import Busy, Conflict, CorruptData, Fenced, NotFound
from driftline.records import Command, Item, Plan, Record
from driftline.store.catalog import Catalog
from driftline.store.commits import Checkpoint, Commit, CommitLog, Head, Step, Version
from driftline.store.connection import RedisConnection
from driftline.store.lease import Lease
from driftline.store.log import Cursor, Log
from driftline.store.redis_keys import new_uid
from driftline.store.rejected import RejectedLabels, RejectedRecord
from driftline.store.watermarks import Cap
from tests.store.conftest import SPEC, item, stored_keys

NAME = str(SPEC["name"])
CAP = 12
FEW_IDS = st.sampled_from("abcdef")
RECORDS = st.lists(
    st.tuples(st.none() | FEW_IDS, st.sampled_from(["item"] * 4 + ["command"]), st.booleans()), max_size=8
)
T = TypeVar("T")


def record(identifier: str, kind: str, turn: bool) -> Record:
    return item(identifier, int(turn)) if kind == "item" else Command(identifier, "pause" if turn else "resume")


def turned(given: Record) -> Record:
    """Another record with the same id."""
    changed = {"label": 7} if isinstance(given, Item) else {"arguments": {"other": True}}
    return msgspec.structs.replace(given, **changed)


class Expected:
    """What the store must hold of one model."""

    def __init__(self, uid: str) -> None:
        first = Version(1, "0" * 64, None, 0, 0, time.time(), "created")
        self.uid = uid
        self.records: list[Record] = []
        self.numbers: dict[str, int] = {}
        self.pending: set[int] = set()
        self.sources: dict[str, str] = {}
        self.head = Head(1, first.manifest, 0, 0, 0, None, None, 1)
        self.steps: list[Step] = []
        self.published = [first]
        self.kept = {1: first}
        self.rejected: list[RejectedRecord] = []
        self.trimmed = 0
        self.paused = False
        self.epoch = 0
        self.holder: str | None = None

    @property
    def last(self) -> int:
        return len(self.records)

    def is_full_for(self, records: Sequence[Record]) -> bool:
        new = sum(isinstance(record, Item) and record.id not in self.numbers for record in records)
        return new > 0 and self.last - self.head.offset + new > CAP

    def has_conflict(self, records: Sequence[Record]) -> bool:
        """Whether one has the id of another with another content."""
        known = {record.id: record for record in reversed([*self.records, *records])}
        return any(known[record.id] != record for record in records)

    def append(self, records: Sequence[Record]) -> list[tuple[str, int]]:
        return [self._append(record) for record in records]

    def _append(self, record: Record) -> tuple[str, int]:
        if n := self.numbers.get(record.id):
            return "duplicate" if self.records[n - 1] == record else "conflict", n
        self.records.append(record)
        self.numbers[record.id] = self.last
        if isinstance(record, Command):
            self.pending.add(self.last)
            self.paused = record.kind == "pause"
        return "queued", self.last

    def commit(self, commit: Commit) -> None:
        step, version = commit.step, commit.version
        self.head = msgspec.structs.replace(
            self.head, step=step.k, offset=step.end, learned=self.head.learned + commit.learned
        )
        self.steps.append(step)
        self.pending.discard(step.plan.command or 0)
        self.rejected += commit.rejected
        if version is not None:
            number = version.version
            self.head = msgspec.structs.replace(self.head, version=number, manifest=version.manifest, newest=number)
            self.published.append(version)
            self.kept[version.version] = version

    def checkpoint(self, checkpoint: Checkpoint, log_keep: int) -> None:
        older = self.head.checkpoint
        self.head = msgspec.structs.replace(self.head, checkpoint=checkpoint, older_checkpoint=older)
        floor = min(older.offset if older else 0, self.last - log_keep, *(n - 1 for n in self.pending), self.last)
        self.trimmed = max(self.trimmed, floor)

    def covering(self, n: int) -> int | None:
        return min((version.version for version in self.published if version.offset >= n), default=None)

    def waiting(self) -> int:
        return sum(isinstance(record, Item) for record in self.records[self.head.offset :])


class Store(RuleBasedStateMachine):
    """One model of the store, under all that clients, sources, workers and admins do to it."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.connection = RedisConnection(url, f"machine-{secrets.token_hex(4)}:")
        self.catalog = Catalog(self.connection)
        self.deleted: list[tuple[Log, CommitLog, Lease]] = []
        self.counter = 0

    def teardown(self) -> None:
        self.do(self.connection.close())
        self.runner.close()

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.get_loop().run_until_complete(work)

    def refused(self, error: type[Exception], work: Coroutine[Any, Any, Any]) -> None:
        with pytest.raises(error):
            self.do(work)

    def unique(self) -> str:
        self.counter += 1
        return f"{self.counter:064}"

    @initialize()
    def create(self) -> None:
        self.expected = Expected(new_uid())
        self.newest: Commit | None = None
        uid = self.expected.uid
        self.do(self.catalog.create(uid, SPEC, self.expected.published[0]))
        self.log = Log(self.connection, uid, cap=Cap(CAP), receipt_seconds=3600)
        self.commit_log = CommitLog(self.connection, uid)
        self.workers = [self.lease("one"), self.lease("two")]
        self.crashed: list[Lease] = []

    def lease(self, owner: str) -> Lease:
        return Lease(self.connection, self.expected.uid, owner)

    # Clients and sources

    @rule(sent=RECORDS)
    def append(self, sent: list[tuple[str | None, str, bool]]) -> None:
        records = [record(given or self.unique(), kind, turn) for given, kind, turn in sent]
        if self.expected.is_full_for(records):
            self.refused(Busy, self.log.append(records))
            return
        receipts = self.do(self.log.append(records))
        assert [(receipt.status, receipt.n) for receipt in receipts] == self.expected.append(records)

    @rule()
    def fill_the_log(self) -> None:
        room = CAP - (self.expected.last - self.expected.head.offset)
        self.append([(None, "item", False)] * room)
        self.refused(Busy, self.log.append([item(self.unique())]))

    @precondition(lambda self: self.expected.records)
    @rule(data=st.data())
    def send_other_content_under_an_id(self, data: st.DataObject) -> None:
        known = data.draw(st.sampled_from(self.expected.records), "record")
        (receipt,) = self.do(self.log.append([turned(known)]))
        assert (receipt.status, receipt.n) == ("conflict", self.expected.numbers[known.id])

    @rule(source=st.sampled_from("st"), sent=RECORDS, is_lost=st.booleans(), is_sent_twice=st.booleans())
    def move_a_source(
        self, source: str, sent: list[tuple[str | None, str, bool]], is_lost: bool, is_sent_twice: bool
    ) -> None:
        records = [record(given or self.unique(), kind, turn) for given, kind, turn in sent]
        at, after = self.expected.sources.get(source, ""), self.unique()
        if is_lost:
            self.refused(Conflict, self.log.append(records, cursor=Cursor(source, "elsewhere", after)))
            return
        cursor = Cursor(source, at, after)
        if self.expected.has_conflict(records):
            # Its reader has to know which of its records are not taken, before its position moves.
            self.refused(Conflict, self.log.append(records, cursor=cursor))
            return
        if self.expected.is_full_for(records):
            self.refused(Busy, self.log.append(records, cursor=cursor))
            return
        receipts = self.do(self.log.append(records, cursor=cursor))
        assert [(receipt.status, receipt.n) for receipt in receipts] == self.expected.append(records)
        self.expected.sources[source] = after
        if is_sent_twice:
            assert self.do(self.log.append(records, cursor=cursor)) == []

    @rule(ahead=st.integers(0, 60), count=st.integers(1, 60))
    def read(self, ahead: int, count: int) -> None:
        after = self.expected.trimmed + ahead
        entries = self.do(self.log.read(after, count))
        numbered = list(enumerate(self.expected.records, 1))[after : after + count]
        assert [(entry.n, entry.record) for entry in entries] == numbered

    # Workers

    def owner(self) -> Lease:
        """The worker that owns the model; where none does, one takes over."""
        for lease in self.workers:
            if self.is_owner(lease):
                return lease
        self.let_the_lease_run_out()
        self.acquire(0)
        return self.workers[0]

    def is_owner(self, lease: Lease) -> bool:
        return 0 < lease.epoch == self.expected.epoch

    @rule(which=st.integers(0, 1))
    def acquire(self, which: int) -> None:
        lease, expected = self.workers[which], self.expected
        assert self.do(lease.acquire()) == (expected.holder in (None, lease.owner))
        if expected.holder in (None, lease.owner):
            expected.holder, expected.epoch = lease.owner, expected.epoch + 1
        assert lease.epoch == (expected.epoch if expected.holder == lease.owner else 0)

    @rule(which=st.integers(0, 1), dead=st.sampled_from(["one", "two", "nobody"]))
    def take_from_the_dead(self, which: int, dead: str) -> None:
        lease, expected = self.workers[which], self.expected
        is_free = expected.holder in (None, lease.owner, dead)
        assert self.do(lease.acquire(dead=dead)) == is_free
        if is_free:
            expected.holder, expected.epoch = lease.owner, expected.epoch + 1

    @rule(which=st.integers(0, 1))
    def ask_who_holds_it(self, which: int) -> None:
        lease = self.workers[which]
        assert self.do(lease.is_held()) == self.is_owner(lease)

    @rule(which=st.integers(0, 1))
    def release(self, which: int) -> None:
        lease = self.workers[which]
        self.do(lease.release())
        if self.expected.holder == lease.owner:
            self.expected.holder = None

    @rule()
    def let_the_lease_run_out(self) -> None:
        self.do(self.connection.redis.delete(self.workers[0].keys.lease))
        self.expected.holder = None

    @rule()
    def crash(self) -> None:
        former, epoch = self.owner(), self.expected.epoch
        self.crashed.append(former)
        self.workers[self.workers.index(former)] = self.lease(self.unique())
        assert self.owner().epoch > epoch

    @rule(data=st.data(), publishes=st.booleans(), steps=st.integers(1, 3))
    def commit_items(self, data: st.DataObject, publishes: bool, steps: int) -> None:
        for _ in range(steps):
            start, last = self.expected.head.offset, self.expected.last
            end = data.draw(st.just(last) | st.integers(start, last), "end")
            rejected = []
            if end > start and data.draw(st.booleans(), "rejects one"):
                rejected = [RejectedRecord(start + 1, self.expected.records[start].id, "rejected", "why", 1.8e9)]
            self.commit(Plan(updates=1, publish=publishes), end, rejected=rejected)

    @precondition(lambda self: self.expected.pending)
    @rule(data=st.data(), publishes=st.booleans())
    def commit_a_command(self, data: st.DataObject, publishes: bool) -> None:
        n = data.draw(st.sampled_from(sorted(self.expected.pending)), "command")
        command = self.expected.records[n - 1]
        assert isinstance(command, Command)
        paused = command.kind == "pause"
        self.commit(Plan(command=n, publish=publishes), self.expected.head.offset, paused=paused)

    def commit(self, plan: Plan, end: int, **more: Any) -> None:
        self.newest = self.prepared(self.owner(), plan, end, **more)
        self.do(self.commit_log.commit(self.newest))
        self.expected.commit(self.newest)

    def prepared(self, lease: Lease, plan: Plan, end: int, ahead: int = 1, **more: Any) -> Commit:
        head = self.expected.head
        k, learned = head.step + ahead, sum(isinstance(r, Item) for r in self.expected.records[head.offset : end])
        if plan.publish:
            number = head.version + 1
            more["version"] = Version(number, self.unique(), head.version, k, end, time.time(), "better", {"loss": 0.5})
        step = Step(k, head.offset, end, plan, f"digest{k}", number if plan.publish else None)
        return Commit(step, lease.epoch, self.unique(), learned, **more)

    @precondition(lambda self: self.newest)
    @rule()
    def commit_again(self) -> None:
        assert self.newest is not None
        if self.newest.epoch == self.expected.epoch:
            self.do(self.commit_log.commit(self.newest))
        else:
            self.refused(Fenced, self.commit_log.commit(self.newest))

    @rule(ahead=st.sampled_from([0, 2]), publishes=st.booleans())
    def commit_out_of_order(self, ahead: int, publishes: bool) -> None:
        commit = self.prepared(self.owner(), Plan(publish=publishes), self.expected.head.offset, ahead)
        self.refused(CorruptData, self.commit_log.commit(commit))

    @rule(data=st.data(), publishes=st.booleans())
    def act_as_a_former_owner(self, data: st.DataObject, publishes: bool) -> None:
        lease = data.draw(st.sampled_from([*self.workers, *self.crashed]), "who")
        if self.is_owner(lease):
            return
        command = min(self.expected.pending, default=None)
        plan = Plan(publish=publishes, command=command)
        self.refused(Fenced, self.commit_log.commit(self.prepared(lease, plan, self.expected.last)))
        head = self.expected.head
        self.refused(
            Fenced,
            self.commit_log.checkpoint(Checkpoint(self.unique(), head.step, head.offset), lease.epoch, log_keep=0),
        )

    @rule(data=st.data(), log_keep=st.sampled_from([0, 0, 5]), is_sent_twice=st.booleans())
    def checkpoint(self, data: st.DataObject, log_keep: int, is_sent_twice: bool) -> None:
        head, taken = self.expected.head, self.expected.head.checkpoint or Checkpoint("", 0, 0)
        since = [(step.k, step.end) for step in self.expected.steps[taken.step :]]
        k, offset = data.draw(st.sampled_from([(head.step, head.offset), *since]), "taken at")
        for _ in range(1 + is_sent_twice):
            self.name_checkpoint(Checkpoint(f"{k:064}", k, offset), log_keep)

    def name_checkpoint(self, checkpoint: Checkpoint, log_keep: int) -> None:
        self.do(self.commit_log.checkpoint(checkpoint, self.owner().epoch, log_keep))
        if checkpoint != self.expected.head.checkpoint:
            self.expected.checkpoint(checkpoint, log_keep)

    @rule(rounds=st.integers(1, 3), log_keep=st.sampled_from([0, 2]))
    def learn_for_a_while(self, rounds: int, log_keep: int) -> None:
        for _ in range(rounds):
            self.append([(None, "item", False), (None, "item", True)])
            self.commit(Plan(updates=1, publish=True), self.expected.last)
            head = self.expected.head
            self.name_checkpoint(Checkpoint(f"{head.step:064}", head.step, head.offset), log_keep)

    @rule(data=st.data())
    def retire(self, data: st.DataObject) -> None:
        kept = self.expected.kept
        some = st.just(set(kept)) | st.sets(st.sampled_from(sorted(kept)))
        numbers = data.draw(some, "versions") - {self.expected.head.version}
        self.do(self.commit_log.retire(sorted(numbers)))
        for number in numbers:
            del kept[number]
            self.refused(NotFound, self.commit_log.version(number))

    # Admins

    @rule()
    def create_under_a_taken_name(self) -> None:
        uid = new_uid()
        self.refused(Conflict, self.catalog.create(uid, SPEC, Expected(uid).published[0]))
        assert self.do(stored_keys(self.connection, uid)) == []

    @precondition(lambda self: self.expected.last > 10)
    @rule()
    def delete_and_make_again(self) -> None:
        former = self.log, self.commit_log, self.owner()
        assert self.do(self.catalog.delete(NAME)) == self.expected.uid
        self.refused(NotFound, self.catalog.uid(NAME))
        self.create()
        self.deleted.append(former)
        self.ask_deleted_models()

    @rule()
    def ask_deleted_models(self) -> None:
        for log, commit_log, lease in self.deleted:
            self.ask_deleted_model(log, commit_log, lease)

    def ask_deleted_model(self, log: Log, commit_log: CommitLog, lease: Lease) -> None:
        step = Step(1, 0, 0, Plan(), "digest")
        self.refused(NotFound, log.append([item("a")]))
        self.refused(NotFound, commit_log.head())
        self.refused(NotFound, commit_log.commit(Commit(step, lease.epoch, self.unique(), 0)))
        self.refused(Fenced, commit_log.checkpoint(Checkpoint(self.unique(), 0, 0), lease.epoch, log_keep=0))
        assert not self.do(lease.is_held())
        self.do(commit_log.report_progress("job", 0.5))
        assert not self.do(log.read(0, 100)) and not self.do(commit_log.steps(0)) and not self.do(commit_log.versions())
        assert all(":item:" in key for key in self.do(stored_keys(self.connection, log.uid))), "only receipts stay"

    # What holds at all times

    @invariant()
    def each_acknowledged_record_has_one_number_for_ever(self) -> None:
        receipts = self.do(self.log.append(self.expected.records))
        assert {(receipt.status, receipt.n) for receipt in receipts} == {
            ("duplicate", n + 1) for n in range(self.expected.last)
        }

    @invariant()
    def the_log_is_dense_from_where_it_was_trimmed(self) -> None:
        entries = self.do(self.log.read(self.expected.trimmed, 1000))
        assert [entry.n for entry in entries] == list(range(self.expected.trimmed + 1, self.expected.last + 1))
        assert [entry.record for entry in entries] == self.expected.records[self.expected.trimmed :]
        if 0 < self.expected.trimmed < self.expected.last:
            self.refused(CorruptData, self.log.read(self.expected.trimmed - 1, 1000))

    @invariant()
    def what_the_newest_two_checkpoints_need_is_there(self) -> None:
        older = self.expected.head.older_checkpoint or Checkpoint("", 0, 0)
        assert len(self.do(self.log.read(older.offset, 1000))) == self.expected.last - older.offset
        assert self.do(self.commit_log.steps(older.step)) == self.expected.steps[older.step :]

    @invariant()
    def the_head_is_where_the_commits_have_moved_it(self) -> None:
        head = self.do(self.commit_log.head())
        assert head == self.expected.head
        assert head.version == len(self.expected.published), "versions only grow, one at a time"
        assert self.do(self.commit_log.versions()) == [self.expected.kept[n] for n in sorted(self.expected.kept)]
        covered = self.do(self.commit_log.covering(head.offset))
        assert covered == self.expected.covering(head.offset)
        for label in self.expected.rejected:
            known = self.do(self.log.find(label.id))
            assert known is not None and known.exception == (label.state, label.reason)
        listed = self.do(RejectedLabels(self.connection, self.commit_log.uid).newest(1000))
        assert listed == self.expected.rejected[::-1]

    @invariant()
    def each_source_stands_after_what_it_has_delivered(self) -> None:
        found = self.do(self.connection.redis.hgetall(self.log.keys.sources))
        assert {source.decode(): at.decode() for source, at in found.items()} == self.expected.sources

    @invariant()
    def the_lease_is_with_one_worker(self) -> None:
        holder = self.do(self.connection.redis.get(self.log.keys.lease))
        assert (holder.decode() if holder else None) == self.expected.holder

    @invariant()
    def the_commands_that_wait_are_those_not_carried_out(self) -> None:
        found = self.do(self.connection.redis.zrange(self.log.keys.pending, 0, -1))
        assert [int(n) for n in found] == sorted(self.expected.pending)
        for n in self.expected.pending:
            assert self.do(self.log.get(n)) is not None

    @invariant()
    def the_name_stands_for_this_model(self) -> None:
        (model,) = self.do(self.catalog.models())
        expected = self.expected
        assert (model.uid, model.head, model.last) == (expected.uid, expected.head, expected.last)
        assert model.waiting == expected.waiting()
        assert model.paused == expected.paused, "as the newest pause or resume has it, carried out or not"


def test_no_order_of_events_breaks_what_was_acknowledged(embedded: str) -> None:
    class Machine(Store):
        def __init__(self) -> None:
            super().__init__(embedded)

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=settings().max_examples // 3,
            stateful_step_count=30,
            suppress_health_check=list(HealthCheck),
        ),
    )
