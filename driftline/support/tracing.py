"""OpenTelemetry traces, where the operator wants them; where not, nothing of that library is loaded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from driftline.errors import ConfigurationError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

TRACEPARENT = "traceparent"
Attributes = Mapping[str, str | int | float]


class Tracing:
    """Makes spans. A context is text as in the header ``traceparent`` of the W3C; empty: none."""

    def __init__(self, provider: TracerProvider) -> None:
        from opentelemetry import trace
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self.provider = provider
        self._tracer = provider.get_tracer("driftline")
        self._trace = trace
        self._texts = TraceContextTextMapPropagator()

    def begin(self, name: str, parent: str = "", links: Iterable[str] = (), about: Attributes | None = None) -> Span:
        """A span that has begun, below the span of a context, or at the root; whoever begins it ends it."""
        around = self._trace.set_span_in_context(self._trace.INVALID_SPAN)
        given = self._texts.extract({TRACEPARENT: parent}, around) if parent else around
        linked = [self._trace.Link(self._of(link)) for link in links if link]
        return self._tracer.start_span(name, given, links=linked, attributes=about)

    def _of(self, context: str) -> Any:
        return self._trace.get_current_span(self._texts.extract({TRACEPARENT: context})).get_span_context()

    def context_of(self, span: Span) -> str:
        """The context of a span; empty where it is not sampled: nothing is to be kept of it then."""
        if not span.get_span_context().trace_flags.sampled:
            return ""
        carrier: dict[str, str] = {}
        self._texts.inject(carrier, self._trace.set_span_in_context(span))
        return carrier.get(TRACEPARENT, "")

    def fail(self, span: Span, reason: str) -> None:
        """Ends a span whose work has failed."""
        span.set_status(self._trace.Status(self._trace.StatusCode.ERROR, reason))
        span.end()

    def close(self) -> None:
        """Sends what is left."""
        self.provider.shutdown()


def open_tracing(service: str) -> Tracing:
    """Tracing that sends to where the variables ``OTEL_*`` say, by default to a collector on this machine.

    Raises:
        ConfigurationError: the packages are not installed.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        raise ConfigurationError(
            "DRIFTLINE_TRACES needs OpenTelemetry; install it: pip install 'driftline[otel]'", code="no_opentelemetry"
        ) from None
    provider = TracerProvider(resource=Resource.create({"service.name": service}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Tracing(provider)
