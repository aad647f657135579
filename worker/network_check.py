"""Whether a network fails by itself, whatever rows it is given, or only on rows of one batch."""

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
from driftline.networks.user_code import reason_of
from driftline.records import Item, Label, Plan
from driftline.spec import ModelSpec

from .committer import Committer
from .compute import Compute
from .model_store import ModelStore

logger = logging.getLogger("driftline.trainer")

REMEMBERED = 3
"""How many of the latest learned records are tried, beside two made-up rows."""


class NetworkFailed(DriftlineError):
    """The network fails by itself: no record is to blame, and none can be learned."""

    default_code = "network_failed"


class NetworkCheck:
    """Whether a model's network works. One that fails by itself is tried ever more rarely, and at once after a command.

    Args:
        committer: what owns the learner.
        first_retry_seconds: until the first retry; each further one waits twice as long.
        last_retry_seconds: the longest time between two retries.
    """

    def __init__(self, committer: Committer, first_retry_seconds: float, last_retry_seconds: float) -> None:
        self.committer = committer
        self.first_retry_seconds = first_retry_seconds
        self.last_retry_seconds = last_retry_seconds
        self.reason: str | None = None
        self._may_be_alarmed = True  # A former owner may have raised the alarm.
        self.retry_now()

    @property
    def is_failing(self) -> bool:
        return self.reason is not None

    @property
    def until_retry(self) -> float:
        """Seconds until a network that fails is to be tried again."""
        return self._retry_at - time.monotonic()

    def retry_now(self) -> None:
        """Something may have mended it: a command was carried out."""
        self._delay, self._retry_at = self.first_retry_seconds, 0.0

    async def is_well(self) -> bool:
        """Whether it works, as far as is known; one that has failed is tried again when that is due.

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
        """Raises :class:`NetworkFailed` where it fails on all rows."""
        committer = self.committer
        error = await failure_by_itself(committer.store, committer.compute, committer.learner, committer.head.offset)
        if error is not None:
            raise NetworkFailed(reason_of(error)) from error

    async def failed(self, error: NetworkFailed) -> None:
        """It fails whatever rows it is given: labels wait, and none is quarantined for it. Told once for each reason."""
        name = self.committer.name
        if error.message != self.reason:
            self._may_be_alarmed = True
            await self.committer.store.alarm(
                error.code,
                f"the network fails on any row, also on those that it has learned: {error.message}; labels wait, and none is "
                f"lost: mend its code and restart the worker, or `driftline rollback {name} VERSION`, or change its recipe",
            )
            logger.error("%s is not learned: its network fails on any row: %s", name, error, exc_info=error.__cause__)
        self.reason = error.message
        self._retry_at = time.monotonic() + self._delay
        self._delay = min(self.last_retry_seconds, 2 * self._delay)

    async def works(self) -> None:
        """It works. The alarm goes before the state: a store that does not answer is asked again."""
        if self._may_be_alarmed:
            await self.committer.store.withdraw(NetworkFailed.default_code)
        self.reason, self._may_be_alarmed = None, False
        self.retry_now()


async def failure_by_itself(store: ModelStore, compute: Compute, learner: Learner, offset: int) -> Exception | None:
    """What the network raises on every row that is tried; None where it works on one.

    The rows are the latest learned ones up to log number ``offset``, and made-up ones. Each is learned by itself and answered
    by itself, so in training and in evaluation mode, by a copy of the learner: the learner stays as it is.
    """
    remembered = await store.log.kept(offset, REMEMBERED)
    rows = [*usable(learner.spec, learner.course.state.index_of, remembered), *_made_up(learner.spec, learner.classes)]
    error = None
    for row in rows:
        error = await compute(_error_on, learner, row)
        if error is None:
            return None
    return error


def _error_on(learner: Learner, row: Item) -> Exception | None:
    try:
        copy = Learner.from_state(learner.state_dict(), factories=learner.factories)
        inputs = Examples.of(copy.spec, [row], {(type(row.label), row.label): 0}).inputs
        with copy.course.state.drawing(), torch.no_grad():
            clone(copy.served).eval()(inputs)
        # An imported record is never held out: it is trained on.
        copy.learn([msgspec.structs.replace(row, route="import", answer=None)], [0], Plan(updates=1))
    except Exception as error:  # A user's own network may raise anything.
        return error
    return None


def _made_up(spec: ModelSpec, classes: Sequence[int | str]) -> list[Item]:
    """A row of zeros and one of ones, with a label that fits."""
    label: Label = 0.0 if spec.task == "regression" else classes[0] if classes else 0
    return [
        Item(
            f"made-up-{fill}",
            {name: _filled(tensor.shape, tensor.dtype, fill) for name, tensor in spec.tensors.items()},
            label,
        )
        for fill in (0, 1)
    ]


def _filled(shape: Sequence[int], dtype: str, fill: int) -> bytes:
    return torch.full(tuple(shape), fill, dtype=getattr(torch, dtype)).numpy().tobytes()
