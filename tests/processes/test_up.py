"""What dies comes back, and nothing that was acknowledged is lost or learned twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from redis import Redis

from driftline.client.clients import Client
from driftline.errors import DriftlineError, Unavailable
from tests.conftest import OwnRedis
from tests.feeding import check_all_served_once, feeding
from tests.ports import free_port
from tests.services import Instance, is_there, spec, up
from tests.waiting import until

pytestmark = pytest.mark.slow


def test_kill_9_of_each_process_loses_no_label_and_learns_none_twice(tmp_path: Path) -> None:
    with up(tmp_path, DRIFTLINE_CHECKPOINT_SECONDS="2", DRIFTLINE_LEASE_SECONDS="2") as instance:
        instance.client.create_model(spec())
        with feeding(instance) as feeder:
            for child in ("worker", "app", "valkey", "worker"):
                feeder.go_on()
                before = until(lambda: version(instance))
                until(partial(has_newer, instance, before))
                instance.kill(child)
            feeder.go_on()
        check_all_served_once(instance, feeder)


def has_newer(instance: Instance, before: int) -> bool:
    return version(instance) > before


def version(instance: Instance) -> int:
    """The live version; none while nobody says."""
    try:
        return instance.client.model("weather")["version"]
    except DriftlineError:
        return 0


def test_without_redis_predictions_go_on_and_feedback_says_when_to_come_back(
    tmp_path: Path, own_redis: OwnRedis
) -> None:
    port = free_port()
    with (
        own_redis(tmp_path / "redis", port),
        up(tmp_path / "up", DRIFTLINE_REDIS_URL=f"redis://127.0.0.1:{port}") as instance,
    ):
        client = instance.client
        client.create_model(spec())
        row = [0.5] * 8
        client.predict("weather", [row])
        redis = Redis(port=port)
        pid = redis.info("server")["process_id"]
        os.kill(pid, signal.SIGSTOP)
        try:
            os.kill(pid, signal.SIGKILL)
            assert client.predict("weather", [row])["version"] == 1
            with pytest.raises(Unavailable) as refused:
                client.feedback("weather", [{"inputs": row, "label": 1, "id": "a"}])
            assert refused.value.retry_after
            assert instance.is_ready, "it can answer, so it is ready"
        finally:
            until(lambda: not is_there(pid))
        with own_redis(tmp_path / "redis", port):
            until(lambda: accepted(client, row))
            until(lambda: client.receipt("weather", "a")["state"] == "served")


def accepted(client: Client, row: list[float]) -> bool:
    try:
        return client.feedback("weather", [{"inputs": row, "label": 1, "id": "a"}])["accepted"] == 1
    except Unavailable:
        return False


def test_it_works_beside_folders_called_app_and_worker_and_says_in_a_sentence_what_is_taken(tmp_path: Path) -> None:
    for name in ("app", "worker"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('the wrong package')")
    with up(tmp_path) as instance:
        instance.client.create_model(spec())
        assert instance.client.predict("weather", [[0.0] * 8])["version"] == 1
        port = instance.url.rsplit(":", 1)[1].rstrip("/")
        command = [sys.executable, "-P", "-m", "driftline.cli", "up"]
        taken = subprocess.run([*command, "--port", port], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert taken.returncode == 1
        assert len(taken.stderr.strip().splitlines()) == 1 and "port" in taken.stderr
        taken = subprocess.run([*command, "--port", "0"], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert taken.returncode == 1
        assert "in use by another" in taken.stderr and "Traceback" not in taken.stderr


def test_a_stop_keeps_what_it_has_acknowledged(tmp_path: Path) -> None:
    with up(tmp_path) as instance:
        instance.client.create_model(spec())
        with feeding(instance) as feeder:
            feeder.go_on()
    with up(tmp_path) as instance:
        check_all_served_once(instance, feeder)
        pairs = [json.dumps(version) for version in instance.client.versions("weather")]
        assert len(pairs) == len(set(pairs))
