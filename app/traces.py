"""The spans of a serving process: of predictions, of labels, and of versions that it begins to serve."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from driftline.store.commits import Version
from driftline.support.tracing import TRACEPARENT, Attributes, Tracing

if TYPE_CHECKING:
    from opentelemetry.trace import Span


class RequestTrace:
    """The span of one request."""

    def __init__(self, tracing: Tracing, path: str, model: str, headers: Mapping[bytes, bytes]) -> None:
        self.tracing = tracing
        parent = headers.get(TRACEPARENT.encode(), b"").decode("latin-1")
        self.span: Span = tracing.begin(f"POST {path}", parent, about={"driftline.model": model})
        self.context = tracing.context_of(self.span)

    def label(self, predicted: str) -> str:
        """The context that a label keeps: in the trace of its prediction where that has one, else in this request's."""
        if not predicted:
            return self.context
        span = self.tracing.begin("label", predicted, links=[self.context])
        span.end()
        return self.tracing.context_of(span)

    def end(self, status: int) -> None:
        """The request was answered."""
        self.span.set_attribute("http.response.status_code", status)
        self.span.end()


def trace_serving(tracing: Tracing, model: str, version: Version) -> None:
    """Ends the traces of the labels that a version has learned: it is served from now on."""
    for context in version.contexts:
        about: Attributes = {"driftline.model": model, "driftline.version": version.version}
        tracing.begin("serve", context, about=about).end()
