"""One model's loop: read → score → learn → gate → commit."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from typing import Any, TypeVar

import msgspec

from driftline.errors import CorruptData, DriftlineError, Unavailable
from driftline.failpoints import reach
from driftline.learning.learner import Outcome
from driftline.learning.pace import updates_for
from driftline.learning.report import Examination
from driftline.networks.functions import reason_of
from driftline.publisher import Position
from driftline.records import Command, Item, Plan
from driftline.store.backlog import RESTORE
from driftline.store.head import Commit, Job, Step, Version, moved
from driftline.store.lease import Lease
from driftline.store.log import Entry
from worker import jobs
from worker.budget import Budget
from worker.commands import REFUSALS, Effect, carry_out, must_wait
from worker.model_store import CONDITIONS, ModelStore
from worker.recovery import recover
from worker.retention import Retention

logger = logging.getLogger("driftline.trainer")

T = TypeVar("T")
READ_AHEAD = 1024
LONGEST_RETRY_SECONDS = 60.0
HALTED_SECONDS = 10.0
HALTING = ("log_gap", "store_lost")


class Trainer:
    """Learns the log of one model for as long as this worker owns it.

    Its state is the learner and the head; :func:`worker.recovery.recover` gives both back after any crash. What a step
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
        self.publishing = Budget()
        self.checkpointing = Budget()

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
            if self.head.step > self._checkpointed_step and not self.is_halted:
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
        await asyncio.sleep(error.retry_after or 1)

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
        await self._insist(self._recover)

    async def _recover(self) -> None:
        recovered = await recover(self.store, self.compute)
        self.learner = recovered.learner
        self.head = recovered.head
        self.paused = recovered.paused
        self.name = self.learner.spec.name
        live = await self.store.history.version(self.head.version)
        self.is_unpublished = live.offset < self.head.offset
        self._retry_seconds = self._retry_at = 0.0
        self._oldest, self._waits_since = 0, math.inf
        self._checkpointed_at = time.monotonic()
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
        did_obey = await self._obey()
        did_learn = not self.paused and await self._learn(entries, newest)
        did_retrain = await jobs.slice_of(self)
        if not did_learn and self._may_try_again():
            # One that the gate has rejected would be rejected again: it replays first.
            updates = self.learner.spec.recipe.updates if self._retry_seconds else 0
            await self._step([], self._plan(updates, publish=True), self.head.offset)
        if self._is_checkpoint_due():
            await self.checkpoint()
        return did_obey or did_learn or did_retrain

    async def _go_back(self, newest: int) -> None:
        """The store has lost its last writes, no more than it may: stands where it stands."""
        lost = f"the log ends at record {newest}, and record {self.head.offset} was learned: the store has lost its last writes"
        await self.store.alarm("writes_lost", f"{lost}; send again the labels of the moments before")
        await self.recover()
        if newest < self.head.offset:
            raise CorruptData(f"{lost}; {RESTORE}", code="log_gap")

    async def _learn(self, entries: list[Entry], newest: int) -> bool:
        """When the trigger opens, steps over what waits; far behind ``newest``, the log's last number, steps are lighter."""
        self._look_at_oldest(entries)
        recipe = self.learner.spec.recipe
        if not entries or (len(entries) < recipe.trigger.labels and self._trigger_seconds() > 0):
            return False
        while entries and not self.is_stopping:
            batch, entries = entries[: recipe.batch_size], entries[recipe.batch_size :]
            has_backlog = newest - batch[-1].n > recipe.batch_size
            updates = updates_for(recipe, len(batch), has_backlog)
            job = jobs.name_behind(self, batch[-1].n) if recipe.on_alarm == "retrain" else None
            plan = self._plan(updates, publish=not entries and self.publishing.is_open, job=job)
            await self._step(batch, plan, batch[-1].n)
        self._look_at_oldest([])
        return True

    def _plan(self, updates: int, publish: bool, job: str | None = None) -> Plan:
        return Plan(updates=updates, publish=publish, version=self.head.newest + 1, job=job)

    async def _step(self, batch: list[Entry], plan: Plan, end: int) -> None:
        """Learns a batch and commits what came of it."""
        items = [(entry.n, entry.record) for entry in batch if isinstance(entry.record, Item)]
        numbers, examples = [n for n, _ in items], [item for _, item in items]
        try:
            outcome = await self.compute(self.learner.learn, examples, numbers, plan)
        except Exception as error:  # A user's own network may raise anything.
            logger.exception("%s: a step failed", self.name)
            await self.recover()
            await self._take_apart(batch, plan, end, error)
            return
        reach("trainer.learned")
        forked = Effect(jobs=[Job(outcome.forked, "running")]) if outcome.forked else None
        await self.commit(plan, outcome, end=end, batch=batch, effect=forked)

    async def _take_apart(self, batch: list[Entry], plan: Plan, end: int, error: Exception) -> None:
        """A batch that fails is halved, until the record that fails by itself is found and quarantined."""
        if len(batch) > 1:
            middle = len(batch) // 2
            await self._step(batch[:middle], plan, batch[middle - 1].n)
            await self._step(batch[middle:], plan, end)
            return
        reason = reason_of(error)
        await self.store.alarm("step_failed", f"the network failed on record {end}: {reason}")
        items = [entry.n for entry in batch if isinstance(entry.record, Item)]
        outcome = Outcome(quarantined=dict.fromkeys(items, reason))
        await self.commit(Plan(set_aside=reason), outcome, end=end, batch=batch)

    async def _obey(self) -> bool:
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
            examination = await self.compute(Examination, self.learner) if plan.finish else None
            effect = await carry_out(self.store, self.learner, command, self.head.offset, plan)
            if examination is not None:
                effect = await self.compute(jobs.reported, effect, examination)
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
        await self.commit(plan, Outcome(), effect=effect)
        if effect.needs_checkpoint:
            await self.checkpoint()

    async def refuse(self, n: int, command: Command, reason: str, state: str = "failed") -> None:
        """Passes over a command that cannot be carried out; its job, if it has one, ends in ``state``."""
        is_job = command.kind == "retrain"
        if state == "failed":
            await self.store.alarm("command_failed", f"{command.kind} (record {n}): {reason}")
        effect = Effect(jobs=[Job(command.id, state, report={"reason": reason})] if is_job else [])
        await self.commit(Plan(command=n, set_aside=reason), Outcome(), effect=effect)

    async def commit(
        self,
        plan: Plan,
        outcome: Outcome,
        *,
        end: int | None = None,
        batch: Sequence[Entry] = (),
        effect: Effect | None = None,
    ) -> Version | None:
        """Makes a step over ``batch`` true, with the version that it publishes; then the trainer stands behind it.

        A store that does not answer is waited for: a step that is computed is either committed or lost with this process.
        """
        effect, decision = effect or Effect(), outcome.decision
        begin = time.monotonic()
        at = Position(self.head.step + 1, self.head.offset if end is None else end)
        version = await self._publish(outcome, effect, at)
        is_canary = decision is not None and decision.canary == "begun"
        is_taken_back = decision is not None and decision.restored
        step = Step(
            k=at.step,
            start=self.head.offset,
            end=at.offset,
            plan=plan,
            digest=await self.compute(self.learner.digest),
            version=version.version if version else None,
            decision=decision.as_json() if decision else None,
        )
        ids = {entry.n: entry.record.id for entry in batch}
        commit = Commit(
            step=step,
            epoch=self.lease.epoch,
            token=f"{self.lease.owner}:{self.lease.epoch}:{at.step}",
            learned=sum(isinstance(entry.record, Item) for entry in batch),
            version=version,
            share=self.learner.spec.recipe.gate.share if is_canary else None,
            ends_canary=decision is not None and decision.canary == "ended",
            spec=self.learner.spec.model_dump(mode="json") if effect.is_new_spec or is_taken_back else None,
            exceptions={
                **{ids[n]: f"rejected:{why}" for n, why in outcome.rejected.items()},
                **{ids[n]: f"quarantined:{why}" for n, why in outcome.quarantined.items()},
            },
            jobs=[msgspec.structs.replace(job, version=version.version) if version else job for job in effect.jobs],
            paused=effect.paused,
            metrics=self.learner.metrics(),
        )
        await self._insist(lambda: self.store.history.commit(commit))
        reach("trainer.committed")
        self._stand_behind(commit, outcome, time.monotonic() - begin)
        if version is not None:
            await self.retention.apply()
        return version

    async def _publish(self, outcome: Outcome, effect: Effect, at: Position) -> Version | None:
        decision, head = outcome.decision, self.head
        if effect.publish is None and (decision is None or not decision.publishes):
            return None
        reason = effect.publish or (decision.reason if decision else "")
        scores = decision.scores if decision else {}
        if decision is not None and decision.canary == "ended":
            assert head.canary is not None
            number = head.canary.version
            canary = await self._insist(lambda: self.store.history.version(number))
            return msgspec.structs.replace(canary, reason=reason, scores=scores)
        is_canary = decision is not None and decision.canary == "begun"
        arguments = (self.learner, head.newest + 1, head.version, at, reason, scores, is_canary)
        version = await self._insist(lambda: self.compute(self.store.publisher.version, *arguments))
        reach("trainer.published")
        ended = [job.report for job in effect.jobs if job.promoted]
        return msgspec.structs.replace(version, report=ended[0] if ended else None)

    def _stand_behind(self, commit: Commit, outcome: Outcome, seconds: float) -> None:
        version, self.head = commit.version, moved(self.head, commit)
        self.paused = self.paused if commit.paused is None else commit.paused
        if version is not None and commit.share is None:
            self.publishing.spent(seconds)
            self.is_unpublished, self._retry_seconds, self._retry_at = False, 0.0, 0.0
            return
        self.is_unpublished |= commit.learned > 0
        if outcome.decision is not None and outcome.decision.canary is None:
            # Labels are served once a candidate that holds them passes: it is tried again, ever less often.
            longer = max(self.learner.spec.recipe.trigger.seconds, 2 * self._retry_seconds, 0.1)
            self._retry_seconds = min(LONGEST_RETRY_SECONDS, longer)
            self._retry_at = time.monotonic() + self._retry_seconds

    @property
    def _has_candidate(self) -> bool:
        """Whether labels are learned that no version covers, and the gate may be asked at any time."""
        is_asked = self.learner.spec.recipe.gate.mode in ("auto", "off")
        return self.is_unpublished and is_asked and not self.paused

    def _may_try_again(self) -> bool:
        return self._has_candidate and self._seconds_to_retry() <= 0

    def _seconds_to_retry(self) -> float:
        return max(self._retry_at, self.publishing.due_at) - time.monotonic()

    def _trigger_seconds(self) -> float:
        """Seconds until the oldest waiting label has waited long enough; behind a drift alarm none has to."""
        trigger = self.learner.spec.recipe.trigger
        if self.learner.is_hurried(self.head.offset):
            return 0.0
        return self._waits_since + trigger.seconds - time.monotonic()

    def _look_at_oldest(self, entries: list[Entry]) -> None:
        """Finds since when the oldest label waits, once for each: whatever a clock does then, it waits no longer than that."""
        if not entries:
            self._oldest, self._waits_since = 0, math.inf
        elif entries[0].n != self._oldest:
            self._oldest = entries[0].n
            self._waits_since = time.monotonic() - max(0.0, self.store.now() - entries[0].time)

    @property
    def _checkpointed_step(self) -> int:
        return self.head.checkpoint.step if self.head.checkpoint else 0

    def _seconds_to_checkpoint(self) -> float:
        due_at = max(self._checkpointed_at + self.store.settings.checkpoint_seconds, self.checkpointing.due_at)
        return due_at - time.monotonic()

    def _is_checkpoint_due(self) -> bool:
        return self.head.step > self._checkpointed_step and self._seconds_to_checkpoint() <= 0

    async def checkpoint(self) -> None:
        """Writes the learner's whole state, from which recovery begins, and trims what it makes superfluous."""
        begin = time.monotonic()
        at = Position(self.head.step, self.head.offset)
        state = await self.compute(self.learner.state_dict)
        place = await asyncio.to_thread(self.store.publisher.checkpoint, self.learner, state, at)
        reach("trainer.checkpointing")
        await self.store.history.checkpoint(place, self.lease.epoch, self.store.settings.log_keep)
        reach("trainer.checkpointed")
        self.head = msgspec.structs.replace(self.head, checkpoint=place, older_checkpoint=self.head.checkpoint)
        self._checkpointed_at = time.monotonic()
        self.checkpointing.spent(self._checkpointed_at - begin)
        await self.retention.apply()

    async def compute(self, function: Callable[..., T], *arguments: Any) -> T:
        """Runs ``function`` on the one compute thread, in turn with all other models."""
        return await asyncio.get_running_loop().run_in_executor(self.thread, function, *arguments)

    async def _insist(self, action: Callable[[], Awaitable[T]]) -> T:
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
        if self._oldest and not self.paused:
            times.append(self._trigger_seconds())
        if self._has_candidate:
            times.append(self._seconds_to_retry())
        if self.head.step > self._checkpointed_step:
            times.append(self._seconds_to_checkpoint())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.01, min(times)) if times else None):
                await self.wake.wait()


class _Stopped(Exception):
    """A trainer that is to end does not wait for its store: what is not committed is computed again by the next owner."""
