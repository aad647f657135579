"""Calls that compute in turn: one at a time, and a long one gives way to those who wait between two modules of its network.

So a model whose update takes seconds keeps nobody waiting for longer than one of its layers takes, or than the others have had
themselves: beside many that are busy it still has half of the time. Where a call gives way, its thread rests until they had
their turn. What it computes is the same: torch draws on from where it was, and what else a call changes is its model's own.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack

import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook


class FairLock:
    """A lock that is given to those who wait in the order in which they came."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._last_ticket = self._served = 0

    def acquire(self) -> None:
        with self._changed:
            self._last_ticket += 1
            ticket = self._last_ticket
            self._changed.wait_for(lambda: self._served == ticket - 1)

    def release(self) -> None:
        with self._changed:
            self._served += 1
            self._changed.notify_all()

    @property
    def is_wanted(self) -> bool:
        """Whether somebody waits while it is held."""
        return self._last_ticket > self._served + 1


class TimeSlices:
    """Whose call computes.

    Args:
        least_seconds: for so long a call computes before it gives way.
    """

    def __init__(self, least_seconds: float = 0.0) -> None:
        self.least_seconds = least_seconds
        self.lock = FairLock()

    @contextlib.contextmanager
    def call(
        self, computing: Callable[[float], AbstractContextManager[None]], may_be_long: bool
    ) -> Iterator[SlicedCall]:
        """While the block runs, the calling thread computes, once it is its turn.

        Args:
            computing: entered for each slice, with the seconds that the call has computed before it.
            may_be_long: whether it is to give way; to look for that costs some microseconds a module.
        """
        call = SlicedCall(self, computing)
        with ExitStack() as stack:
            if may_be_long:
                stack.callback(register_module_forward_hook(call.after_module).remove)
            call.go_on()
            stack.callback(call.stop)
            yield call


class SlicedCall:
    """One call, by its slices. ``seconds`` are those that it has computed before the present one."""

    def __init__(self, slices: TimeSlices, computing: Callable[[float], AbstractContextManager[None]]) -> None:
        self.seconds = 0.0
        self._slices = slices
        self._computing = computing
        self._thread = threading.get_ident()
        self._since = self._rested = 0.0
        self._slice = ExitStack()

    @property
    def present_seconds(self) -> float:
        """For how long it has computed up to now, in its turn."""
        return self.seconds + time.monotonic() - self._since

    def go_on(self) -> None:
        """Waits for its turn."""
        self._slices.lock.acquire()
        self._since = time.monotonic()
        self._slice.enter_context(self._computing(self.seconds))

    def stop(self) -> None:
        """Ends its turn."""
        self._slice.close()
        self.seconds = self.present_seconds
        self._slices.lock.release()

    def after_module(self, module: nn.Module, inputs: object, output: object) -> None:
        """A hook of torch: the call gives way here, and again where the gradient comes back to this place."""
        if threading.get_ident() != self._thread:
            return  # Another model's, which computes while this one rests.
        self._give_way()
        node = getattr(output, "grad_fn", None)
        if node is not None:
            node.register_prehook(self._before_gradient)

    def _before_gradient(self, gradients: object) -> None:
        if threading.get_ident() == self._thread:
            self._give_way()

    def _give_way(self) -> None:
        begin, slices = time.monotonic(), self._slices
        if not slices.lock.is_wanted or begin - self._since < max(self._rested, slices.least_seconds):
            return
        draws = torch.get_rng_state()
        self.stop()
        self.go_on()
        torch.set_rng_state(draws)
        self._rested = self._since - begin
