"""One model's loop: read → score → learn → gate → commit."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from typing import Any, TypeVar

import msgspec

from driftline.errors import DriftlineError, Unavailable
from driftline.failpoints import reach
from driftline.learning.learner import Outcome
from driftline.learning.pace import updates_for
from driftline.publisher import Position
from driftline.records import Command, Item, Plan
from driftline.store.head import Commit, Job, Step, Version
from driftline.store.lease import Lease
from driftline.store.log import Entry
from worker import jobs
from worker.budget import Budget
from worker.commands import REFUSALS, Effect, carry_out, must_wait
from worker.model_store import ModelStore
from worker.recovery import recover
from worker.retention import Retention

logger = logging.getLogger("driftline.trainer")

T = TypeVar("T")
READ_AHEAD = 1024
LONGEST_RETRY_SECONDS = 60.0


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
        self.is_stopping = self.is_recovered = False
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
            CorruptData: the log has a gap.
        """
        try:
            await self.recover()
            while not self.is_stopping:
                self.wake.clear()
                try:
                    is_busy = await self._advance()
                except Unavailable as error:
                    logger.warning("%s waits for its store: %s", self.name, error)
                    await asyncio.sleep(error.retry_after or 1)
                    is_busy = True
                if not is_busy:
                    await self._wait()
            if self.head.step > self._checkpointed_step:
                await self.checkpoint()
        except (_Stopped, Unavailable) as error:
            logger.warning("%s ends without a checkpoint: %s", self.name, error)

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
        self._oldest: float | None = None
        self._checkpointed_at = time.monotonic()
        if recovered.is_restarted:
            await self.checkpoint()
        await jobs.fail_lost(self)
        self.is_recovered = True

    async def _advance(self) -> bool:
        """One turn over all that there is to do; False when there was nothing."""
        newest = await self.store.newest()
        entries = await self.store.log.read(self.head.offset, READ_AHEAD)
        did_obey = await self._obey()
        did_learn = not self.paused and await self._learn(entries, newest)
        did_retrain = await jobs.slice_of(self)
        if not did_learn and self._may_try_again():
            # One that the gate has rejected would be rejected again: it replays first.
            updates = self.learner.spec.recipe.updates if self._retry_seconds else 0
            await self._step([], Plan(updates=updates, publish=True), self.head.offset)
        if self._is_checkpoint_due():
            await self.checkpoint()
        return did_obey or did_learn or did_retrain

    async def _learn(self, entries: list[Entry], newest: int) -> bool:
        """When the trigger opens, steps over what waits; far behind ``newest``, the log's last number, steps are lighter."""
        self._oldest = entries[0].time if entries else None
        recipe = self.learner.spec.recipe
        if not entries or (len(entries) < recipe.trigger.labels and self._trigger_seconds() > 0):
            return False
        while entries and not self.is_stopping:
            batch, entries = entries[: recipe.batch_size], entries[recipe.batch_size :]
            has_backlog = newest - batch[-1].n > recipe.batch_size
            updates = updates_for(recipe, len(batch), has_backlog)
            plan = Plan(updates=updates, publish=not entries and self.publishing.is_open)
            await self._step(batch, plan, batch[-1].n)
        self._oldest = None
        return True

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
        await self.commit(plan, outcome, end=end, learned=len(items))

    async def _take_apart(self, batch: list[Entry], plan: Plan, end: int, error: Exception) -> None:
        """A batch that fails is halved, until the record that fails by itself is found and quarantined."""
        if len(batch) > 1:
            middle = len(batch) // 2
            await self._step(batch[:middle], plan, batch[middle - 1].n)
            await self._step(batch[middle:], plan, end)
            return
        reason = _reason(error)
        await self.store.alarm("step_failed", f"the network failed on record {end}: {reason}")
        items = [entry.n for entry in batch if isinstance(entry.record, Item)]
        outcome = dataclasses.replace(await self.unchanged(), quarantined=dict.fromkeys(items, reason))
        await self.commit(Plan(set_aside=reason), outcome, end=end, learned=len(items))

    async def _obey(self) -> bool:
        """Carries out the commands that wait, ahead of the labels that wait; the plan records where."""
        did = False
        for n in await self.store.pending():
            entry = await self.store.log.get(n)
            if entry is None or not isinstance(entry.record, Command):
                raise DriftlineError(f"the log lacks the command {n}", code="log_gap")
            if not must_wait(self.learner, entry.record):
                await self._carry_out(n, entry.record)
                did = True
        return did

    async def _carry_out(self, n: int, command: Command) -> None:
        if command.kind == "cancel":
            await jobs.cancel_waiting(self, command.arguments["job"])
        try:
            effect = await carry_out(self.store, self.learner, command, self.head.offset)
        except REFUSALS as error:
            await self.refuse(n, command, error.message)
            return
        except Unavailable:
            raise
        except Exception as error:  # A user's own factory may raise anything.
            logger.exception("%s: command %d failed", self.name, n)
            await self.recover()
            await self.refuse(n, command, _reason(error))
            return
        await self.commit(Plan(command=n), await self.unchanged(), effect=effect)
        if effect.needs_checkpoint:
            await self.checkpoint()

    async def refuse(self, n: int, command: Command, reason: str, state: str = "failed") -> None:
        """Passes over a command that cannot be carried out; its job, if it has one, ends in ``state``."""
        is_job = command.kind == "retrain"
        if state == "failed":
            await self.store.alarm("command_failed", f"{command.kind} (record {n}): {reason}")
        effect = Effect(jobs=[Job(command.id, state, report={"reason": reason})] if is_job else [])
        await self.commit(Plan(command=n, set_aside=reason), await self.unchanged(), effect=effect)

    async def commit(
        self, plan: Plan, outcome: Outcome, *, end: int | None = None, learned: int = 0, effect: Effect | None = None
    ) -> Version | None:
        """Makes a step true, with the version that it publishes; then the trainer stands behind it.

        A store that does not answer is waited for: a step that is computed is either committed or lost with this process.
        """
        effect = effect or Effect()
        begin = time.monotonic()
        at = Position(self.head.step + 1, self.head.offset if end is None else end)
        version = await self._publish(outcome, effect, at)
        step = Step(
            k=at.step,
            start=self.head.offset,
            end=at.offset,
            plan=plan,
            digest=outcome.digest,
            version=version.version if version else None,
            decision=outcome.decision.as_json() if outcome.decision else None,
        )
        commit = Commit(
            step=step,
            epoch=self.lease.epoch,
            token=f"{self.lease.owner}:{self.lease.epoch}:{at.step}",
            learned=learned,
            version=version,
            spec=self.learner.spec.model_dump(mode="json") if effect.is_new_spec else None,
            exceptions={
                **{n: f"rejected:{why}" for n, why in outcome.rejected.items()},
                **{n: f"quarantined:{why}" for n, why in outcome.quarantined.items()},
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
        if effect.publish is None and (decision is None or not decision.promoted):
            return None
        reason = effect.publish or (decision.reason if decision else "")
        scores = decision.scores if decision else {}
        arguments = (self.learner, head.version + 1, head.version, at, reason, scores)
        version = await self._insist(lambda: self.compute(self.store.publisher.version, *arguments))
        reach("trainer.published")
        return version

    def _stand_behind(self, commit: Commit, outcome: Outcome, seconds: float) -> None:
        step, version, head = commit.step, commit.version, self.head
        self.head = msgspec.structs.replace(
            head,
            version=version.version if version else head.version,
            manifest=version.manifest if version else head.manifest,
            step=step.k,
            offset=step.end,
            learned=head.learned + commit.learned,
        )
        self.paused = self.paused if commit.paused is None else commit.paused
        if version is not None:
            self.publishing.spent(seconds)
            self.is_unpublished, self._retry_seconds, self._retry_at = False, 0.0, 0.0
            return
        self.is_unpublished |= commit.learned > 0
        if outcome.decision is not None:
            # Labels are served once a candidate that holds them passes: it is tried again, ever less often.
            longer = max(self.learner.spec.recipe.trigger.seconds, 2 * self._retry_seconds, 0.1)
            self._retry_seconds = min(LONGEST_RETRY_SECONDS, longer)
            self._retry_at = time.monotonic() + self._retry_seconds

    def _may_try_again(self) -> bool:
        """Whether labels are learned that no version covers, and it is time for another candidate."""
        return self.is_unpublished and not self.paused and self._seconds_to_retry() <= 0

    def _seconds_to_retry(self) -> float:
        return max(self._retry_at, self.publishing.due_at) - time.monotonic()

    def _trigger_seconds(self) -> float:
        """Seconds until the oldest waiting label has waited long enough; behind a drift alarm none has to."""
        alarms, trigger = self.learner.alarms, self.learner.spec.recipe.trigger
        if alarms and self.head.offset - alarms[-1].at < trigger.alarm:
            return 0.0
        oldest = self.store.now() if self._oldest is None else self._oldest
        return oldest + trigger.seconds - self.store.now()

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

    async def unchanged(self) -> Outcome:
        """The outcome of a step that scores nothing and decides nothing."""
        return Outcome(digest=await self.compute(self.learner.digest))

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
                logger.warning("%s: %s; trying again", self.name, error)
                await asyncio.sleep(error.retry_after or 1)

    def has_missed(self, newest: int, pending: int) -> bool:
        """Whether the log, which ends at ``newest``, holds something that this trainer may not have been told of."""
        return self.is_recovered and (newest > self.head.offset or pending > 0)

    async def _wait(self) -> None:
        """Until somebody wakes it, or one of its own times has come: a trigger's, another candidate's, a checkpoint's."""
        times = []
        if self._oldest is not None and not self.paused:
            times.append(self._trigger_seconds())
        if self.is_unpublished and not self.paused:
            times.append(self._seconds_to_retry())
        if self.head.step > self._checkpointed_step:
            times.append(self._seconds_to_checkpoint())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.01, min(times)) if times else None):
                await self.wake.wait()


class _Stopped(Exception):
    """A trainer that is to end does not wait for its store: what is not committed is computed again by the next owner."""


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[-1]
