"""OpenTelemetry traces: one from the prediction over its label and the step that learns it to the version that is served."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from app.main import create_app
from app.services import Services
from driftline.settings import Settings
from driftline.support.tracing import Tracing, open_tracing
from tests.app.conftest import AppClient, create, predict
from tests.waiting import until_async
from worker.main import Worker

pytestmark = pytest.mark.anyio

OF_CLIENT = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{OF_CLIENT}-00f067aa0ba902b7-01"


def traced() -> tuple[Tracing, InMemorySpanExporter]:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return Tracing(provider), exporter


@contextlib.asynccontextmanager
async def running(
    settings: Settings, app_tracing: Tracing | None, of_worker: Tracing | None
) -> AsyncIterator[AppClient]:
    """An app and a worker in this process; a worker that fails ends the test."""
    app = create_app(settings, services=Services(settings, tracing=app_tracing))
    worker = Worker(settings, tracing=of_worker)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(worker.run())
        async with app.router.lifespan_context(app), AppClient(app) as client:
            yield client
        worker.stop()


@pytest.fixture
def settings(embedded: str, prefix: str, tmp_path: Path) -> Settings:
    return Settings(redis_url=embedded, prefix=prefix, data_dir=tmp_path, poll_seconds=0.05)


async def label(client: AppClient, headers: dict[str, str] | None = None) -> tuple[str, int]:
    """A row that is predicted and labelled, until an app serves what it has taught: its id, and the version."""
    body = {"inputs": [[0.5] * 8]}
    answer = (await client.post("/v1/models/weather/predict", json=body, headers=headers)).json()
    identifier = answer["predictions"][0]["id"]
    item = {"prediction_id": identifier, "label": 1}
    assert (await client.post("/v1/models/weather/feedback", json={"items": [item]})).status_code == 202

    async def served() -> int:
        receipt = (await client.get(f"/v1/models/weather/feedback/p:{identifier}")).json()
        version = int(receipt.get("version", 0))
        return version if version and (await predict(client, [[0.5] * 8]))["version"] >= version else 0

    return identifier, await until_async(served)


def named(exporter: InMemorySpanExporter, name: str) -> list[Any]:
    return [span for span in exporter.get_finished_spans() if span.name == name]


async def test_one_trace_goes_from_the_prediction_to_the_version_that_has_learned_its_label(settings: Settings) -> None:
    (of_app, app_spans), (of_worker, worker_spans) = traced(), traced()
    async with running(settings, of_app, of_worker) as client:
        await create(client)
        _, version = await label(client, {"traceparent": PARENT})
        serve = await until_async(lambda: named(app_spans, "serve"))
    trace = int(OF_CLIENT, 16)
    predicted = next(
        span for span in named(app_spans, "POST /v1/models/{model}/predict") if span.context.trace_id == trace
    )
    assert f"{predicted.parent.span_id:016x}" == PARENT.split("-")[2]
    assert predicted.attributes["driftline.model"] == "weather"
    assert predicted.attributes["http.response.status_code"] == 200
    (labelled,) = named(app_spans, "label")
    (feedback,) = named(app_spans, "POST /v1/models/{model}/feedback")
    assert [link.context.span_id for link in labelled.links] == [feedback.context.span_id]
    (learned,) = named(worker_spans, "learn")
    assert learned.attributes["driftline.step"] >= 1 and learned.end_time > learned.start_time
    assert serve[0].attributes["driftline.version"] == version
    chain = [predicted, labelled, learned, serve[0]]
    assert [span.context.trace_id for span in chain] == [trace] * 4
    assert [span.parent.span_id for span in chain[1:]] == [span.context.span_id for span in chain[:-1]]


async def test_a_label_with_inputs_of_its_own_is_in_the_trace_of_its_request(settings: Settings) -> None:
    (of_app, app_spans), (of_worker, worker_spans) = traced(), traced()
    async with running(settings, of_app, of_worker) as client:
        await create(client)
        item = {"id": "own", "inputs": [0.5] * 8, "label": 1}
        headers = {"traceparent": PARENT}
        await client.post("/v1/models/weather/feedback", json={"items": [item]}, headers=headers)
        (learned,) = await until_async(lambda: named(worker_spans, "learn"))
    (feedback,) = named(app_spans, "POST /v1/models/{model}/feedback")
    assert f"{feedback.context.trace_id:032x}" == OF_CLIENT
    assert learned.parent.span_id == feedback.context.span_id and not named(app_spans, "label")


async def test_without_it_no_record_keeps_a_context(settings: Settings) -> None:
    async with running(settings, None, None) as client:
        await create(client)
        await label(client, {"traceparent": PARENT})
        connection = client.services.connection
        keys = connection.keys.of(await client.services.catalog.uid("weather"))
        for record in [fields for _, fields in await connection.redis.xrange(keys.log)]:
            assert b"context" not in b"".join(record.values())
        assert b"contexts" not in b"".join(await connection.redis.hvals(keys.versions))


async def test_a_trace_that_is_not_sampled_leaves_nothing(settings: Settings) -> None:
    exporter, provider = InMemorySpanExporter(), TracerProvider(sampler=ALWAYS_OFF)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    of_worker, worker_spans = traced()
    async with running(settings, Tracing(provider), of_worker) as client:
        await create(client)
        await label(client)
    assert not exporter.get_finished_spans() and not worker_spans.get_finished_spans()


def test_a_context_that_is_nonsense_begins_a_trace_of_its_own() -> None:
    tracing, exporter = traced()
    tracing.begin("a", "nonsense", links=["", "worse"]).end()
    tracing.fail(tracing.begin("b"), "it broke")
    first, second = exporter.get_finished_spans()
    assert first.parent is None and second.parent is None
    assert first.context.trace_id != second.context.trace_id
    assert second.status.description == "it broke" and not second.status.is_ok


def test_off_its_sdk_is_not_loaded() -> None:
    """Its interface is loaded by the client of Redis where both are installed; since 8 also the metrics of its SDK are."""
    program = (
        "import sys, redis.asyncio; before = set(sys.modules); "
        "import app.main, worker.main; from driftline.settings import Settings; assert not Settings().traces; "
        "new = [name for name in sys.modules if name.startswith('opentelemetry.sdk') and name not in before]; "
        "assert not new, new; assert 'opentelemetry.sdk.trace' not in sys.modules"
    )
    clean = {name: value for name, value in os.environ.items() if not name.startswith("DRIFTLINE_")}
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[1], env=clean)


def test_it_is_opened_with_what_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    tracing = open_tracing("driftline-test")
    assert tracing.context_of(tracing.begin("a")) == ""
    assert tracing.provider.resource.attributes["service.name"] == "driftline-test"
    tracing.close()
