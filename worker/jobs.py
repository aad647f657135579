"""Retrain jobs: a copy of the learner, forked at the command, is trained beside it.

A short job is trained in slices between the steps of the stream, a long one in a process of its own. What comes back from there
is in a checkpoint before anything is made of it: a recovery loads it. Without that checkpoint it trains again, bit for bit.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from driftline.errors import DriftlineError
from driftline.learning.learner import Learner
from driftline.learning.promotion.gate import Decision
from driftline.learning.reports.evaluation import JobEvaluation
from driftline.learning.retraining.job import RetrainJob
from driftline.learning.step_result import StepResult
from driftline.networks.user_code import reason_of, user_code
from driftline.records import Command, Plan
from driftline.store.commits import JobRecord
from driftline.support.failpoints import reach

from .commands import Effect
from .committer import Committer
from .training import Training
from .training_run import TrainingFailedElsewhere

logger = logging.getLogger("driftline.jobs")

T = TypeVar("T")


def alarm_job(uid: str, n: int) -> str:
    """The id of a job that was forked after a drift alarm in the step up to record ``n``; it begins with the model's uid."""
    return f"{uid}-alarm{n}"


def changed(result: StepResult) -> list[JobRecord]:
    """The jobs that a step over labels has started or ended."""
    found = []
    if result.dropped:
        found.append(JobRecord(result.dropped, "cancelled", report={"reason": "what was served has been rolled back"}))
    if result.forked:
        found.append(JobRecord(result.forked, "running"))
    return found


async def advance(committer: Committer, training: Training) -> bool:
    """Advances the running job by a slice, and ends it when it is done; False when no job runs, or its process is at work.

    Slices commit nothing: after a crash the job is repeated from the checkpoint that was written when it began.
    """
    retraining = committer.learner.retraining
    training.leave_unless(retraining)
    if retraining is None:
        return False
    is_manual = committer.learner.spec.recipe.gate.mode == "manual"
    if is_manual and retraining.is_waiting:
        return False
    try:
        if training.is_heavy(retraining):
            return await _advance_elsewhere(committer, training)
        training.worked(retraining, await committer.compute(_advance, retraining, training.slice_seconds))
        if retraining.is_done and is_manual:
            retraining.is_waiting = True
            await committer.store.commit_log.report_progress(retraining.job, 1.0)
        elif retraining.is_done:
            await _finish(committer, retraining.job)
        else:
            await committer.store.commit_log.report_progress(retraining.job, retraining.progress, retraining.report())
    except _Failed as failure:
        await _abandon(committer, retraining, failure.reason)
    except TrainingFailedElsewhere as failure:
        await _abandon(committer, retraining, str(failure))
    return True


async def _advance_elsewhere(committer: Committer, training: Training) -> bool:
    is_taken = await training.advance(committer.store, committer.compute, committer.learner)
    if is_taken:
        await committer.checkpoint()
    return is_taken


async def bring_back(committer: Committer, training: Training) -> bool:
    """Takes over how far a job has come in a process of its own, as the trainer ends; whether it has to be written."""
    return committer.is_recovered and await training.bring_back(committer.compute, committer.learner)


def waiting(learner: Learner, command: Command) -> str | None:
    """The finished job that waits for a promotion, if ``command`` is that promotion."""
    retraining = learner.retraining
    is_met = command.kind == "promote" and retraining is not None and retraining.is_done
    return retraining.job if is_met and retraining else None


class _Failed(Exception):
    """Training or evaluation of the job's candidate has failed; errors of the store are not among these."""

    def __init__(self, error: DriftlineError) -> None:
        self.reason = reason_of(error)
        super().__init__(self.reason)


def _advance(retraining: RetrainJob, seconds: float) -> float:
    """Trains for so long, and returns for how long it did."""
    begin = time.monotonic()
    while not retraining.is_done and time.monotonic() < begin + seconds:
        _guarded(lambda: retraining.advance(1))
    return time.monotonic() - begin


def _guarded(function: Callable[[], T]) -> T:
    try:
        with user_code("the job"):
            return function()
    except DriftlineError as error:
        raise _Failed(error) from error


async def _finish(committer: Committer, job: str) -> None:
    """The gate decides on the job's candidate; the stream goes on with it if it is promoted."""
    number = committer.head.newest + 1
    try:
        result, report = await committer.compute(_guarded, lambda: _finished_and_evaluated(committer.learner, number))
    except _Failed:
        await committer.recover()
        raise
    reach("job.finished")
    decision = result.decision
    assert decision is not None
    done = JobRecord(job, "succeeded", 1.0, decision.promoted, report=report)
    await committer.commit(
        Plan(finish=job, version=number), result, effect=Effect(jobs=[done], is_new_spec=decision.promoted)
    )
    await committer.checkpoint()


def _finished_and_evaluated(learner: Learner, number: int) -> tuple[StepResult, dict[str, Any]]:
    """Finishes the job, and evaluates what is served before and after it; recovery does not repeat the evaluation."""
    evaluation = JobEvaluation(learner)
    result = learner.finish(number)
    assert result.decision is not None
    return result, evaluation.report(result.decision)


def reported(effect: Effect, evaluation: JobEvaluation) -> Effect:
    """The effect of a promotion that ends a job, with the whole report of the job."""
    jobs = [
        msgspec.structs.replace(job, report=evaluation.report(Decision(True, (job.report or {})["reason"])))
        for job in effect.jobs
    ]
    return dataclasses.replace(effect, jobs=jobs)


async def _abandon(committer: Committer, retraining: RetrainJob, reason: str) -> None:
    logger.warning("%s: job %s failed: %s", committer.name, retraining.job, reason)
    committer.learner.cancel()
    failed = JobRecord(retraining.job, "failed", report={"reason": reason, **retraining.report()})
    await committer.commit(Plan(abandon=retraining.job), StepResult(), effect=Effect(jobs=[failed]))


async def cancel_waiting(committer: Committer, job: str) -> None:
    """Refuses the pending command of a job that has not started."""
    for n in await committer.store.pending():
        entry = await committer.store.log.get(n)
        if entry is not None and isinstance(entry.record, Command) and entry.record.id == job:
            await committer.refuse(n, entry.record, "cancelled before it began", state="cancelled")
