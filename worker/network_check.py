"""Whether a network fails on every row, or only on rows of one batch."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

import msgspec
import torch

from driftline.errors import DriftlineError
from driftline.learning.examples import Examples
from driftline.learning.labelled_batch import usable
from driftline.learning.learner import Learner
from driftline.networks.clone import clone
from driftline.networks.user_code import ran_out_of_memory, reason_of, user_code
from driftline.records import Item, Label, Plan
from driftline.rows.rows import made_up
from driftline.spec import ModelSpec

from .committer import Committer
from .compute import Compute
from .model_store import ModelStore

logger = logging.getLogger("driftline.trainer")


class NetworkFailed(DriftlineError):
    """The network fails on every row: no record is to blame, and none can be learned."""

    default_code = "network_failed"


class NetworkCheck:
    """Whether a model's network works. One that fails is retried with growing delays, and at once after a command.

    ``halved`` is how many times the rows that an update replays are halved, because memory ran out; till a command, which may
    mend that.

    Args:
        committer: owns the learner.
        first_retry_seconds: seconds until the first retry; each further one waits twice as long.
        last_retry_seconds: the longest time between two retries.
    """

    def __init__(self, committer: Committer, first_retry_seconds: float, last_retry_seconds: float) -> None:
        self.committer = committer
        self.first_retry_seconds = first_retry_seconds
        self.last_retry_seconds = last_retry_seconds
        self.reason: str | None = None
        self._may_be_alarmed = True  # A former owner may have raised the alarm.
        self.halved = 0
        self.retry_now()

    @property
    def is_failing(self) -> bool:
        return self.reason is not None

    @property
    def until_retry(self) -> float:
        """Seconds until a failing network is tried again."""
        return self._retry_at - time.monotonic()

    def renew(self) -> None:
        """Tries it again at once, and with all rows, because a command may have repaired it."""
        self.halved = 0
        self.retry_now()

    def retry_now(self) -> None:
        """Tries it again at once."""
        self._delay, self._retry_at = self.first_retry_seconds, 0.0

    async def smaller(self, plan: Plan, error: DriftlineError) -> Plan | None:
        """The plan of a step that has failed with half as many replayed rows, as steps after it have; None where it replays a
        single row, or its error is no want of memory.

        Raises:
            NetworkFailed: nor is it a matter of the step: it fails on every row that is tried.
        """
        replayed = getattr(self.committer.learner.spec.strategy, "replayed", 1) >> self.halved
        if replayed <= 1 or not ran_out_of_memory(error):
            await self.check()
            return None
        self.halved += 1
        fewer = f"updates replay 1/{2**self.halved} of the rows, until a change of the recipe or another command"
        message = f"memory ran out in a step: {fewer}: {reason_of(error)}"
        await self.committer.store.alarm("step_failed", message)
        return msgspec.structs.replace(plan, halved=self.halved)

    async def is_well(self) -> bool:
        """Whether it works, as far as is known; a failing network is tried again when that is due.

        Raises:
            NetworkFailed: it has been tried again, and still fails.
        """
        if not self.is_failing:
            return True
        if self.until_retry > 0:
            return False
        await self.check()
        await self.works()
        return True

    async def check(self) -> None:
        """Raises :class:`NetworkFailed` if it fails on every row that is tried."""
        committer = self.committer
        error = await failure_by_itself(
            committer.store, committer.compute, committer.learner, committer.head.offset, self.halved
        )
        if error is not None:
            raise NetworkFailed(reason_of(error)) from error

    async def failed(self, error: NetworkFailed) -> None:
        """Notes that it fails on every row: labels wait, and none is quarantined. Each reason raises one alarm."""
        name = self.committer.name
        if error.message != self.reason:
            self._may_be_alarmed = True
            await self.committer.store.alarm(
                error.code,
                f"the network fails on any row, also on those that it has learned: {error.message}; labels wait, and none is "
                f"lost: fix its code and restart the worker, or `driftline rollback {name} VERSION`, or change its recipe",
            )
            logger.error("%s is not learned: its network fails on any row: %s", name, error, exc_info=error.__cause__)
        self.reason = error.message
        self._retry_at = time.monotonic() + self._delay
        self._delay = min(self.last_retry_seconds, 2 * self._delay)

    async def works(self) -> None:
        """Notes that it works. The alarm is withdrawn first, so that this is tried again if the store does not answer."""
        if self._may_be_alarmed:
            await self.committer.store.withdraw(NetworkFailed.default_code)
        self.reason, self._may_be_alarmed = None, False
        self.retry_now()


async def failure_by_itself(
    store: ModelStore, compute: Compute, learner: Learner, offset: int, halved: int = 0, remembered: int = 3
) -> DriftlineError | None:
    """The error of a network that fails on every row that is tried; None if it works on one.

    The rows are the ``remembered`` latest ones that the log keeps up to number ``offset``, and two made-up ones. A copy of the
    learner answers and learns each by itself, so in evaluation and in training mode: the learner stays as it is.
    """
    latest = await store.log.latest(offset, remembered)
    rows = [*usable(learner.spec, learner.course.state.index_of, latest), *_made_up(learner.spec, learner.classes)]
    error = None
    for row in rows:
        error = await compute(_error_on, learner, row, halved)
        if error is None:
            return None
    return error


def _error_on(learner: Learner, row: Item, halved: int) -> DriftlineError | None:
    try:
        with user_code("the network"):
            _answer_and_learn(Learner.from_state(learner.state_dict(), factories=learner.factories), row, halved)
    except DriftlineError as error:
        return error
    return None


def _answer_and_learn(copy: Learner, row: Item, halved: int) -> None:
    rows = Examples.of_rows(copy.spec, [row])
    inputs = {name: rows[name] for name in rows}
    with copy.course.state.drawing(), torch.no_grad():
        clone(copy.served).eval()(inputs)
    # A record that was not live is never held out: it is trained on.
    copy.learn([msgspec.structs.replace(row, route="pinned", answer=None)], [0], Plan(updates=1, halved=halved))


def _made_up(spec: ModelSpec, classes: Sequence[int | str]) -> list[Item]:
    """A row of zeros and one of ones, with a label that fits."""
    label: Label = [] if spec.kind.is_multilabel else classes[0] if classes else 0
    if not spec.kind.has_classes:
        label = [0.0] * spec.values.outputs if spec.values.has_several else 0.0
    return [Item(f"made-up-{fill}", made_up(spec, fill).item(0), label) for fill in (0, 1)]
