"""One model's loop: read → score → learn → gate → commit."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterator

from driftline.errors import CorruptData, DriftlineError, Unavailable
from driftline.learning.learner import Learner
from driftline.learning.step_result import StepResult
from driftline.learning.training.updates_per_step import records_of_step, rows_at_once, updates_for
from driftline.networks.user_code import reason_of, user_code
from driftline.records import Item, Plan
from driftline.store.commits import Head
from driftline.store.lease import Lease
from driftline.store.log import LogEntry
from driftline.store.watermarks import RESTORE
from driftline.support.failpoints import reach
from driftline.support.tracing import Tracing

from . import jobs
from .command_queue import CommandQueue
from .commands import Effect
from .committer import Committer, Stopped
from .compute import Compute
from .durations import Durations
from .forgetting import ForgetJobs
from .model_store import ModelStore
from .network_check import NetworkCheck, NetworkFailed
from .training import Training

logger = logging.getLogger("driftline.trainer")

HALTING = ("log_gap", "store_lost")
"""Errors after which nothing is learned until the log is whole again."""


class Trainer:
    """Learns the log of one model for as long as this worker owns it.

    Its state is the committer's: the learner and the head. What a step computes takes effect only once it is committed.

    Args:
        store: the store of the model.
        lease: this worker's lease of the model, which is held.
        compute: runs functions that use torch, in turn with other models.
        read_ahead: the most records that one turn takes from the log.
        halted_seconds: how often a log with missing records is checked again.
        training: where retrain jobs train; default: on the learner's thread.
        first_retry_seconds: until a network that fails on every row is tried again; each further retry waits twice as long.
        last_retry_seconds: the longest delay before such a retry.
        durations: where the durations of its work are counted.
        tracing: makes the spans of steps.
    """

    def __init__(
        self,
        store: ModelStore,
        lease: Lease,
        compute: Compute,
        *,
        read_ahead: int = 1024,
        halted_seconds: float = 10.0,
        training: Training | None = None,
        first_retry_seconds: float = 1.0,
        last_retry_seconds: float = 60.0,
        durations: Durations | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self.store = store
        self.committer = Committer(store, lease, compute, durations, tracing)
        self.commands = CommandQueue(self.committer)
        self.forgetting = ForgetJobs(self.committer)
        self.schedule = self.committer.schedule
        self.wake = asyncio.Event()
        self.is_halted = False
        self.network = NetworkCheck(self.committer, first_retry_seconds, last_retry_seconds)
        self.read_ahead = read_ahead
        self.halted_seconds = halted_seconds
        self.training = training or Training()
        self.training.on_end = self.wake.set
        self.idle_since: float | None = None

    @property
    def learner(self) -> Learner:
        return self.committer.learner

    @property
    def head(self) -> Head:
        return self.committer.head

    async def run(self) -> None:
        """Recovers, then learns until it is stopped.

        Raises:
            Fenced: another worker owns the model now.
            NotFound: the model was deleted.
            CorruptData: the head is not where this trainer left it.
        """
        try:
            await self.committer.recover()
            while not self.committer.is_stopping:
                self.wake.clear()
                if await self._try_turn() is False:
                    await self._wait()
            has_trained = await jobs.bring_back(self.committer, self.training)
            if (self.committer.has_advanced or has_trained) and not self.is_halted:
                await self.committer.checkpoint()
        except (Stopped, Unavailable) as error:
            logger.warning("%s ends without a checkpoint: %s", self.committer.name, error)
        finally:
            self.training.kill()

    async def _try_turn(self) -> bool | None:
        """Runs a turn, and returns whether it had work; None if the store failed, after waiting for it."""
        try:
            was_busy = await self._turn()
            await self.committer.conditions.withdraw()
        except (Unavailable, CorruptData) as error:
            if error.code in HALTING:
                await self._halt(error)
            elif isinstance(error, CorruptData):
                raise
            else:
                await self.committer.wait_for_store(error)
            return None
        self.is_halted = False
        return was_busy

    async def _turn(self) -> bool:
        """One turn: commands, labels, a slice of a job, a candidate, a checkpoint; False when there was nothing to do."""
        newest = await self.store.log.newest()
        if newest < self.head.offset:
            await self._go_back(newest)
        did_forget = await self.forgetting.advance()  # Before records are read: it may erase some of them.
        entries = await self.store.log.read(self.head.offset, self.read_ahead)
        if did_apply := await self.commands.apply():
            self.network.renew()
        did_learn = await self._unless_failing(lambda: self._learn(entries, newest))
        did_retrain = await jobs.advance(self.committer, self.training)
        if not did_learn and self.committer.has_candidate and self.schedule.until_candidate <= 0:
            await self._unless_failing(self._retry_candidate)
        if self.committer.has_advanced and self.schedule.until_checkpoint <= 0:
            await self.committer.checkpoint()
        return did_apply or did_learn or did_retrain or did_forget

    async def _learn(self, entries: list[LogEntry], newest: int) -> bool:
        """Steps over the waiting records once the trigger opens; far from the log's end, ``newest``, with fewer updates."""
        self.schedule.look(entries, self.store.now())
        recipe = self.learner.spec.recipe
        if not entries or (len(entries) < recipe.trigger.labels and self._until_step() > 0):
            return False
        while entries and not self.committer.is_stopping:
            size = records_of_step(recipe, newest - self.head.offset, len(entries))
            batch, entries = entries[:size], entries[size:]
            plan = self._plan_over(batch, newest, publish=self.schedule.is_candidate_due(more_wait=bool(entries)))
            await self._step(batch, plan, batch[-1].n)
        self.schedule.look([], self.store.now())
        return True

    async def _step(self, batch: list[LogEntry], plan: Plan, end: int) -> None:
        """Scores a batch as it was served, learns it, lets the gate decide where the plan says so, and commits."""
        items = [(entry.n, entry.record) for entry in batch if isinstance(entry.record, Item)]
        numbers, examples = [n for n, _ in items], [item for _, item in items]
        begin = time.monotonic()
        self.committer.traces.begin(self.committer.name, examples)
        try:
            with user_code(f"the network of {self.committer.name}"):
                result = await self.committer.compute(self.learner.learn, examples, numbers, plan)
        except DriftlineError as error:
            self.committer.traces.failed(error.message)
            await self.committer.recover()
            smaller = await self.network.smaller(plan, error)
            await (self._step(batch, smaller, end) if smaller else self._bisect_failing_batch(batch, plan, end, error))
            return
        self.schedule.worked(time.monotonic() - begin)
        reach("trainer.learned")
        await self.committer.commit(plan, result, end=end, batch=batch, effect=Effect(jobs=jobs.changed(result)))
        self.committer.traces.committed(self.head.step)
        await self.network.works()

    async def _bisect_failing_batch(self, batch: list[LogEntry], plan: Plan, end: int, error: DriftlineError) -> None:
        """Bisects a batch that fails while other rows pass, until the failing record is found and quarantined.

        Learning a part may break the network for all rows, so the network is checked again after each failure.
        """
        if len(batch) > 1:
            middle = len(batch) // 2
            message = f"{len(batch)} records fail at once and are learned in parts, more slowly: {reason_of(error)}"
            await self.store.alarm("step_failed", message)
            await self._step(batch[:middle], plan, batch[middle - 1].n)
            await self._step(batch[middle:], plan, end)
            return
        reason = reason_of(error)
        if not batch:
            logger.error("%s: the gate could not compare", self.committer.name, exc_info=error)
            await self.store.alarm("step_failed", f"the candidate could not be compared: {reason}")
            self.schedule.refused(self.learner.spec.recipe.trigger.seconds)
            return
        logger.error("%s: the network failed on record %d", self.committer.name, end, exc_info=error)
        await self.store.alarm("step_failed", f"the network failed on record {end}: {reason}")
        items = [entry.n for entry in batch if isinstance(entry.record, Item)]
        result = StepResult(quarantined=dict.fromkeys(items, reason))
        await self.committer.commit(Plan(set_aside=reason), result, end=end, batch=batch)

    async def _unless_failing(self, learning: Callable[[], Awaitable[bool]]) -> bool:
        """Learns, unless learning is paused or the network fails; returns whether there was something to learn."""
        try:
            return not self.committer.is_paused and await self.network.is_well() and await learning()
        except NetworkFailed as error:
            await self.network.failed(error)
            return False

    async def _retry_candidate(self) -> bool:
        """Puts labels that are learned but not served to the gate again. After a refusal, replays are trained on first."""
        updates = self.learner.spec.recipe.updates if self.schedule.was_refused else 0
        await self._step([], self._plan(updates, publish=True), self.head.offset)
        return True

    def _plan_over(self, batch: list[LogEntry], newest: int, publish: bool) -> Plan:
        """The plan of a step over a batch. One of commands alone, or of labels of weight 0, trains and publishes nothing."""
        recipe, end = self.learner.spec.recipe, batch[-1].n
        rows = sum(isinstance(entry.record, Item) and entry.record.weight > 0 for entry in batch)
        if not rows:
            return Plan()
        at_once = rows_at_once(recipe, rows, self.learner.learned)
        updates = updates_for(recipe, at_once or rows, has_backlog=newest - end > recipe.batch_size)
        job = jobs.alarm_job(self.store.uid, end) if recipe.on_alarm == "retrain" else None
        return self._plan(updates, publish, job, at_once)

    def _plan(self, updates: int, publish: bool, job: str | None = None, at_once: int = 0) -> Plan:
        return Plan(updates, publish, self.head.newest + 1, job, at_once=at_once, halved=self.network.halved)

    def _until_step(self) -> float:
        """Seconds until the trigger opens for the waiting labels; 0 after a drift alarm."""
        is_hurried = self.learner.monitor.is_hurried(self.head.offset)
        return 0.0 if is_hurried else self.schedule.until_step(self.learner.spec.recipe.trigger.seconds)

    def stop(self) -> None:
        """Asks :meth:`run` to end after the current step."""
        self.committer.is_stopping = True
        self.wake.set()

    def has_missed(self, newest: int, pending: int) -> bool:
        """Whether the log, which ends at ``newest``, holds records that this trainer may have had no hint of."""
        return self.committer.is_recovered and not self.is_halted and (newest > self.head.offset or pending > 0)

    async def _go_back(self, newest: int) -> None:
        """Recovers from the current state of a store that has lost its last writes, no more than it may."""
        lost = f"the log ends at record {newest}, and record {self.head.offset} was learned: the store has lost its last writes"
        await self.store.alarm("writes_lost", f"{lost}; send again the labels of the moments before")
        await self.committer.recover()
        if newest < self.head.offset:
            raise CorruptData(f"{lost}; {RESTORE}", code="log_gap")

    async def _halt(self, error: DriftlineError) -> None:
        """Waits while records are missing in the log: until they are back, nothing is learned and no feedback accepted."""
        if not self.is_halted:
            self.is_halted = True
            logger.error("%s is halted: %s", self.committer.name, error)
        await self.committer.conditions.raise_once(error.code, error.message)
        await self._until_woken(self.halted_seconds)

    async def _wait(self) -> None:
        """Waits for a hint, or until a trigger, a candidate or a checkpoint is due."""
        times = []
        if self.network.is_failing and not self.committer.is_paused:
            times.append(self.network.until_retry)
        else:
            times += self._until_learning()
        if self.committer.has_advanced:
            times.append(self.schedule.until_checkpoint)
        is_idle = not (times or self.schedule.is_waiting or self.learner.retraining)
        self.idle_since = (self.idle_since or time.monotonic()) if is_idle else None
        await self._until_woken(max(0.01, min(times)) if times else None)

    def _until_learning(self) -> Iterator[float]:
        if self.schedule.is_waiting and not self.committer.is_paused:
            yield self._until_step()
        if self.committer.has_candidate:
            yield self.schedule.until_candidate

    async def _until_woken(self, seconds: float | None) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.wake.wait()
