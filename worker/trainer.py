"""One model's loop: read → score → learn → gate → commit."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from typing import Any, TypeVar

import msgspec

from driftline.errors import CorruptData, DriftlineError, Unavailable
from driftline.learning.reports.evaluation import JobEvaluation
from driftline.learning.step_result import StepResult
from driftline.learning.training.updates_per_step import updates_for
from driftline.networks.user_code import reason_of
from driftline.records import Command, Item, Plan
from driftline.store.commits import Commit, JobRecord, Step, apply_commit
from driftline.store.lease import Lease
from driftline.store.log import LogEntry
from driftline.store.watermarks import RESTORE
from driftline.support.failpoints import reach
from driftline.versions import Position

from . import jobs
from .commands import JOBS, REFUSALS, Effect, carry_out, must_wait
from .comparison import compare
from .model_store import CONDITIONS, ModelStore
from .publishing import prepare
from .recovery import recover
from .retention import Retention
from .schedule import StepSchedule

logger = logging.getLogger("driftline.trainer")

T = TypeVar("T")
READ_AHEAD = 1024
HALTED_SECONDS = 10.0
HALTING = ("log_gap", "store_lost")


class Trainer:
    """Learns the log of one model for as long as this worker owns it.

    Its state is the learner and the head; :func:`.recovery.recover` gives both back after any crash. What a step
    computes is true once it is committed, and not before.
    """

    def __init__(self, store: ModelStore, lease: Lease, thread: Executor) -> None:
        self.store = store
        self.name = store.uid
        self.lease = lease
        self.thread = thread
        self.retention = Retention(store)
        self.wake = asyncio.Event()
        self.is_stopping = self.is_recovered = self.is_halted = False
        self.conditions = {"of owners before"}
        self._waited = 0.0
        self.schedule = StepSchedule(store.settings.checkpoint_seconds)

    def stop(self) -> None:
        """Asks :meth:`run` to end behind the step that it is at."""
        self.is_stopping = True
        self.wake.set()

    async def run(self) -> None:
        """Recovers, then learns until it is stopped.

        Raises:
            Fenced: another worker owns the model now.
            NotFound: the model has been deleted.
            CorruptData: the head is not where this trainer left it.
        """
        try:
            await self.recover()
            while not self.is_stopping:
                self.wake.clear()
                try:
                    is_busy = await self._advance()
                    await self._withdraw()
                except (Unavailable, CorruptData) as error:
                    if error.code in HALTING:
                        await self._halt(error)
                    elif isinstance(error, CorruptData):
                        raise
                    else:
                        await self._wait_for_store(error)
                    continue
                if not is_busy:
                    await self._wait()
            if self._has_advanced and not self.is_halted:
                await self.checkpoint()
        except (_Stopped, Unavailable) as error:
            logger.warning("%s ends without a checkpoint: %s", self.name, error)

    async def _halt(self, error: DriftlineError) -> None:
        """Waits while the log is not whole: nothing is learned beyond what is missing, and no feedback taken, until it is."""
        if not self.is_halted:
            self.is_halted = True
            logger.error("%s is halted: %s", self.name, error)
        await self._stands(error.code, error.message)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(HALTED_SECONDS):
                await self.wake.wait()

    async def _wait_for_store(self, error: Unavailable) -> None:
        logger.warning("%s waits for its store: %s", self.name, error)
        if error.code == "disk":
            await self._stands("disk", error.message)
        begin = time.monotonic()
        await asyncio.sleep(error.retry_after or 1)
        self._waited += time.monotonic() - begin

    @property
    def _worked(self) -> float:
        """Seconds by a clock that stands still while the store is waited for: publishing is not dearer for an outage."""
        return time.monotonic() - self._waited

    async def _stands(self, kind: str, message: str) -> None:
        """Raises the alarm of a condition, once for as long as it lasts."""
        if kind not in self.conditions:
            with contextlib.suppress(Unavailable):
                await self.store.alarm(kind, message)
                self.conditions.add(kind)

    async def _withdraw(self) -> None:
        """Takes back what this trainer, and the owners before it, have raised about conditions: a turn has succeeded."""
        if self.conditions:
            await self.store.withdraw(*CONDITIONS)
            self.conditions.clear()
            self.is_halted = False

    async def recover(self) -> None:
        """Puts the learner back to where the last committed step left it."""
        await self.retry_until_available(self._recover)

    async def _recover(self) -> None:
        recovered = await recover(self.store, self.compute)
        self.learner = recovered.learner
        self.head = recovered.head
        self.paused = recovered.paused
        self.name = self.learner.spec.name
        live = await self.store.commit_log.version(self.head.version)
        self.is_unpublished = live.offset < self.head.offset
        self.schedule.begin()
        if recovered.is_restarted:
            await self.checkpoint()
        await jobs.fail_lost(self)
        self.is_recovered = True

    async def _advance(self) -> bool:
        """One turn over all that there is to do; False when there was nothing."""
        newest = await self.store.log.newest()
        if newest < self.head.offset:
            await self._go_back(newest)
        entries = await self.store.log.read(self.head.offset, READ_AHEAD)
        did_obey = await self._apply_commands()
        did_learn = not self.paused and await self._learn(entries, newest)
        did_retrain = await jobs.slice_of(self)
        if not did_learn and self._has_candidate and self.schedule.until_candidate <= 0:
            # One that the gate has rejected would be rejected again: it replays first.
            updates = self.learner.spec.recipe.updates if self.schedule.was_refused else 0
            await self._step([], self._plan(updates, publish=True), self.head.offset)
        if self._has_advanced and self.schedule.until_checkpoint <= 0:
            await self.checkpoint()
        return did_obey or did_learn or did_retrain

    async def _go_back(self, newest: int) -> None:
        """The store has lost its last writes, no more than it may: stands where it stands."""
        lost = f"the log ends at record {newest}, and record {self.head.offset} was learned: the store has lost its last writes"
        await self.store.alarm("writes_lost", f"{lost}; send again the labels of the moments before")
        await self.recover()
        if newest < self.head.offset:
            raise CorruptData(f"{lost}; {RESTORE}", code="log_gap")

    async def _learn(self, entries: list[LogEntry], newest: int) -> bool:
        """When the trigger opens, steps over what waits; far behind ``newest``, the log's last number, steps are lighter."""
        self.schedule.look(entries, self.store.now())
        recipe = self.learner.spec.recipe
        if not entries or (len(entries) < recipe.trigger.labels and self._until_step() > 0):
            return False
        while entries and not self.is_stopping:
            batch, entries = entries[: recipe.batch_size], entries[recipe.batch_size :]
            plan = self._plan_over(batch, newest, publish=not entries and self.schedule.publishing.is_open)
            await self._step(batch, plan, batch[-1].n)
        self.schedule.look([], self.store.now())
        return True

    def _plan_over(self, batch: list[LogEntry], newest: int, publish: bool) -> Plan:
        """What a step over a batch does. Commands alone teach nothing: what is served stays as they left it."""
        recipe, end = self.learner.spec.recipe, batch[-1].n
        rows = sum(isinstance(entry.record, Item) for entry in batch)
        if not rows:
            return Plan()
        updates = updates_for(recipe, rows, has_backlog=newest - end > recipe.batch_size)
        job = jobs.name_behind(self, end) if recipe.on_alarm == "retrain" else None
        return self._plan(updates, publish, job)

    def _plan(self, updates: int, publish: bool, job: str | None = None) -> Plan:
        return Plan(updates=updates, publish=publish, version=self.head.newest + 1, job=job)

    async def _step(self, batch: list[LogEntry], plan: Plan, end: int) -> None:
        """Learns a batch and commits what came of it."""
        items = [(entry.n, entry.record) for entry in batch if isinstance(entry.record, Item)]
        numbers, examples = [n for n, _ in items], [item for _, item in items]
        try:
            outcome = await self.compute(self.learner.learn, examples, numbers, plan)
        except Exception as error:  # A user's own network may raise anything.
            logger.exception("%s: a step failed", self.name)
            await self.recover()
            await self._bisect_failing_batch(batch, plan, end, error)
            return
        reach("trainer.learned")
        await self.commit(plan, outcome, end=end, batch=batch, effect=Effect(jobs=jobs.changed(outcome)))

    async def _bisect_failing_batch(self, batch: list[LogEntry], plan: Plan, end: int, error: Exception) -> None:
        """A batch that fails is halved, until the record that fails by itself is found and quarantined."""
        if len(batch) > 1:
            middle = len(batch) // 2
            await self._step(batch[:middle], plan, batch[middle - 1].n)
            await self._step(batch[middle:], plan, end)
            return
        reason = reason_of(error)
        await self.store.alarm("step_failed", f"the network failed on record {end}: {reason}")
        items = [entry.n for entry in batch if isinstance(entry.record, Item)]
        outcome = StepResult(quarantined=dict.fromkeys(items, reason))
        await self.commit(Plan(set_aside=reason), outcome, end=end, batch=batch)

    async def _apply_commands(self) -> bool:
        """Carries out the commands that wait, ahead of the labels that wait; the plan records where."""
        did = False
        for n in await self.store.pending():
            entry = await self.store.log.get(n)
            if entry is None or not isinstance(entry.record, Command):
                raise CorruptData(f"the log lacks the command {n}; {RESTORE}", code="log_gap")
            if not must_wait(self.learner, entry.record):
                await self._carry_out(n, entry.record)
                did = True
        return did

    async def _carry_out(self, n: int, command: Command) -> None:
        if command.kind == "cancel":
            await jobs.cancel_waiting(self, command.arguments["job"])
        plan = Plan(command=n, version=self.head.newest + 1, finish=jobs.waiting(self, command))
        try:
            effect = await self._effect_of(command, plan)
        except REFUSALS as error:
            await self.refuse(n, command, error.message)
            return
        except Unavailable:
            raise
        except Exception as error:  # A user's own factory may raise anything.
            logger.exception("%s: command %d failed", self.name, n)
            await self.recover()
            await self.refuse(n, command, reason_of(error))
            return
        await self.commit(plan, StepResult(), effect=effect)
        if effect.needs_checkpoint:
            await self.checkpoint()

    async def _effect_of(self, command: Command, plan: Plan) -> Effect:
        """Does what a command says, and what recovery need not repeat: it only looks."""
        if command.kind == "compare":
            return await compare(self, command)
        examination = await self.compute(JobEvaluation, self.learner) if plan.finish else None
        effect = await carry_out(self.store, self.compute, self.learner, command, self.head.offset, plan)
        return effect if examination is None else await self.compute(jobs.reported, effect, examination)

    async def refuse(self, n: int, command: Command, reason: str, state: str = "failed") -> None:
        """Passes over a command that cannot be carried out; its job, if it has one, ends in ``state``."""
        is_job = command.kind in JOBS
        if state == "failed":
            await self.store.alarm("command_failed", f"{command.kind} (record {n}): {reason}")
        effect = Effect(jobs=[JobRecord(command.id, state, report={"reason": reason})] if is_job else [])
        await self.commit(Plan(command=n, set_aside=reason), StepResult(), effect=effect)

    async def commit(
        self,
        plan: Plan,
        outcome: StepResult,
        *,
        end: int | None = None,
        batch: Sequence[LogEntry] = (),
        effect: Effect | None = None,
    ) -> None:
        """Makes a step over ``batch`` true, with the version that it publishes; then the trainer stands behind it.

        A store that does not answer is waited for: a step that is computed is either committed or lost with this process.
        """
        effect, decision, begin = effect or Effect(), outcome.decision, self._worked
        at = Position(self.head.step + 1, self.head.offset if end is None else end)
        release = await prepare(self, outcome, effect, at)
        number = release.version.version if release.version else None
        step = Step(
            k=at.step,
            start=self.head.offset,
            end=at.offset,
            plan=plan,
            digest=await self.compute(self.learner.digest),
            version=number,
            decision=decision.as_json() if decision else None,
        )
        is_new_spec = effect.is_new_spec or (decision is not None and decision.restored)
        commit = Commit(
            step=step,
            epoch=self.lease.epoch,
            token=f"{self.lease.owner}:{self.lease.epoch}:{at.step}",
            learned=sum(isinstance(entry.record, Item) for entry in batch),
            version=release.version,
            share=release.share,
            ends_canary=release.ends_canary,
            spec=self.learner.spec.model_dump(mode="json") if is_new_spec else None,
            exceptions=_exceptions(batch, outcome),
            jobs=[msgspec.structs.replace(job, version=number) for job in effect.jobs],
            paused=effect.paused,
            metrics=self.learner.metrics(),
        )
        await self.retry_until_available(lambda: self.store.commit_log.commit(commit))
        reach("trainer.committed")
        self._advance_head(commit, self._worked - begin)
        if release.version is not None:
            await self.retention.apply()

    def _advance_head(self, commit: Commit, seconds: float) -> None:
        """Goes on from a step that is committed, which took so long."""
        self.head = apply_commit(self.head, commit)
        self.paused = self.paused if commit.paused is None else commit.paused
        if commit.version is not None and commit.share is None:
            self.is_unpublished = False
            self.schedule.published(seconds)
            return
        self.is_unpublished |= commit.learned > 0
        if commit.step.decision is not None and commit.version is None and not commit.ends_canary:
            self.schedule.refused(self.learner.spec.recipe.trigger.seconds)

    @property
    def _has_candidate(self) -> bool:
        """Whether labels are learned that no version covers, and the gate may be asked at any time."""
        is_asked = self.learner.spec.recipe.gate.mode in ("auto", "off")
        return self.is_unpublished and is_asked and not self.paused

    def _until_step(self) -> float:
        """Seconds until the labels that wait have waited long enough; behind a drift alarm none has to."""
        is_hurried = self.learner.monitor.is_hurried(self.head.offset)
        return 0.0 if is_hurried else self.schedule.until_step(self.learner.spec.recipe.trigger.seconds)

    @property
    def _has_advanced(self) -> bool:
        """Whether there are steps behind the newest checkpoint."""
        return self.head.step > (self.head.checkpoint.step if self.head.checkpoint else 0)

    async def checkpoint(self) -> None:
        """Writes the learner's whole state, from which recovery begins, and trims what it makes superfluous."""
        begin = time.monotonic()
        at = Position(self.head.step, self.head.offset)
        state = await self.compute(self.learner.state_dict)
        place = await asyncio.to_thread(self.store.publisher.checkpoint, self.learner, state, at)
        reach("trainer.checkpointing")
        await self.store.commit_log.checkpoint(place, self.lease.epoch, self.store.settings.log_keep)
        reach("trainer.checkpointed")
        self.head = msgspec.structs.replace(self.head, checkpoint=place, older_checkpoint=self.head.checkpoint)
        self.schedule.checkpointed(time.monotonic() - begin)
        await self.retention.apply()

    async def compute(self, function: Callable[..., T], *arguments: Any) -> T:
        """Runs ``function`` on the one compute thread, in turn with all other models."""
        return await asyncio.get_running_loop().run_in_executor(self.thread, function, *arguments)

    async def retry_until_available(self, action: Callable[[], Awaitable[T]]) -> T:
        """Does something that needs the store; one that does not answer is waited for."""
        while True:
            try:
                return await action()
            except Unavailable as error:
                if self.is_stopping:
                    raise _Stopped(error.message) from error
                await self._wait_for_store(error)

    def has_missed(self, newest: int, pending: int) -> bool:
        """Whether the log, which ends at ``newest``, holds something that this trainer may not have been told of."""
        return self.is_recovered and not self.is_halted and (newest > self.head.offset or pending > 0)

    async def _wait(self) -> None:
        """Until somebody wakes it, or one of its own times has come: a trigger's, another candidate's, a checkpoint's."""
        times = []
        if self.schedule.is_waiting and not self.paused:
            times.append(self._until_step())
        if self._has_candidate:
            times.append(self.schedule.until_candidate)
        if self._has_advanced:
            times.append(self.schedule.until_checkpoint)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.01, min(times)) if times else None):
                await self.wake.wait()


def _exceptions(batch: Sequence[LogEntry], outcome: StepResult) -> dict[str, str]:
    """Why records were not learned, by id."""
    ids = {entry.n: entry.record.id for entry in batch}
    return {
        **{ids[n]: f"rejected:{why}" for n, why in outcome.rejected.items()},
        **{ids[n]: f"quarantined:{why}" for n, why in outcome.quarantined.items()},
    }


class _Stopped(Exception):
    """A trainer that is to end does not wait for its store: what is not committed is computed again by the next owner."""
