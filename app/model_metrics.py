"""What is measured of a model, as it is shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from driftline.api.metrics import ModelMetricsAnswer
from driftline.store.catalog import CatalogEntry, Measured
from driftline.store.watermarks import Cap

SWAP_FAILED = "swap_failed"
"""The alarm of a model whose newest version this process cannot serve."""


def model_metrics(
    model: CatalogEntry, measured: Measured, cap: Cap, failure: str | None, unknown: Mapping[str, int]
) -> ModelMetricsAnswer:
    """The learner's metrics of a model, with its lag and alarms.

    Args:
        cap: the limits of its log.
        failure: why this process does not serve its live version.
        unknown: how often each field came that it does not have.
    """
    learner, alarms, backlog = measured
    kinds = {alarm["kind"] for alarm in alarms if alarm["state"] != "over"}
    swap_failed = [_computed(SWAP_FAILED, failure)] if failure is not None else []
    lasting = [_computed(kind, why) for kind, why in backlog.alarms(cap).items() if kind not in kinds]
    found = {
        "model": model.name,
        "version": model.head.version,
        "learned": model.head.learned,
        "watched": model.watched,
        **learner,
        "lag": {
            "labels": model.waiting,
            "seconds": round(backlog.seconds, 3),
            "bytes": backlog.bytes,
            "fullness": round(backlog.fullness(cap), 3),
        },
        "alarms": [*lasting, *swap_failed, *alarms],
    }
    if unknown:
        found["unknown_fields"] = unknown
    return cast(ModelMetricsAnswer, found)


def _computed(kind: str, message: str) -> dict[str, str]:
    """An alarm that stands for as long as this process finds its cause."""
    return {"kind": kind, "message": message, "state": "standing"}
