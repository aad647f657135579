"""A network that takes its time: as long as it was told to, or until a test lets it go on."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

from torch import Tensor, nn


class Gate:
    """Where each batch of a :class:`Slow` waits while a test holds it."""

    def __init__(self) -> None:
        self.permits: threading.Semaphore | None = None
        self.has_begun = threading.Event()

    @contextlib.contextmanager
    def held(self) -> Iterator[Gate]:
        """No batch ends within the block, but as many as :meth:`release` lets go."""
        self.has_begun.clear()
        self.permits = held = threading.Semaphore(0)
        try:
            yield self
        finally:
            self.permits = None
            held.release(1000)

    def release(self, batches: int) -> None:
        """Lets so many batches end."""
        assert self.permits is not None
        self.permits.release(batches)

    def go_through(self) -> None:
        permits = self.permits
        self.has_begun.set()
        if permits is not None:
            permits.acquire()


GATE = Gate()


class Slow(nn.Module):
    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds
        self.rows: list[int] = []

    def forward(self, inputs: Tensor) -> Tensor:
        GATE.go_through()
        time.sleep(self.seconds)
        self.rows.append(len(inputs))
        return inputs


def network(seconds: float) -> Slow:
    return Slow(seconds)
