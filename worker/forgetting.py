"""What is to be forgotten: a job that learns without it, puts that in the place of what is served, and erases the rest.

1. A second learner learns the log again without the records that are meant, from a state before the first of them, in slices
   between the steps of the live one (:mod:`.relearning`). The store knows nothing of it: after a crash it begins again.
2. The gate compares it with what is served. Refused, the network of the live learner stays; all that is kept beside it holds
   rows, and is learned again.
3. It takes the place of the live learner: one commit names its version and its checkpoint, and takes the versions and
   checkpoints that have learned what is forgotten off their lists. A recovery begins with that checkpoint, and never needs the
   records.
4. They are erased: receipts, predictions, files, and at last the log. A crash there leaves the command pending, and its job,
   which says that step 3 is done: the next owner erases all of it again.
5. A step carries the command out, which ends the job.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Any

from driftline.errors import CorruptData, Unavailable
from driftline.learning.promotion.gate import Decision
from driftline.learning.step_result import StepResult
from driftline.networks.user_code import reason_of
from driftline.records import Command, Plan
from driftline.store.commits import JobRecord
from driftline.store.erasure import FORGET, Erasure, facts_of
from driftline.store.replacement import Replacement
from driftline.store.selection import ErasedRecords, Selection, find
from driftline.support.failpoints import reach

from .commands import Effect
from .committer import Committer, Stopped
from .relearning import Relearning

logger = logging.getLogger("driftline.forgetting")


@dataclass
class _Work:
    """What is being forgotten. ``refused`` is why the gate has not let what was learned without it pass."""

    n: int
    command: Command
    records: ErasedRecords
    relearning: Relearning
    refused: Decision | None = None


class ForgetJobs:
    """Carries out the commands of one model that ask for labels to be forgotten, one after the other.

    Args:
        slice_seconds: for how long it learns again between two steps of the stream.
    """

    def __init__(self, committer: Committer, slice_seconds: float = 0.1) -> None:
        self.committer = committer
        self.store = committer.store
        self.slice_seconds = slice_seconds
        self._work: _Work | None = None

    async def advance(self) -> bool:
        """Goes on with the first command that waits; False where none does."""
        asked = await self._asked()
        if asked is None:
            self._work = None
            return False
        n, command = asked
        try:
            await self._advance(n, command)
        except (Unavailable, Stopped):
            raise
        except CorruptData as error:
            # What was still to be learned was trimmed meanwhile: it begins again, from a later place.
            if error.code != "log_gap" or self._work is None:
                raise
            self._work = None
        return True

    async def _asked(self) -> tuple[int, Command] | None:
        for n in await self.store.pending():
            entry = await self.store.log.get(n)
            if entry is not None and isinstance(entry.record, Command) and entry.record.kind == FORGET:
                return n, entry.record
        return None

    async def _advance(self, n: int, command: Command) -> None:
        if self._work is None or self._work.n != n:
            self._work = await self._begun(n, command)
            if self._work is None:
                return
        work, head = self._work, self.committer.head
        try:
            await work.relearning.advance(head.offset, self.slice_seconds)
        except (Unavailable, CorruptData):
            raise
        except Exception as error:  # Whatever it is: it would be met again and again, and nothing is changed yet.
            logger.exception("%s: it cannot be learned without what is to be forgotten", self.committer.name)
            self._work = None
            await self.committer.refuse(n, command, reason_of(error))
            return
        begun, done = work.relearning.begun_at, work.relearning.offset
        share = (done - begun) / max(1, head.offset - begun)
        await self.store.commit_log.report_progress(command.id, 0.95 * share)
        if done == head.offset:
            await self._judge(work)

    async def _begun(self, n: int, command: Command) -> _Work | None:
        """The work on a command; None where it is done already, as there is nothing to be learned without what is meant."""
        committer, head = self.committer, self.committer.head
        selection = Selection.of(command.arguments)
        records = await find(self.store.log, selection, n, head.offset)
        known = await self.store.commit_log.job(command.id)
        report = dict(known.report or {}) if known is not None else {}
        if "labels" in report:
            await self._erase(n, command, records, report)
            return None
        if known is None:
            begun = Effect(jobs=[JobRecord(command.id, "running")], command=command)
            await committer.commit(Plan(), StepResult(), effect=begun)
        if records.first > head.offset:
            job = JobRecord(command.id, "running", report=_counts(records))
            await committer.commit(Plan(), StepResult(), effect=Effect(jobs=[job], command=command))
            await self._erase(n, command, records, _counts(records))
            return None
        versions = await self.store.commit_log.versions()
        tainted = next((each.version for each in versions if each.offset >= records.first), head.newest + 1)
        begin = Relearning.begin(self.store, committer.compute, committer.learner, committer.head, records, tainted, n)
        return _Work(n, command, records, await begin)

    async def _judge(self, work: _Work) -> None:
        """Lets the gate decide on what was learned without the records."""
        committer, relearning = self.committer, work.relearning
        decision = await committer.compute(relearning.learner.judged_beside, committer.learner)
        if not decision.promoted and relearning.is_whole:
            work.refused = decision
            work.relearning = await Relearning.of_network(
                self.store, committer.compute, committer.learner, work.records, relearning.tainted, work.n
            )
            return
        await self._replace(work, decision)
        self._work = None
        await self._erase(work.n, work.command, work.records, self._report(work, decision))

    def _report(self, work: _Work, decision: Decision) -> dict[str, Any]:
        relearning = work.relearning
        report: dict[str, Any] = {
            **_counts(work.records),
            "relearned": relearning.learned,
            "from_record": relearning.begun_at + 1,
            "unlearned": relearning.is_whole,
            "version": self.committer.head.version,
            "gate": (work.refused or decision).reason,
            "scores": dict((work.refused or decision).scores),
        }
        if work.refused is not None:
            report["kept"] = "the gate refused what was learned without them: the network's weights are those of before"
        elif not relearning.is_whole:
            report["kept"] = (
                "no checkpoint from before them is left whose later labels the log still holds: the network's weights have "
                "learned them for good"
            )
        return report | ({"skipped": relearning.skipped} if relearning.skipped else {})

    async def _replace(self, work: _Work, decision: Decision) -> None:
        """Commits that what was learned without the records takes the place of the live learner."""
        committer, live, learner = self.committer, self.committer.learner, work.relearning.learner
        version = committer.head.newest + 1
        standing = set(live.monitor.standing)
        records = work.records
        await committer.compute(learner.take_place_of, live, version, lambda n, item: not records.has(n, item))
        reach("forget.relearned")
        retired = [each.version for each in await self.store.commit_log.versions() if each.offset >= records.first]
        result = StepResult(over=sorted(standing - learner.monitor.standing))
        job = JobRecord(work.command.id, "running", report=self._report(work, decision) | {"version": version})
        jobs = [job]
        if live.retraining is not None:
            why = "labels that it was trained on were erased"
            jobs.append(JobRecord(live.retraining.job, "cancelled", report={"reason": why}))
        effect = Effect(
            jobs=jobs,
            publish=f"learned again without {records.labels} labels that were forgotten",
            is_new_spec=True,
        )
        committer.learner = learner
        await committer.commit(
            Plan(version=version), result, effect=effect, replacement=Replacement(records.first, retired)
        )
        reach("forget.committed")

    async def _erase(self, n: int, command: Command, records: ErasedRecords, report: dict[str, Any]) -> None:
        """Erases all that is left, and ends the job."""
        committer, store = self.committer, self.store
        erasure, selection = (
            Erasure(store.connection, store.uid, committer.lease.epoch),
            Selection.of(command.arguments),
        )
        await erasure.receipts(records)
        # A correction that came before that is of the same fact, and is the last one.
        records = await find(store.log, selection, n, committer.head.offset)
        await erasure.receipts(records)
        reach("forget.receipts")
        predicted = facts_of(await erasure.predictions(records))
        await erasure.refusals(records, selection)
        reach("forget.predictions")
        await committer.retention.erase(committer.head)
        await erasure.log(records, n)
        report = {**report, "predictions": len(predicted)}
        report["store_files"] = "rewritten" if await erasure.files(self._pause) else "not rewritten"
        if unknown := selection.unknown({*records.known, *predicted}):
            report["unknown"] = unknown
        reach("forget.erased")
        version = report.get("version")
        done = JobRecord(command.id, "succeeded", 1.0, version is not None, version, report)
        await committer.commit(Plan(command=n), StepResult(), effect=Effect(jobs=[done], command=command))

    async def _pause(self) -> None:
        await asyncio.sleep(0.05)


def _counts(records: ErasedRecords) -> dict[str, Any]:
    return {"labels": records.labels, "learned": records.learned}
