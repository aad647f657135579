"""The series of learning, as they stand in the store: one of each for every model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from driftline.api.labellers import LabellerInfo
from driftline.api.metrics import ModelMetricsAnswer
from driftline.store.catalog import CatalogEntry

MAX_CLASSES = 20
"""How many classes, and how many outputs, of one model have series of their own."""
RATIOS = frozenset(
    (
        *("accuracy", "balanced_accuracy", "calibration_error", "hamming_loss", "subset_accuracy"),
        *("micro_f1", "macro_f1", "coverage", "recall", "precision", "f1"),
    )
)
"""Scores between 0 and 1."""
DECISIONS = ("promoted", "refused")
SET_ASIDE = ("rejected", "quarantined")
LEARNED_STATES = ("learned", "trusted")


class Families:
    """Metrics by name, made when their first series comes."""

    def __init__(self) -> None:
        self._found: dict[str, Metric] = {}

    def gauge(self, name: str, what: str, value: float, **labels: str) -> None:
        self._family(GaugeMetricFamily, name, what, labels).add_metric(list(labels.values()), value)

    def counter(self, name: str, what: str, value: float, **labels: str) -> None:
        self._family(CounterMetricFamily, name, what, labels).add_metric(list(labels.values()), value)

    def add(self, metric: Metric) -> None:
        self._found[metric.name] = metric

    def _family(self, kind: type[Any], name: str, what: str, labels: Mapping[str, str]) -> Any:
        found = self._found.get(name)
        if found is None:
            found = self._found[name] = kind(f"driftline_{name}", what, labels=list(labels))
        return found

    def collect(self) -> Iterable[Metric]:
        return self._found.values()


def text_of(families: Iterable[Metric]) -> bytes:
    """Metrics in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(_Collected(list(families)))
    return generate_latest(registry)


class _Collected:
    def __init__(self, families: list[Metric]) -> None:
        self.families = families

    def collect(self) -> Iterable[Metric]:
        return self.families


@dataclass(frozen=True)
class Learned:
    """The series of all models as text, and their alarms: model and kind of each."""

    text: bytes
    alarms: Sequence[tuple[str, str]]


def learned(models: Sequence[tuple[CatalogEntry, ModelMetricsAnswer]], owners: Mapping[str, str | None]) -> Learned:
    """The series of models, of what is measured of each; ``owners``: uid → the worker that owns it."""
    found, alarms = Families(), []
    for model, measured in models:
        _progress(found, model, measured, owners.get(model.uid) is not None)
        _counts(found, model.name, measured.get("counts", {}))
        _labellers(found, model.name, measured.get("labellers", []))
        _scores(found, model.name, measured.get("prequential", {}).get("window", {}))
        for kind, count in model.events.items():
            found.counter("events", "what has happened", count, model=model.name, kind=kind)
        standing = {alarm["kind"] for alarm in measured["alarms"] if alarm["state"] != "over"}
        alarms += [(model.name, kind) for kind in sorted(standing)]
    return Learned(text_of(found.collect()), alarms)


def _progress(found: Families, model: CatalogEntry, measured: ModelMetricsAnswer, is_owned: bool) -> None:
    name, head, lag = model.name, model.head, measured["lag"]
    found.counter("labels_learned", "labels learned", head.learned, model=name)
    what = "predicted rows, labelled or not, whose inputs were compared with those before"
    found.counter("predictions_watched", what, model.watched, model=name)
    found.gauge("labels_waiting", "labels that wait to be learned", model.waiting, model=name)
    found.gauge("lag_seconds", "age of the oldest label that waits", lag["seconds"], model=name)
    found.gauge("log_fullness_ratio", "share of the log's cap that waits", lag["fullness"], model=name)
    found.counter("steps", "steps committed", head.step, model=name)
    found.gauge("live_version", "version that is live", head.version, model=name)
    found.gauge("model_paused", "whether learning is paused", model.paused, model=name)
    found.gauge("model_owned", "whether a worker owns it", is_owned, model=name)
    saved = head.checkpoint.step if head.checkpoint else 0
    found.gauge("steps_since_checkpoint", "steps that a recovery repeats", head.step - saved, model=name)
    if model.checkpointed is not None:
        when = "when the newest checkpoint was written, in seconds since 1970"
        found.gauge("checkpoint_timestamp_seconds", when, model.checkpointed, model=name)
    if "held_out" in measured:
        found.gauge("held_out_examples", "examples kept from training", measured["held_out"], model=name)
    if "memory" in measured:
        found.gauge("replay_examples", "examples kept for replay", measured["memory"], model=name)


def _counts(found: Families, name: str, counts: Mapping[str, int]) -> None:
    what = "predictions whose label was learned"
    found.counter("predictions_labelled", what, counts.get("labelled", 0), model=name)
    for decision in DECISIONS:
        value = counts.get(decision, 0)
        found.counter("gate_decisions", "candidates by the gate's decision", value, model=name, decision=decision)
    what = "candidates that went live and that no comparison has judged"
    found.counter("gate_unjudged", what, counts.get("unjudged", 0), model=name)
    for reason in SET_ASIDE:
        value = counts.get(reason, 0)
        found.counter("records_set_aside", "records that were not learned", value, model=name, reason=reason)
    for key, value in counts.items():
        if key.startswith("jobs_"):
            found.counter("jobs", "jobs by their end", value, model=name, state=key.removeprefix("jobs_"))


def _labellers(found: Families, name: str, labellers: Sequence[LabellerInfo]) -> None:
    for each in labellers:
        about = {"model": name, "labeller": each["name"]}
        found.counter("labeller_labels", "labels by whom they came from", each["labels"], **about)
        found.counter("labeller_held", "labels that were not learned, as of one who departs", each["held"], **about)
        found.gauge("labeller_learned", "whether its labels are learned", each["state"] in LEARNED_STATES, **about)
        found.gauge("labeller_share_ratio", "its share of the weight of the newest labels", each["share"], **about)
        if each["agreement"] is not None:
            what = "share of its labels that say what others say of like rows"
            found.gauge("labeller_agreement_ratio", what, each["agreement"], **about)


def _scores(found: Families, name: str, window: Mapping[str, Any]) -> None:
    """The scores of the newest labels, of the most frequent classes, and of the first outputs."""
    if "count" in window:
        found.gauge("scored_labels", "newest labels that the scores are of", window["count"], model=name)
    for measure, value in _numbers(window):
        if measure not in ("count", "size"):
            found.gauge(_named(measure), f"{measure} of the newest answers", value, model=name)
    for of_class in window.get("classes", [])[:MAX_CLASSES]:
        label = str(of_class["class"])
        found.gauge("class_labels", "newest labels of a class", of_class["support"], model=name, **{"class": label})
        for measure in ("recall", "precision", "f1"):
            if (value := of_class.get(measure)) is not None:
                told = f"{measure} of a class, newest answers"
                found.gauge(f"class_{_named(measure)}", told, value, model=name, **{"class": label})
    for output, scores in list(window.get("outputs", {}).items())[:MAX_CLASSES]:
        for measure, value in _numbers(scores):
            told = f"{measure} of an output, newest answers"
            found.gauge(f"output_{_named(measure)}", told, value, model=name, output=output)


def _named(measure: str) -> str:
    return f"{measure}_ratio" if measure in RATIOS else measure


def _numbers(values: Mapping[str, Any]) -> Iterable[tuple[str, float]]:
    return ((name, value) for name, value in values.items() if isinstance(value, int | float))
