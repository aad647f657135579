"""Processes that are killed at a named place, under load: what was acknowledged is served once, and all goes on."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import httpx
import pytest
from redis import Redis

from driftline.errors import DriftlineError, Unavailable
from driftline.processes.embedded import running_url
from tests.feeding import check_all_served_once, feeding
from tests.services import Instance, spec, up
from tests.waiting import until

pytestmark = pytest.mark.slow

UNDER_LOAD = [
    ("app.appended", 5),
    ("trainer.published", 3),
    ("trainer.checkpointing", 2),
    pytest.param("app.prepared", 2, marks=pytest.mark.long),
    pytest.param("trainer.learned", 4, marks=pytest.mark.long),
    pytest.param("trainer.committed", 4, marks=pytest.mark.long),
    pytest.param("trainer.checkpointed", 1, marks=pytest.mark.long),
]


@pytest.mark.parametrize(("name", "count"), UNDER_LOAD)
def test_a_process_killed_there_loses_no_label_and_learns_none_twice(tmp_path: Path, name: str, count: int) -> None:
    marker = tmp_path / "killed"
    with up(
        tmp_path / "up",
        DRIFTLINE_FAILPOINTS=f"{name}:{count}@{marker}",
        DRIFTLINE_CHECKPOINT_SECONDS="0.5",
        DRIFTLINE_LEASE_SECONDS="2",
    ) as instance:
        instance.client.create_model(spec())
        instance.client.predict("weather", [[0.0] * 8])
        with feeding(instance) as feeder:
            until(marker.exists)
            feeder.go_on()
        check_all_served_once(instance, feeder)


def test_an_app_killed_with_a_batch_at_hand_answers_again_at_once(tmp_path: Path) -> None:
    marker = tmp_path / "killed"
    with up(tmp_path / "up", DRIFTLINE_FAILPOINTS=f"app.computed:3@{marker}") as instance:
        instance.client.create_model(spec())
        for _ in range(2):
            instance.client.predict("weather", [[0.0] * 8])
        with pytest.raises(Unavailable):
            instance.client.predict("weather", [[0.0] * 8])
        assert marker.exists()
        until(lambda: answers(instance.url))


def test_a_model_whose_creation_was_cut_off_is_not_there_and_can_be_made(tmp_path: Path) -> None:
    marker = tmp_path / "killed"
    with up(
        tmp_path / "up",
        DRIFTLINE_FAILPOINTS=f"app.created:1@{marker}",
        DRIFTLINE_ORPHAN_SECONDS="1",
        DRIFTLINE_SWEEP_SECONDS="1",
    ) as instance:
        with pytest.raises(Unavailable):
            instance.client.create_model(spec())
        until(lambda: instance.is_ready)
        assert list(instance.client.models()) == []
        instance.client.create_model(spec())
        assert instance.client.predict("weather", [[0.0] * 8])["version"] == 1
        artifacts = tmp_path / "up" / "driftline-data" / "artifacts"
        until(lambda: len(list(artifacts.glob("[!.]*"))) == 1)


def answers(url: str) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return httpx.post(f"{url}/v1/models/weather/predict", json={"inputs": [[0.0] * 8]}).status_code == 200
    return False


@pytest.mark.parametrize(("name", "count"), [("source.appended", 3), ("source.buried", 2)])
def test_a_worker_killed_while_it_reads_a_source_takes_each_record_once(tmp_path: Path, name: str, count: int) -> None:
    marker = tmp_path / "killed"
    environment = {"DRIFTLINE_FAILPOINTS": f"{name}:{count}@{marker}", "DRIFTLINE_LEASE_SECONDS": "2"}
    with up(tmp_path / "up", **environment) as instance:
        instance.client.create_model(spec())
        url = running_url(instance.data_dir)
        assert url is not None
        with Redis.from_url(url) as redis, redis.pipeline() as pipe:
            for n in range(3000):
                inputs = json.dumps([n / 3000, *[0.0] * 7])
                pipe.xadd("labels", {"inputs": inputs, "label": "none" if n % 100 == 7 else n % 2})
            pipe.execute()
        source = {"type": "redis_stream", "name": "labels", "url": url, "stream": "labels"}
        instance.client.make_source("weather", source)
        until(marker.exists)
        until(lambda: taken(instance, 2970))
        told = until(lambda: done if (done := instance.client.source("weather", "labels"))["dead"] >= 30 else None)
        assert (told["refused"], told["dead"], told["gaps"]) == (30, 30, [])
        entries = list(instance.client.log("weather"))
        assert [entry["inputs"][0] for entry in entries] == sorted({entry["inputs"][0] for entry in entries})
        assert len(entries) == 2970


def taken(instance: Instance, count: int) -> bool:
    """Whether all labels are learned; the server may be starting, or the worker."""
    with contextlib.suppress(DriftlineError):
        return bool(instance.client.model("weather")["learned"] >= count)
    return False
