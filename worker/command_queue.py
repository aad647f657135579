"""The pending commands of a model's log, carried out before the labels that wait."""

from __future__ import annotations

import dataclasses
import logging

from driftline.errors import CorruptData, Unavailable
from driftline.learning.reports.evaluation import JobEvaluation
from driftline.learning.step_result import StepResult
from driftline.networks.user_code import reason_of
from driftline.records import Command, Plan
from driftline.store.erasure import FORGET
from driftline.store.watermarks import RESTORE

from . import jobs
from .commands import REFUSALS, Effect, carry_out, must_wait
from .committer import Committer
from .comparison import compare

logger = logging.getLogger("driftline.commands")


class CommandQueue:
    """Carries out commands, each a step of its own. The step's plan names the command, so that recovery repeats it there."""

    def __init__(self, committer: Committer) -> None:
        self.committer = committer

    async def apply(self) -> bool:
        """Carries out the pending commands in the order of the log; returns whether there were any."""
        did = is_forgetting = False
        store = self.committer.store
        for n in await store.pending():
            entry = await store.log.get(n)
            if entry is None or not isinstance(entry.record, Command):
                raise CorruptData(f"the log lacks the command {n}; {RESTORE}", code="log_gap")
            if entry.record.kind == FORGET:
                is_forgetting = True  # It is carried out apart; a retrain after it must not learn what is forgotten.
            elif not must_wait(self.committer.learner, entry.record, is_forgetting):
                await self._carry_out(n, entry.record)
                did = True
        return did

    async def _carry_out(self, n: int, command: Command) -> None:
        committer = self.committer
        if command.kind == "cancel":
            await jobs.cancel_waiting(committer, command.arguments["job"])
        finish = jobs.waiting(committer.learner, command)
        plan = Plan(command=n, version=committer.head.newest + 1, finish=finish)
        try:
            effect = await self._effect_of(command, plan)
        except REFUSALS as error:
            await committer.refuse(n, command, error.message)
            return
        except Unavailable:
            raise
        except Exception as error:  # Whatever it is: the command is refused, or it would be tried again for ever.
            logger.exception("%s: command %d failed", committer.name, n)
            # What it has changed of the learner is undone before the refusal is committed as a step that changes nothing.
            await committer.recover()
            await committer.refuse(n, command, reason_of(error))
            return
        await committer.commit(plan, StepResult(), effect=dataclasses.replace(effect, command=command))
        if effect.needs_checkpoint:
            await committer.checkpoint()

    async def _effect_of(self, command: Command, plan: Plan) -> Effect:
        """Carries out a command, and the comparisons and reports that recovery need not repeat because they only measure."""
        committer = self.committer
        if command.kind == "compare":
            return await compare(committer, command)
        learner, compute = committer.learner, committer.compute
        evaluation = await compute(JobEvaluation, learner) if plan.finish else None
        effect = await carry_out(committer.store, compute, learner, command, committer.head.offset, plan)
        return effect if evaluation is None else await compute(jobs.reported, effect, evaluation)
