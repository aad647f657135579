"""Prometheus counters. With several replicas the counts are in files that all of them read, and outlive a replica."""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, multiprocess
from prometheus_client.metrics_core import CounterMetricFamily, Metric
from prometheus_client.samples import Sample

from driftline.support.tally import DELAYS, QUICK, SLOW, Tally

from .http_meter import HttpMeter
from .learned_metrics import text_of

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
MAX_UNKNOWN = 50
OTHERS = "(others)"
NO_SAMPLE = math.inf
"""Stands for a gauge that has no value: a minimum over replicas passes over it."""


PROCESS = {
    "process_cpu_seconds": "livesum",
    "process_resident_memory_bytes": "livesum",
    "process_virtual_memory_bytes": "livesum",
    "process_open_fds": "livesum",
    "process_max_fds": "livemin",
    "process_start_time_seconds": "livemin",
}
"""What the library tells of a process, and what that is of all replicas together."""


@dataclass(frozen=True)
class Counted:
    """The counts as text, and of them how often each field came that a model does not have, by model and field."""

    text: bytes
    unknown: Mapping[str, Mapping[str, int]]


class TalliedHistogram(Histogram):
    """A histogram that takes many values at once, counted by a :class:`Tally` of its bounds."""

    def add(self, tally: Tally) -> None:
        """Adds what was counted since this was last done."""
        counts, total = tally.take()
        for bucket, count in zip(self._buckets, counts, strict=True):
            if count:
                bucket.inc(count)
        self._sum.inc(total)


class Metrics:
    """The counters of one app. Their names begin with ``driftline_``, but for those that every process has."""

    def __init__(self) -> None:
        _forget_dead()
        self.registry = CollectorRegistry()

        def counter(name: str, what: str, *labels: str) -> Counter:
            return Counter(f"driftline_{name}", what, labels, registry=self.registry)

        def gauge(name: str, what: str, mode: str, *labels: str) -> Gauge:
            return Gauge(f"driftline_{name}", what, labels, registry=self.registry, multiprocess_mode=mode)  # type: ignore[arg-type]

        def histogram(name: str, what: str, bounds: Sequence[float], *labels: str) -> TalliedHistogram:
            return TalliedHistogram(f"driftline_{name}", what, labels, buckets=bounds, registry=self.registry)

        self.rows = counter("predictions", "rows answered", "model")
        self.batches = counter("batches", "batches computed", "model")
        self.seconds = counter("compute_seconds", "time in the network", "model")
        self.refused = counter("predictions_refused", "requests refused: queue full", "model")
        self.late = counter("predictions_late", "requests not answered in time", "model")
        self.swaps = counter("swaps", "versions swapped in", "model")
        self.served = gauge("served_version", "version that every replica serves at least", "livemin", "model")
        self.queued = gauge("queued_rows", "rows waiting", "livesum", "model")
        self._counters = [self.rows, self.batches, self.seconds, self.refused, self.late, self.swaps]
        self.swap_failures = counter("swap_failures", "versions that could not be loaded")
        self.unrecorded = counter("predictions_unrecorded", "batches not kept for the join")
        self.unsent = counter(
            "predictions_unsent", "predictions that a sink had not taken when they were no longer kept"
        )
        self.join_horizon = gauge("join_horizon_seconds", "how far back a label can be joined", "livemin")
        self.replicas = gauge("replicas", "serving processes", "livesum")
        self.replicas.set(1)
        self._unrecorded = self._unsent = 0
        self.unknown_fields = counter("unknown_fields", "values of fields that there are not", "model", "field")
        self._unknown: dict[str, set[str]] = {}
        self.answers = counter("http_requests", "requests answered", "method", "path", "status")
        took = "time from a request's head to its answer"
        self.request_duration = histogram("http_request_duration_seconds", took, QUICK, "method", "path")
        self.swap_duration = histogram("swap_duration_seconds", "time to load a version and swap it in", QUICK)
        reached = "time from a label, the oldest that a version adds, to its being served"
        self.label_served = histogram("label_served_seconds", reached, SLOW)
        self.label_delay = histogram("label_delay_seconds", "time from a prediction to its label", DELAYS)
        self.delays = Tally(DELAYS)
        self._process = ProcessCollector(registry=None)
        self._of_process = {
            name: Gauge(name, "of the serving processes", registry=self.registry, multiprocess_mode=mode)  # type: ignore[arg-type]
            for name, mode in PROCESS.items()
        }

    def of(self, model: str, version: int) -> ModelMetrics:
        """The counters of one model."""
        found = ModelMetrics(self, model)
        found.served.set(version)
        return found

    def count(self, http_meter: HttpMeter) -> None:
        """Adds what was counted in plain numbers since this was last done, and what the process takes of the machine."""
        for (method, path, status), tally in http_meter.take().items():
            self.answers.labels(method, path, str(status)).inc(sum(tally.counts))
            self.request_duration.labels(method, path).add(tally)
        self.label_delay.add(self.delays)
        for metric in self._process.collect():
            for sample in metric.samples:
                gauge = self._of_process.get(metric.name)
                if gauge is not None:
                    gauge.set(sample.value)

    def count_unknown(self, model: str, fields: Mapping[str, int]) -> None:
        """Counts values of fields that a model does not have; of many different ones the first are named."""
        named = self._unknown.setdefault(model, set())
        for field, count in fields.items():
            if field not in named and len(named) >= MAX_UNKNOWN:
                field = OTHERS
            named.add(field)
            self.unknown_fields.labels(model, field).inc(count)

    def counted(self, models: Collection[str] | None) -> Counted:
        """What all replicas have counted; with many models this takes long."""
        metrics, unknown = self.collect(models), dict[str, dict[str, int]]()
        for metric in metrics:
            for sample in metric.samples:
                if sample.name == "driftline_unknown_fields_total" and sample.value:
                    unknown.setdefault(sample.labels["model"], {})[sample.labels["field"]] = int(sample.value)
        return Counted(text_of(metrics), unknown)

    def set_unrecorded(self, total: int) -> None:
        """Sets how many batches have not been recorded since the start."""
        self.unrecorded.inc(total - self._unrecorded)
        self._unrecorded = total

    def set_unsent(self, total: int) -> None:
        """Sets how many predictions were dropped that sinks have not taken since the start."""
        self.unsent.inc(total - self._unsent)
        self._unsent = total

    def forget(self, model: str) -> None:
        """Removes the series of a deleted model.

        With several replicas the library cannot remove a series from its files: this replica's counts begin at 0 again if a
        model of that name is created again. The counts of replicas that have ended stay.
        """
        for counter in self._counters:
            if FOLDER in os.environ:
                counter.labels(model).reset()
            else:
                counter.remove(model)
        for field in self._unknown.pop(model, ()):
            if FOLDER in os.environ:
                self.unknown_fields.labels(model, field).reset()
            else:
                self.unknown_fields.remove(model, field)
        for gauge, nothing in ((self.served, NO_SAMPLE), (self.queued, 0)):
            if FOLDER in os.environ:
                gauge.labels(model).set(nothing)
            else:
                gauge.remove(model)

    def collect(self, models: Collection[str] | None) -> list[Metric]:
        """The counts of all replicas together, or of this process where it is alone.

        Args:
            models: the names of the existing models, to leave out the series of others; None: not known.
        """
        registry = self.registry
        if FOLDER in os.environ:
            registry = CollectorRegistry()
            multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        metrics = [_told(metric) for metric in registry.collect()]
        for metric in metrics:
            metric.samples = [sample for sample in metric.samples if _is_shown(sample, models)]
        return metrics


def _told(metric: Metric) -> Metric:
    """Processor time is a counter, and is kept as a gauge because that of a replica that has ended does not count."""
    if metric.name != "process_cpu_seconds":
        return metric
    return CounterMetricFamily(metric.name, metric.documentation, sum(sample.value for sample in metric.samples))


def _is_shown(sample: Sample, models: Collection[str] | None) -> bool:
    is_of_known = models is None or "model" not in sample.labels or sample.labels["model"] in models
    return is_of_known and sample.value != NO_SAMPLE


def _forget_dead() -> None:
    """Removes the gauges of replicas that have ended; their counters stay."""
    if FOLDER in os.environ:
        for path in Path(os.environ[FOLDER]).glob("gauge_live*_*.db"):
            process = int(path.stem.rpartition("_")[2])
            if not _is_alive(process):
                multiprocess.mark_process_dead(process)  # type: ignore[no-untyped-call]


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


class ModelMetrics:
    """The counters of one model."""

    def __init__(self, metrics: Metrics, model: str) -> None:
        self.metrics, self.model = metrics, model
        self.rows = metrics.rows.labels(model)
        self.batches = metrics.batches.labels(model)
        self.seconds = metrics.seconds.labels(model)
        self.refused = metrics.refused.labels(model)
        self.late = metrics.late.labels(model)
        self.swaps = metrics.swaps.labels(model)
        self.served = metrics.served.labels(model)
        self.queued = metrics.queued.labels(model)

    def computed(self, rows: int, seconds: float) -> None:
        """A batch was computed."""
        self.rows.inc(rows)
        self.batches.inc()
        self.seconds.inc(seconds)

    def unknown(self, fields: Mapping[str, int]) -> None:
        """Fields came that the model does not have."""
        self.metrics.count_unknown(self.model, fields)

    def swapped(self, version: int) -> None:
        """Another version was swapped in."""
        self.swaps.inc()
        self.served.set(version)
