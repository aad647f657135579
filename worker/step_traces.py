"""The spans of a trainer: of the steps that learn labels whose requests were traced."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from driftline.records import Item
from driftline.support.tracing import Attributes, Tracing

if TYPE_CHECKING:
    from opentelemetry.trace import Span

MAX_TRACES = 32
"""How many traces one step, and one version, is told of in."""


class StepTraces:
    """Traces of one model's steps. ``unserved`` are the contexts of steps that no version covers yet.

    Args:
        tracing: None: there are no traces, and nothing is done.
    """

    def __init__(self, tracing: Tracing | None) -> None:
        self.tracing = tracing
        self.unserved: list[str] = []
        self._spans: list[Span] = []

    def begin(self, model: str, items: Sequence[Item]) -> None:
        """A step over these labels begins: a span in the trace of each."""
        if self.tracing is None:
            return
        contexts = dict.fromkeys(item.context for item in items if item.context)
        about: Attributes = {"driftline.model": model, "driftline.labels": len(items)}
        self._spans = [self.tracing.begin("learn", context, about=about) for context in list(contexts)[:MAX_TRACES]]
        self.unserved = [*self.unserved, *map(self.tracing.context_of, self._spans)][-MAX_TRACES:]

    def committed(self, step: int) -> None:
        """The step was committed."""
        for span in self._spans:
            span.set_attribute("driftline.step", step)
            span.end()
        self._spans = []

    def failed(self, reason: str) -> None:
        """The step has failed."""
        for span in self._spans:
            assert self.tracing is not None
            self.tracing.fail(span, reason)
        self._spans = []

    def served(self) -> None:
        """A version that covers them all was committed."""
        self.unserved = []
