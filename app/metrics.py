"""What this process counts. Beside other replicas the counts lie in files that all of them read, and outlive a replica."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, multiprocess

if TYPE_CHECKING:
    from driftline.store.predictions import PredictionWriter

    from .engine import Engine

FOLDER = "PROMETHEUS_MULTIPROC_DIR"


class Metrics:
    """The counters of one app. Their names begin with ``driftline_``."""

    def __init__(self) -> None:
        _forget_dead()
        self.registry = CollectorRegistry()

        def counter(name: str, what: str, *labels: str) -> Counter:
            return Counter(f"driftline_{name}", what, labels, registry=self.registry)

        def gauge(name: str, what: str, mode: str, *labels: str) -> Gauge:
            return Gauge(f"driftline_{name}", what, labels, registry=self.registry, multiprocess_mode=mode)  # type: ignore[arg-type]

        self.rows = counter("predictions", "rows answered", "model")
        self.batches = counter("batches", "batches computed", "model")
        self.seconds = counter("compute_seconds", "time in the network", "model")
        self.refused = counter("predictions_refused", "requests refused: queue full", "model")
        self.late = counter("predictions_late", "requests not answered in time", "model")
        self.swaps = counter("swaps", "versions swapped in", "model")
        self.served = gauge("served_version", "version that every replica serves at least", "livemin", "model")
        self.queued = gauge("queued_rows", "rows waiting", "livesum", "model")
        self.swap_failures = counter("swap_failures", "versions that could not be loaded")
        self.unrecorded = counter("predictions_unrecorded", "batches not kept for the join")
        self.join_horizon = gauge("join_horizon_seconds", "how far back a label can be joined", "livemin")
        self.replicas = gauge("replicas", "serving processes", "livesum")
        self.replicas.set(1)
        self._dropped = 0

    def of(self, model: str, version: int) -> ModelMetrics:
        """The counters of one model."""
        found = ModelMetrics(self, model)
        found.served.set(version)
        return found

    def sample(self, engine: Engine, prediction_writer: PredictionWriter) -> None:
        """Takes what is not counted as it happens."""
        for model in engine.models.values():
            model.measures.queued.set(model.queued_rows)
        self.unrecorded.inc(prediction_writer.dropped - self._dropped)
        self._dropped = prediction_writer.dropped
        self.join_horizon.set(prediction_writer.join_horizon)

    def readable(self) -> CollectorRegistry:
        """What all replicas have counted together; without other replicas, what this one has."""
        if FOLDER not in os.environ:
            return self.registry
        together = CollectorRegistry()
        multiprocess.MultiProcessCollector(together)  # type: ignore[no-untyped-call]
        return together


def _forget_dead() -> None:
    """Takes away the gauges of replicas that have ended; what they have counted stays."""
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

    def __init__(self, measures: Metrics, model: str) -> None:
        self.rows = measures.rows.labels(model)
        self.batches = measures.batches.labels(model)
        self.seconds = measures.seconds.labels(model)
        self.refused = measures.refused.labels(model)
        self.late = measures.late.labels(model)
        self.swaps = measures.swaps.labels(model)
        self.served = measures.served.labels(model)
        self.queued = measures.queued.labels(model)

    def computed(self, rows: int, seconds: float) -> None:
        """A batch was computed."""
        self.rows.inc(rows)
        self.batches.inc()
        self.seconds.inc(seconds)

    def swapped(self, version: int) -> None:
        """Another version is served."""
        self.swaps.inc()
        self.served.set(version)
