"""The series of processes: this instance's workers, its store, and what its serving processes take of the machine."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Sequence
from itertools import accumulate, chain

import torch
from prometheus_client.metrics_core import HistogramMetricFamily, Metric

from driftline.api.health import WorkerState
from driftline.store.catalog import by_uid
from driftline.store.redis_health import RedisState
from driftline.store.workers import Heartbeat
from driftline.support.tally import QUICK
from driftline.version import __version__

from .learned_metrics import Families
from .sampling import Measurement
from .store_health import StoreHealth, access_of

DURATIONS = {
    "step": "time to learn a step",
    "version": "time to publish a version",
    "checkpoint": "time to write a checkpoint",
}
"""What workers measure, and what it is."""


def process_families(sample: Measurement[StoreHealth] | None) -> Families:
    """What is known of store and workers."""
    found = Families()
    build = {"version": __version__, "python": platform.python_version(), "torch": torch.__version__}
    found.gauge("build_info", "the release of this process, 1", 1, **build)
    if sample is None:
        found.gauge("store_up", "whether the store answers", 0)
        return found
    access, health = access_of(sample), sample.value
    found.gauge("store_up", "whether the store answers", access != "unavailable")
    found.gauge("store_writable", "whether the store takes writes", access == "available")
    found.gauge("health_age_seconds", "age of what is told of store and workers", sample.age)
    if health.write_seconds is not None:
        found.gauge("store_write_seconds", "time of the last write that was tried", health.write_seconds)
    _server(found, health.state)
    names = by_uid(health.names)
    for beat, worker in zip(health.heartbeats, health.workers["workers"], strict=True):
        _worker(found, beat, worker)
    for lag in chain(*(beat.sources for beat in health.heartbeats), health.row_lags):
        model = names.get(lag.model, lag.model)
        told = "how long ago all records of a source had been taken"
        found.gauge("source_lag_seconds", told, lag.seconds, model=model, source=lag.source)
        if lag.records is not None:
            left = "records of a source that are not read yet"
            found.gauge("source_lag_records", left, lag.records, model=model, source=lag.source)
    for metric in _durations(health.heartbeats):
        found.add(metric)
    return found


def _server(found: Families, state: RedisState) -> None:
    policy = state.policy or "unverified"
    found.gauge("store_info", "what the store promises, 1", 1, durability=state.durability, eviction=policy)
    found.gauge("store_memory_bytes", "memory that the store uses", state.used_bytes)
    found.gauge("store_memory_limit_bytes", "memory that the store may use", state.room_bytes)


def _worker(found: Families, beat: Heartbeat, worker: WorkerState) -> None:
    name = beat.id
    about = {"host": beat.host, "pid": str(beat.pid), "version": beat.version}
    found.gauge("worker_info", "a worker, 1", 1, worker=name, **about)
    found.gauge("worker_up", "whether it works: 0 if it hangs", worker["state"] == "working", worker=name)
    found.gauge("worker_heartbeat_timestamp_seconds", "when it last told of itself", beat.time, worker=name)
    found.gauge("worker_start_time_seconds", "when it started, in seconds since 1970", beat.started, worker=name)
    found.gauge("worker_load_ratio", "share of the time in which it computes", beat.load, worker=name)
    found.gauge("worker_call_seconds", "how long it has been in one call", beat.computing_seconds, worker=name)
    found.counter("worker_restarts", "its starts without an end in order before", beat.restarts, worker=name)
    found.counter("worker_cpu_seconds", "processor time", beat.cpu_seconds, worker=name)
    found.gauge("worker_resident_memory_bytes", "its memory", beat.resident_bytes, worker=name)


def _durations(heartbeats: Sequence[Heartbeat]) -> Iterable[Metric]:
    """The histograms of what workers do; one of another release may count in other buckets, and is left out."""
    bounds = [*map(str, QUICK), "+Inf"]
    for name, what in DURATIONS.items():
        metric = HistogramMetricFamily(f"driftline_{name}_duration_seconds", what, labels=["worker"])
        for beat in heartbeats:
            counts, total = beat.durations.get(name, ([], 0.0))
            if len(counts) == len(bounds):
                metric.add_metric([beat.id], list(zip(bounds, accumulate(counts), strict=True)), total)
        if metric.samples:
            yield metric
