"""The page that Prometheus reads: every series with the names, units and labels that its users expect, and no others."""

from __future__ import annotations

import re
import subprocess
from typing import Any

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.http_meter import CLIENT_GONE, OTHER, HttpMeter, metered, named_path
from app.learned_metrics import MAX_CLASSES, learned
from driftline.api.metrics import ModelMetricsAnswer
from driftline.store.catalog import CatalogEntry
from driftline.store.commits import Checkpoint, Head
from driftline.store.source_lags import RowLags, SourceLag
from driftline.store.workers import Heartbeat, Workers
from driftline.support.tally import QUICK
from tests.app.conftest import AppClient, Start, create, predict
from tests.waiting import until_async

pytestmark = pytest.mark.anyio

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def parsed(text: str) -> Series:
    """Every series; a name whose lines do not stand together would be there twice."""
    families = list(text_string_to_metric_families(text))
    names = [family.name for family in families]
    assert len(names) == len(set(names)), "a metric stands on the page once"
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


async def series(client: AppClient) -> Series:
    return parsed((await client.get("/metrics")).text)


def key(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return f"driftline_{name}", frozenset(labels.items())


async def test_requests_are_counted_by_the_call_that_they_are_and_by_status(client: AppClient) -> None:
    await create(client)
    await predict(client, [[0.0] * 8])
    await client.post("/v1/models/weather/predict", json={"inputs": [[0.0] * 3]})
    for made_up in ("a", "b"):
        await client.get(f"/v1/{made_up}")
        await client.get(f"/v1/models/{made_up}")
        await client.request("BREW", "/livez")
    found = await series(client)
    path = "/v1/models/{model}/predict"
    assert found[key("http_requests_total", method="POST", path=path, status="200")] == 1
    assert found[key("http_requests_total", method="POST", path=path, status="422")] == 1
    assert found[key("http_request_duration_seconds_count", method="POST", path=path)] == 2
    assert found[key("http_request_duration_seconds_bucket", method="POST", path=path, le="+Inf")] == 2
    assert found[key("http_request_duration_seconds_sum", method="POST", path=path)] > 0
    assert found[key("http_requests_total", method="GET", path="/v1/models/{model}", status="404")] == 2
    assert found[key("http_requests_total", method="GET", path=OTHER, status="404")] == 2
    assert found[key("http_requests_total", method=OTHER, path=OTHER, status="405")] == 2


def test_a_client_can_make_up_no_label() -> None:
    assert named_path("GET", "/v1/models/x/feedback/a/b") == ("GET", "/v1/models/{model}/feedback/{id}")
    assert named_path("GET", "/nothing") == ("GET", OTHER) and named_path("BREW", "/") == (OTHER, "/")
    assert named_path("GET", "/swagger/a.css") == ("GET", "/swagger")
    assert named_path("GET", "/page/parts/a.js") == ("GET", "/page")


async def test_a_request_that_gets_no_answer_is_counted_too() -> None:
    async def silent(scope: Any, receive: Any, send: Any) -> None:
        """Its client has gone."""

    async def failing(scope: Any, receive: Any, send: Any) -> None:
        raise ZeroDivisionError

    async def nothing(*_: Any) -> Any:
        raise AssertionError("nothing is sent")

    meter, scope = HttpMeter(), {"type": "http", "method": "GET", "path": "/livez"}
    await metered(meter, silent, scope, nothing, nothing)
    with pytest.raises(ZeroDivisionError):
        await metered(meter, failing, scope, nothing, nothing)
    taken = {answer: sum(tally.counts) for answer, tally in meter.take().items()}
    assert taken == {("GET", "/livez", CLIENT_GONE): 1, ("GET", "/livez", 500): 1}
    assert meter.take() == {}


async def test_the_delay_of_a_label_is_measured_once_and_only_of_a_prediction(client: AppClient) -> None:
    await create(client)
    identifier = (await predict(client, [[0.0] * 8]))["predictions"][0]["id"]
    items = [{"prediction_id": identifier, "label": 1}, {"inputs": [0.0] * 8, "label": 1}]
    for _ in range(2):
        await client.post("/v1/models/weather/feedback", json={"items": items})
    found = await series(client)
    assert found[key("label_delay_seconds_count")] == 1 and found[key("label_delay_seconds_sum")] >= 0


async def test_a_deleted_model_has_no_series(client: AppClient) -> None:
    for name in ("kept", "gone"):
        await create(client, name=name)
        await predict(client, [[0.0] * 8], name)
    await client.delete("/v1/models/gone")
    text = (await client.get("/metrics")).text
    assert 'model="kept"' in text and "gone" not in text


async def test_every_process_tells_what_it_takes_and_what_it_is(client: AppClient) -> None:
    found = await series(client)
    for name in ("cpu_seconds_total", "resident_memory_bytes", "open_fds", "start_time_seconds"):
        assert found[f"process_{name}", frozenset()] > 0
    (build,) = (labels for name, labels in found if name == "driftline_build_info")
    assert {label for label, _ in build} == {"version", "python", "torch"}


async def test_workers_and_their_sources_have_series(client: AppClient) -> None:
    await create(client)
    uid = (await client.services.catalog.names())["weather"]
    now = await client.services.connection.time()
    counts = [0] * len(QUICK) + [2]
    beat = Heartbeat("w1", "host", 12, "1.0", now - 100, now, 0.25, 2, uid, 99.0, 7.5, 1000)
    beat = msgspec.structs.replace(beat, durations={"step": (counts, 30.0), "version": ([1], 1.0)})
    await Workers(client.services.connection).beat(
        msgspec.structs.replace(beat, sources=[SourceLag(uid, "redis_stream:s", 3.5)])
    )
    lags = RowLags(client.services.connection)
    await lags.tell(uid, [SourceLag(uid, "rows", 1.5, 7)])
    await lags.tell("gone", [SourceLag("gone", "rows", 1.5, 7)])
    found = await series(client)
    assert found[key("worker_info", worker="w1", host="host", pid="12", version="1.0")] == 1
    assert found[key("worker_up", worker="w1")] == 0, "its compute thread does not come back"
    assert found[key("alarms", model="", kind="worker_hung")] == 1
    assert found[key("worker_load_ratio", worker="w1")] == 0.25
    assert found[key("worker_restarts_total", worker="w1")] == 2
    assert found[key("worker_cpu_seconds_total", worker="w1")] == 7.5
    assert found[key("step_duration_seconds_bucket", worker="w1", le="10.0")] == 0
    assert found[key("step_duration_seconds_count", worker="w1")] == 2
    assert found[key("step_duration_seconds_sum", worker="w1")] == 30
    assert key("version_duration_seconds_count", worker="w1") not in found, "it counts in other buckets"
    assert found[key("source_lag_seconds", model="weather", source="redis_stream:s")] == 3.5
    assert found[key("source_lag_seconds", model="weather", source="rows")] >= 1.5, "what was told grows older"
    assert found[key("source_lag_records", model="weather", source="rows")] == 7
    assert not any("gone" in dict(labels).values() for _, labels in found)


def entry(**changes: Any) -> CatalogEntry:
    head = Head(7, "m", 30, 100, 90, Checkpoint("c", 25, 80), None, 7)
    return CatalogEntry("1", "weather", {}, 0.0, False, head, 110, 10, 123.0)


def measured(**found: Any) -> ModelMetricsAnswer:
    lag: Any = {"labels": 10, "seconds": 2.5, "bytes": 10, "fullness": 0.5}
    answer: Any = {"model": "weather", "version": 7, "learned": 90, "lag": lag, "alarms": []} | found
    return answer


def told(**found: Any) -> Series:
    return parsed(learned([(entry(), measured(**found))], {"1": "w1"}).text.decode())


def test_learning_has_series_of_its_progress() -> None:
    counts = {"labelled": 80, "promoted": 5, "refused": 2, "rejected": 1, "jobs_failed": 1}
    found = told(counts=counts, held_out=4, memory=50)
    for name, value in (
        *(("labels_learned_total", 90), ("labels_waiting", 10), ("lag_seconds", 2.5), ("log_fullness_ratio", 0.5)),
        *(("steps_total", 30), ("live_version", 7), ("model_paused", 0), ("model_owned", 1)),
        *(
            ("predictions_labelled_total", 80),
            ("steps_since_checkpoint", 5),
            ("checkpoint_timestamp_seconds", 123),
            ("held_out_examples", 4),
        ),
    ):
        assert found[key(name, model="weather")] == value, name
    for decision, value in (("promoted", 5), ("refused", 2)):
        assert found[key("gate_decisions_total", model="weather", decision=decision)] == value
    assert found[key("jobs_total", model="weather", state="failed")] == 1
    assert found[key("records_set_aside_total", model="weather", reason="rejected")] == 1


def test_alarms_that_stand_are_told_by_kind_once_each() -> None:
    standing = {"message": "…", "state": "standing"}
    alarms = [standing | {"kind": kind} for kind in ("drift", "inputs", "drift")]
    alarms += [standing | {"kind": "log_gap", "state": "over"}]
    assert learned([(entry(), measured(alarms=alarms))], {}).alarms == [("weather", "drift"), ("weather", "inputs")]


def test_scores_are_series_of_their_own_and_classes_are_bounded() -> None:
    classes = [
        {"class": number, "support": 1, "recall": 0.5, "precision": None if number else 0.25} for number in range(100)
    ]
    window = {"accuracy": 0.75, "log_loss": 0.5, "count": 12, "size": 1000, "classes": classes}
    found = told(prequential={"window": window})
    assert found[key("accuracy_ratio", model="weather")] == 0.75
    assert found[key("log_loss", model="weather")] == 0.5
    assert found[key("scored_labels", model="weather")] == 12
    recalls = [labels for name, labels in found if name == "driftline_class_recall_ratio"]
    assert len(recalls) == MAX_CLASSES
    assert found[key("class_precision_ratio", **{"class": "0"}, model="weather")] == 0.25
    assert key("class_precision_ratio", **{"class": "1"}, model="weather") not in found
    assert not [name for name, _ in found if name.endswith("_size")]
    outputs = {f"o{number}": {"mae": 1.0} for number in range(100)}
    found = told(prequential={"window": {"mae": 1.0, "outputs": outputs}})
    assert found[key("mae", model="weather")] == found[key("output_mae", model="weather", output="o3")] == 1
    assert len([name for name, _ in found if name == "driftline_output_mae"]) == MAX_CLASSES


async def test_names_and_texts_keep_to_the_rules_of_prometheus(client: AppClient, promtool: str) -> None:
    await create(client)
    await predict(client, [[0.0] * 8])
    await client.post("/v1/models/weather/feedback", json={"items": [{"inputs": [0.0] * 8, "label": 1}]})
    own = (await client.get("/metrics")).text
    window = {"accuracy": 0.75, "classes": [{"class": 1, "support": 1, "recall": 0.5, "precision": 0.5}]}
    other = learned([(entry(), measured(prequential={"window": window}, counts={"jobs_failed": 1}))], {})
    for text in (own, other.text.decode()):
        done = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


async def test_a_thousand_models_are_read_in_a_few_round_trips(start: Start) -> None:
    client = await start()
    await create(client)
    catalog, redis = client.services.catalog, client.services.connection.redis
    (model,) = await catalog.models()
    await until_async(lambda: client.services.learned.last)
    before = (await redis.info("commandstats")).get("cmdstat_time", {}).get("calls", 0)
    assert len(await client.services.measured([model] * 1000)) == 1000
    after = (await redis.info("commandstats"))["cmdstat_time"]["calls"]
    assert after - before < 100, "the clock is read once for many"


def test_the_page_says_nothing_twice() -> None:
    text = learned([(entry(), measured()), (entry(), measured())], {}).text.decode()
    assert len(re.findall(r"^# TYPE driftline_lag_seconds ", text, re.MULTILINE)) == 1
