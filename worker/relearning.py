"""A learner from before some labels, which learns the log since without them, in slices between the steps of the live one."""

from __future__ import annotations

import time
from collections.abc import Sequence

from driftline.errors import CorruptData, DriftlineError, NotFound
from driftline.learning.learner import Learner
from driftline.learning.relearning import REPLAYED
from driftline.learning.retraining.plan import RetrainPlan
from driftline.learning.retraining.recipe_changes import named_versions
from driftline.learning.training.updates_per_step import records_of_step, rows_at_once, updates_for
from driftline.networks.user_code import reason_of, user_code
from driftline.records import Command, Item, Plan
from driftline.store.checkpoints import places_before
from driftline.store.commits import Head
from driftline.store.erasure import ERASED, FORGET
from driftline.store.log import LogEntry
from driftline.store.rejected import MAX_REJECTED, RejectedLabels
from driftline.store.selection import ErasedRecords

from . import jobs
from .commands import REFUSALS, carry_out
from .compute import Compute
from .model_store import ModelStore
from .recovery import first_learner, load_checkpoint

READ_AHEAD = 1000
"""How many records are read at once."""


class Relearning:
    """One learner that learns again.

    ``learned`` counts labels, and ``skipped`` tells of commands that cannot be carried out again: they are about versions that
    have learned what is forgotten.

    Args:
        live: the learner whose place it is to take.
        learner: as it was after record ``offset``.
        records: what it does not learn.
        tainted: the first version that has learned any of it.
        asked_at: the number of the command that has asked for it. What came before is learned as what waits is, in fewer steps.
        is_whole: whether the learner knows nothing of it.
    """

    def __init__(
        self,
        store: ModelStore,
        compute: Compute,
        live: Learner,
        learner: Learner,
        offset: int,
        records: ErasedRecords,
        tainted: int,
        asked_at: int,
        is_whole: bool,
    ) -> None:
        self.store, self.compute, self.live, self.learner = store, compute, live, learner
        self.begun_at = self.offset = offset
        self.records, self.tainted, self.asked_at, self.is_whole = records, tainted, asked_at, is_whole
        self.learned = 0
        self.skipped: list[str] = []
        self._set_aside: set[int] | None = None
        self._entries: Sequence[LogEntry] = ()

    @classmethod
    async def begin(
        cls,
        store: ModelStore,
        compute: Compute,
        live: Learner,
        head: Head,
        records: ErasedRecords,
        tainted: int,
        asked_at: int,
    ) -> Relearning:
        """From the nearest place before the records; from the live network alone where there is none."""
        for place in await places_before(store.log, head, records.first):
            try:
                if place is None or not place.step:
                    found = await first_learner(store, compute, None if place is None else place.manifest)
                else:
                    found = await compute(load_checkpoint, store, place)
            except (CorruptData, NotFound):
                continue
            learner, offset = found[1], 0 if place is None else place.offset
            await compute(learner.begin_relearning, live)
            relearning = cls(store, compute, live, learner, offset, records, tainted, asked_at, is_whole=True)
            await relearning._end_job()
            return relearning
        return await cls.of_network(store, compute, live, records, tainted, asked_at)

    @classmethod
    async def of_network(
        cls,
        store: ModelStore,
        compute: Compute,
        live: Learner,
        records: ErasedRecords,
        tainted: int,
        asked_at: int,
    ) -> Relearning:
        """From the network of the live learner, whose weights stay; all that it keeps beside them is learned again."""
        oldest = await store.log.since(1, 1)
        learner = await compute(Learner.of_network, live)
        await compute(learner.begin_relearning, live)
        offset = oldest[0].n - 1 if oldest else await store.log.newest()
        return cls(store, compute, live, learner, offset, records, tainted, asked_at, is_whole=False)

    async def advance(self, until: int, seconds: float) -> None:
        """Learns records up to number ``until``, for so many seconds at most.

        Raises:
            CorruptData: ``log_gap``: what it has still to learn was trimmed meanwhile.
            DriftlineError: the network fails on the rows of a step.
        """
        if self._set_aside is None:
            refused = await RejectedLabels(self.store.connection, self.store.uid).newest(MAX_REJECTED)
            self._set_aside = {label.n for label in refused if label.state == "quarantined"}
        deadline = time.monotonic() + seconds
        while self.offset < until and time.monotonic() < deadline:
            if not self._entries:
                # All of a page is taken before the next: where steps end does not depend on where slices do.
                self._entries = await self.store.log.read(self.offset, min(READ_AHEAD, until - self.offset))
            size = records_of_step(self.learner.spec.recipe, self.asked_at - self.offset, len(self._entries))
            batch = _next(self._entries, size)
            await self._take(batch)
            self.offset, self._entries = batch[-1].n, self._entries[len(batch) :]

    async def _take(self, batch: Sequence[LogEntry]) -> None:
        if isinstance(batch[0].record, Command):
            await self._carry_out(batch[0].n, batch[0].record)
            return
        assert self._set_aside is not None
        items = [(each.n, each.record) for each in batch if isinstance(each.record, Item) and self._is_learned(each)]
        if not items:
            return
        recipe, rows = self.learner.spec.recipe, sum(item.weight > 0 for _, item in items)
        at_once = rows_at_once(recipe, rows, self.learner.learned)
        has_backlog = self.asked_at - batch[-1].n > recipe.batch_size
        updates = updates_for(recipe, at_once or rows, has_backlog) if rows else 0
        job = FORGET if recipe.on_alarm == "retrain" else None
        plan = Plan(updates=updates, version=REPLAYED, job=job, at_once=at_once)
        with user_code("the network that learns again"):
            await self.compute(self.learner.learn, [item for _, item in items], [n for n, _ in items], plan)
        self.learned += rows
        await self._end_job()

    def _is_learned(self, entry: LogEntry) -> bool:
        assert self._set_aside is not None and isinstance(entry.record, Item)
        n, item = entry.n, entry.record
        is_set_aside = n in self._set_aside or self.live.trust.is_set_aside(n, item)
        return not is_set_aside and not self.records.has(n, item)

    async def _carry_out(self, n: int, command: Command) -> None:
        """Carries out a command as it was, if what it is about has learned nothing of what is forgotten."""
        if command.kind in (FORGET, ERASED) or await self._came_to_nothing(command):
            return
        try:
            if self._is_tainted(command):
                self.skipped.append(f"{command.kind} (record {n})")
                return
            plan = Plan(command=n, version=REPLAYED, finish=jobs.waiting(self.learner, command))
            is_kept = self.records.is_kept
            await carry_out(self.store, self.compute, self.learner, command, n, plan, is_kept)
        except REFUSALS:
            return
        await self._end_job()

    async def _came_to_nothing(self, command: Command) -> bool:
        if command.kind != "retrain":
            return False
        job = await self.store.commit_log.job(command.id)
        return job is not None and not job.promoted

    def _is_tainted(self, command: Command) -> bool:
        arguments = command.arguments
        versions = [*named_versions(arguments.get("recipe") or {})]
        if command.kind == "rollback":
            versions.append(arguments["version"])
        if command.kind == "retrain":
            plan = RetrainPlan.of(self.learner.spec, arguments["recipe"], arguments["edits"], arguments.get("race", []))
            versions += plan.versions
        return any(version >= self.tainted for version in versions)

    async def _end_job(self) -> None:
        """Lets a job that was begun end here: the stream waits for it. Where an admin decides, it waits for that."""
        job = self.learner.retraining
        if job is None:
            return
        try:
            with user_code("the job"):
                while not job.is_done:
                    await self.compute(job.advance, 1)
                if self.learner.spec.recipe.gate.mode == "manual":
                    job.is_waiting = True
                else:
                    await self.compute(self.learner.finish, REPLAYED)
        except DriftlineError as error:
            self.skipped.append(f"a retrain, which failed: {reason_of(error)}")
            self.learner.cancel()


def _next(entries: Sequence[LogEntry], size: int) -> Sequence[LogEntry]:
    """The records of the next step: so many labels, or one command by itself."""
    if isinstance(entries[0].record, Command):
        return entries[:1]
    commands = (place for place, entry in enumerate(entries[:size]) if isinstance(entry.record, Command))
    return entries[: next(commands, size)]
