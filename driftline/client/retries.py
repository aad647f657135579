"""What is tried again, when, and for how long."""

from __future__ import annotations

import random
import time
from typing import Final

import httpx

from driftline.client.feedback import FeedbackRefused
from driftline.errors import Busy, ConfigurationError, DriftlineError, Late, Unavailable

TRANSIENT: Final = (Busy, Unavailable, Late)
"""What may be over when it is asked again: 429, 503, 504, and a connection that broke or was not made."""
ASKED_AGAIN: Final = (*TRANSIENT, FeedbackRefused)
"""The same, and labels that are refused: some because their prediction is not recorded yet."""
FIRST_PAUSE = 0.2
MAX_PAUSE = 5.0
# The request was not sent: there was no connection to send it by.
_UNSENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


class Attempts:
    """The attempts of one call.

    Args:
        is_safe: it may be made twice. One that is not is made again only where the server has not begun it: no connection, 429
            or 503.
        retries: how often it is made again at most.
        timeout: seconds that all attempts take together.
    """

    def __init__(self, is_safe: bool, retries: int, timeout: float) -> None:
        if retries < 0:
            raise ConfigurationError(f"retries: {retries} is less than 0")
        self.is_safe = is_safe
        self.retries = retries
        self.made = 0
        self.deadline = time.monotonic() + timeout

    @property
    def seconds_left(self) -> float:
        """How long the next attempt may take."""
        return max(0.001, self.deadline - time.monotonic())

    def pause_after(self, error: DriftlineError) -> float:
        """Seconds to wait until the next attempt; raises ``error`` where there is none."""
        pause = pause_before(self.made + 1, error.retry_after)
        is_over = self.made >= self.retries or pause >= self.seconds_left
        is_final = isinstance(error, FeedbackRefused) and not error.is_transient
        if is_over or is_final or (not self.is_safe and _may_have_begun(error)):
            raise error
        self.made += 1
        return pause


def pause_before(attempt: int, retry_after: float | None) -> float:
    """Seconds before the ``attempt``-th retry: twice as long each time, at random within half of it, so that clients that
    failed together do not come back together; never before the server has asked for."""
    backoff = min(MAX_PAUSE, FIRST_PAUSE * 2.0 ** min(attempt - 1, 16)) * random.uniform(0.5, 1.0)
    return backoff if retry_after is None else max(0.0, retry_after) + backoff / 2


def _may_have_begun(error: DriftlineError) -> bool:
    """Whether the server may have done something of what it was asked for."""
    if isinstance(error.__cause__, httpx.TransportError):
        return not isinstance(error.__cause__, _UNSENT)
    return isinstance(error, Late)
