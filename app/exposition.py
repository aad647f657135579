"""The page that Prometheus reads."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client.core import GaugeMetricFamily

from driftline.api.metrics import AlarmState
from driftline.support.tasks import Troubles

from .learned_metrics import Learned, text_of
from .metrics import Counted
from .process_metrics import process_families
from .sampling import Measurement
from .store_health import StoreHealth, store_alarms


def exposition(
    counted: Measurement[Counted] | None,
    health: Measurement[StoreHealth] | None,
    learned: Measurement[Learned] | None,
    troubles: Troubles,
    artifacts: Iterable[AlarmState] = (),
) -> bytes:
    """Everything that is measured: what the replicas count, and what was last read of the store, each with its age."""
    families = process_families(health)
    families.gauge("background_tasks_failing", "background tasks of this process that fail", len(troubles.current()))
    alarms = GaugeMetricFamily(
        "driftline_alarms", "alarms that stand, 1; without a model: of the instance", labels=["model", "kind"]
    )
    for alarm in [*_alarms(health, learned), *(("", kind) for kind in sorted({each["kind"] for each in artifacts}))]:
        alarms.add_metric(alarm, 1)
    families.add(alarms)
    if learned is not None:
        families.gauge("learning_age_seconds", "age of what is told of learning", learned.age)
    if counted is not None:
        families.gauge("counts_age_seconds", "age of what the serving processes have counted", counted.age)
    texts = [measurement.value.text for measurement in (counted, learned) if measurement is not None]
    return b"".join([text_of(families.collect()), *texts])


def _alarms(health: Measurement[StoreHealth] | None, learned: Measurement[Learned] | None) -> Iterable[tuple[str, str]]:
    if health is not None:
        yield from (("", kind) for kind in sorted({alarm["kind"] for alarm in store_alarms(health)}))
    if learned is not None:
        yield from learned.value.alarms
