"""The commit protocol of one model: how a step becomes durable, and how a learner recovers after a crash.

A step exists first in memory, then in files, then in the store, in this order:

1. The learner has computed it. A crash loses it, and the next owner computes it again from the log.
2. The files of its version are written and synced, because a head must never name a file that is not there. A crash
   leaves files that nothing refers to; retention collects them.
3. ``commit.lua`` appends the step, moves the head and all that changes with it, in one script. It checks the lease's epoch
   and that the step is the next one, so that an owner that was silent for too long changes nothing; and it knows the token
   of the last commit, so that one whose answer was lost can be sent again. After a crash that follows it the next owner
   finds the step, and repeats it from its plan and records.
4. The learner's head in memory follows.
5. Retention deletes what the new head no longer refers to. It comes last: nothing brings a deleted file back. A
   crash before it leaves files for the next time.

A checkpoint has the same order: the state is written, then named by ``checkpoint.lua``, which also trims the log, then files
are collected. It commits no step; it only shortens recovery.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import msgspec

from driftline.errors import Unavailable
from driftline.learning.learner import Learner
from driftline.learning.step_result import StepResult
from driftline.networks.model import Model
from driftline.records import Command, Item, Plan
from driftline.store.commits import Checkpoint, Commit, Head, JobRecord, Step, apply_commit
from driftline.store.lease import Lease
from driftline.store.log import LogEntry
from driftline.store.rejected import RejectedRecord
from driftline.store.replacement import Replacement
from driftline.support.failpoints import reach
from driftline.support.tracing import Tracing
from driftline.versions import Position

from .commands import JOBS, Effect
from .compute import Compute
from .conditions import Conditions
from .durations import Durations
from .model_store import COUNTS, REFUSED_FILES, ModelStore
from .publishing import prepare
from .recovery import recover
from .retention import Retention
from .schedule import StepSchedule
from .score_buckets import OpenBuckets
from .step_counts import counted
from .step_events import step_events
from .step_traces import StepTraces

logger = logging.getLogger("driftline.committer")

T = TypeVar("T")


class Stopped(Exception):
    """The committer is stopping, and does not wait for the store: the next owner computes again what is not committed."""


class Committer:
    """Owns a model's learner and head, which always are in the state of the last committed step."""

    learner: Learner
    head: Head

    def __init__(
        self,
        store: ModelStore,
        lease: Lease,
        compute: Compute,
        durations: Durations | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self.traces = StepTraces(tracing)
        self.store = store
        self.lease = lease
        self.compute = compute
        self.name = store.uid
        self.conditions = Conditions(store)
        self.schedule = StepSchedule(store.settings.checkpoint_seconds, durations=durations)
        self.counts: dict[str, int] = {}
        self.retention = Retention(store)
        self.scores = OpenBuckets(store.scores)
        self.is_stopping = self.is_recovered = self.is_paused = False
        self.is_unpublished = False
        """Whether labels are learned that no version covers."""
        self.covered = 0
        """The offset up to which versions that are live, or were, have learned."""
        self._waited = 0.0

    async def recover(self) -> None:
        """Restores the learner to the state of the last committed step."""
        await self.retry_until_available(self._recover)

    async def _recover(self) -> None:
        recovered = await recover(self.store, self.compute)
        self.learner = recovered.learner
        self.head = recovered.head
        self.is_paused = recovered.paused
        self.counts = await self.store.counts()
        self.name = self.store.alarms.name = self.learner.spec.name
        live = await self.store.commit_log.version(self.head.version)
        self.is_unpublished = live.offset < self.head.offset
        self.covered = live.offset
        await self.scores.recover()
        self.schedule.begin()
        if recovered.is_restarted:
            # No step leads to the state of this learner, so it needs a checkpoint at once; and it will say of no alarm that
            # it is over.
            await self.store.withdraw("drift", "inputs")
            await self.checkpoint()
        await self._fail_lost_jobs()
        self.is_recovered = True

    async def _fail_lost_jobs(self) -> None:
        """Ends the jobs that were running when the learner had to restart without them."""
        running = self.learner.retraining
        pending = await self.store.pending_ids()
        for job in await self.store.commit_log.running_jobs():
            if (running is None or running.job != job.id) and job.id not in pending:
                lost = JobRecord(job.id, "failed", report={"reason": "lost: recovery could not repeat it"})
                await self.commit(Plan(), StepResult(), effect=Effect(jobs=[lost]))

    async def commit(
        self,
        plan: Plan,
        result: StepResult,
        *,
        end: int | None = None,
        batch: Sequence[LogEntry] = (),
        effect: Effect | None = None,
        replacement: Replacement | None = None,
    ) -> None:
        """Commits a step over ``batch``, with the version that it publishes; see the top of this file for the order.

        A store that does not answer is waited for: a computed step is either committed, or lost with this process.

        Args:
            plan: what recovery needs, beside the records, to repeat the step.
            result: what the learner returned for the step.
            end: the log number that the step reaches; default: the head's, for a step that takes no records.
            batch: the records that it takes.
            effect: what else changes, besides the learner.
            replacement: what goes with it, where no step leads to the learner; its checkpoint is committed with the step.

        Raises:
            Fenced: another worker owns the model now.
            CorruptData: the head is not where this owner left it.
            NotFound: the model was deleted.
        """
        effect, begin = effect or Effect(), self._worked
        at = Position(self.head.step + 1, self.head.offset if end is None else end)
        commit = await self._prepared(at, plan, result, batch, effect)
        if replacement is not None:
            place = await self.retry_until_available(lambda: self._write_checkpoint(at))
            whole = msgspec.structs.replace(replacement, checkpoint=place.manifest)
            commit = msgspec.structs.replace(commit, replacement=whole)
        await self.retry_until_available(lambda: self.store.commit_log.commit(commit))
        reach("trainer.committed")
        self._tell(commit)
        self._follow(commit, self._worked - begin)
        if commit.version is not None:
            await self.retention.apply(self.head, commit.version)

    async def _prepared(
        self, at: Position, plan: Plan, result: StepResult, batch: Sequence[LogEntry], effect: Effect
    ) -> Commit:
        """Writes the version's files, if the step publishes one, and says what the step changes."""
        learner, head, decision = self.learner, self.head, result.decision
        publication = await self.retry_until_available(
            lambda: prepare(self.store, self.compute, learner, head, at, result, effect)
        )
        version = publication.version
        if version is not None and self.traces.unserved:
            version = msgspec.structs.replace(version, contexts=self.traces.unserved)
        number = version.version if version else None
        step = Step(
            k=at.step,
            start=head.offset,
            end=at.offset,
            plan=plan,
            digest=await self.compute(learner.digest),
            version=number,
            decision=decision.as_json() if decision else None,
        )
        is_new_spec = effect.is_new_spec or (decision is not None and decision.restored)
        return Commit(
            step=step,
            epoch=self.lease.epoch,
            token=f"{self.lease.owner}:{self.lease.epoch}:{at.step}",
            learned=sum(isinstance(entry.record, Item) for entry in batch),
            version=version,
            share=publication.share,
            ends_canary=publication.ends_canary,
            spec=learner.spec.model_dump(mode="json") if is_new_spec else None,
            rejected=_rejected(batch, result),
            released=result.released,
            jobs=[await self._whole(job, number, effect.command) for job in effect.jobs],
            paused=effect.paused,
            metrics=learner.metrics() | {COUNTS: counted(self.counts, result, effect)},
            alarms={alarm.kind: alarm.as_json() | {"time": self.store.now()} for alarm in result.alarms},
            over=result.over,
            buckets=self.scores.add(
                learner.spec, learner.classes, result.served, {entry.n: entry.time for entry in batch}
            ),
            events=step_events(result, effect, publication, at, self.covered),
        )

    async def _whole(self, job: JobRecord, version: int | None, command: Command | None) -> JobRecord:
        """A job with its version, and with who has asked for it and why: its command tells, or what is stored of it."""
        if command is not None and command.id == job.id:
            number = version or job.version
            return msgspec.structs.replace(job, version=number, reason=command.reason, asked_by=command.actor)
        known = await self.retry_until_available(lambda: self.store.commit_log.job(job.id)) or job
        return msgspec.structs.replace(job, version=version, reason=known.reason, asked_by=known.asked_by)

    def _tell(self, commit: Commit) -> None:
        """Logs what a committed step has done, and which labels it has not learned."""
        for event in commit.events:
            event.log(self.name)
        for label in commit.rejected:
            about = {"model": self.name, "label": label.id, "step": commit.step.k}
            logger.warning("a label was %s: %s", label.state, label.reason, extra=about)

    def _follow(self, commit: Commit, seconds: float) -> None:
        """Updates head, schedule and files after a committed step, which took ``seconds``."""
        self.head = apply_commit(self.head, commit)
        self.counts = commit.metrics[COUNTS] if commit.metrics else self.counts
        self.is_paused = self.is_paused if commit.paused is None else commit.paused
        if commit.step.plan.publish:
            self.schedule.tried()
        if commit.version is not None and commit.share is None:
            self.is_unpublished, self.covered = False, commit.step.end
            self.schedule.published(seconds)
            self.traces.served()
            return
        self.is_unpublished |= commit.learned > 0
        if commit.step.decision is not None and commit.version is None and not commit.ends_canary:
            self.schedule.refused(self.learner.spec.recipe.trigger.seconds)

    async def refuse(self, n: int, command: Command, reason: str, state: str = "failed") -> None:
        """Commits that a command cannot be carried out; its job, if it has one, ends in ``state``."""
        is_job = command.kind in JOBS
        if state == "failed":
            await self.store.alarm("command_failed", f"{command.kind} (record {n}): {reason}")
        jobs = [JobRecord(command.id, state, report={"reason": reason})] if is_job else []
        effect = Effect(jobs=jobs, command=command if is_job else None)
        await self.commit(Plan(command=n, set_aside=reason), StepResult(), effect=effect)

    @property
    def has_candidate(self) -> bool:
        """Whether there are learned labels that no version covers, and the gate may decide at any time."""
        is_asked = self.learner.spec.recipe.gate.mode in ("auto", "off")
        return self.is_unpublished and is_asked and not self.is_paused

    @property
    def has_advanced(self) -> bool:
        """Whether there are steps after the newest checkpoint."""
        return self.head.step > (self.head.checkpoint.step if self.head.checkpoint else 0)

    async def checkpoint(self) -> None:
        """Writes the learner's whole state, from which recovery begins, and trims log and steps that it replaces.

        Steps and records are trimmed only up to the previous checkpoint, where recovery begins if this one is damaged.
        """
        begin = time.monotonic()
        place = await self._write_checkpoint(Position(self.head.step, self.head.offset))
        reach("trainer.checkpointing")
        await self.store.commit_log.checkpoint(place, self.lease.epoch, self.store.settings.log_keep)
        reach("trainer.checkpointed")
        self.head = msgspec.structs.replace(self.head, checkpoint=place, older_checkpoint=self.head.checkpoint)
        self.schedule.checkpointed(time.monotonic() - begin)
        await self.retention.apply(self.head)

    async def _write_checkpoint(self, at: Position) -> Checkpoint:
        """Writes the files of a checkpoint, which nothing names yet."""
        learner = self.learner
        # Nothing computes for this model until the state is written, so that it is not copied.
        state = await self.compute(learner.present_state)
        model = Model(learner.spec, learner.classes, learner.module)
        return await asyncio.to_thread(self.store.version_files.write_checkpoint, model, state, at)

    async def retry_until_available(self, action: Callable[[], Awaitable[T]]) -> T:
        """Repeats an action on the store until the store answers.

        Raises:
            Stopped: it does not answer, and this committer is to end.
        """
        while True:
            try:
                return await action()
            except Unavailable as error:
                if self.is_stopping:
                    raise Stopped(error.message) from error
                await self.wait_for_store(error)

    async def wait_for_store(self, error: Unavailable) -> None:
        """Waits for the ``retry_after`` of an error before the store or the artifacts are tried again."""
        logger.warning("%s waits for its store: %s", self.name, error)
        if error.code in REFUSED_FILES:
            await self.conditions.raise_once(error.code, error.message)
        begin = time.monotonic()
        await asyncio.sleep(error.retry_after or 1)
        self._waited += time.monotonic() - begin

    @property
    def _worked(self) -> float:
        """A clock in seconds that stops while the store is waited for: an outage does not count as time spent publishing."""
        return time.monotonic() - self._waited


def _rejected(batch: Sequence[LogEntry], result: StepResult) -> list[RejectedRecord]:
    """The labels of a batch that were not learned, and why."""
    entries = {entry.n: entry for entry in batch}
    return [
        RejectedRecord(n, entries[n].record.id, state, why, entries[n].time)
        for state, found in (("rejected", result.rejected), ("quarantined", result.quarantined))
        for n, why in found.items()
    ]
