"""What dies comes back, and nothing that was acknowledged is lost or learned twice."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from redis import Redis

from driftline.client.clients import Client
from driftline.errors import DriftlineError, Unavailable
from tests.conftest import free_port, wait_for_port
from tests.services import Instance, spec, up
from tests.waiting import SECONDS, until

pytestmark = pytest.mark.slow


class Feeder(threading.Thread):
    """Sends labels until it is stopped, again and again until each is acknowledged; predicts beside it."""

    def __init__(self, url: str, model: str, pause: float) -> None:
        super().__init__()
        self.pause = pause
        self.end_at = math.inf
        self.model = model
        self.client = Client(url, timeout=10)
        self.acknowledged: list[str] = []
        self.is_over = threading.Event()

    def run(self) -> None:
        random = np.random.default_rng(3)
        number = 0
        while not self.is_over.is_set():
            inputs = random.normal(size=(10, 8))
            items = [
                {"id": f"i{number + row}", "inputs": inputs[row].tolist(), "label": int(inputs[row, 0] > 0)}
                for row in range(10)
            ]
            number += 10
            self._send(items)
            time.sleep(self.pause)

    def go_on(self, count: int = 100) -> None:
        """Waits until so many more labels are acknowledged."""
        before = len(self.acknowledged)
        until(lambda: len(self.acknowledged) >= before + count)

    def _send(self, items: list[dict[str, object]]) -> None:
        while True:
            try:
                answer = self.client.feedback(self.model, items)
                self.acknowledged += [str(item["id"]) for item in answer["items"]]
                return
            except DriftlineError:
                if self.is_over.is_set() and time.monotonic() > self.end_at:
                    return
                time.sleep(0.1)


@contextmanager
def feeding(instance: Instance, model: str = "weather", pause: float = 0.02) -> Iterator[Feeder]:
    feeder = Feeder(instance.url, model, pause)
    feeder.start()
    try:
        yield feeder
    finally:
        feeder.end_at = time.monotonic() + SECONDS
        feeder.is_over.set()
        feeder.join()


def check_all_served_once(instance: Instance, feeder: Feeder) -> None:
    client = instance.client
    assert len(feeder.acknowledged) == len(set(feeder.acknowledged))

    def is_done() -> bool:
        try:
            return client.receipt(feeder.model, feeder.acknowledged[-1])["state"] == "served"
        except Unavailable:
            return False

    until(is_done)
    states = {client.receipt(feeder.model, identifier)["state"] for identifier in feeder.acknowledged}
    assert states == {"served"}
    assert client.model(feeder.model)["learned"] == len(feeder.acknowledged)
    assert [alarm["kind"] for alarm in client.metrics(feeder.model)["alarms"]] == []


def test_kill_9_of_each_process_loses_no_label_and_learns_none_twice(tmp_path: Path) -> None:
    with up(tmp_path, DRIFTLINE_CHECKPOINT_SECONDS="2", DRIFTLINE_LEASE_SECONDS="2") as instance:
        instance.client.create_model(spec())
        with feeding(instance) as feeder:
            for child in ("worker", "app", "valkey", "worker", "valkey"):
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


def test_without_redis_predictions_go_on_and_feedback_says_when_to_come_back(tmp_path: Path) -> None:
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


def is_there(pid: int) -> bool:
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return bool(state.strip()) and not state.startswith("Z")


@contextmanager
def own_redis(folder: Path, port: int) -> Iterator[None]:
    import shutil

    from tests.conftest import missing

    binary = shutil.which("redis-server")
    if binary is None:
        missing("redis-server")
    folder.mkdir(exist_ok=True)
    options = [
        "--port",
        str(port),
        "--dir",
        str(folder),
        "--appendonly",
        "yes",
        "--appendfsync",
        "always",
        "--save",
        "",
    ]
    process = subprocess.Popen([str(binary), *options], stdout=subprocess.DEVNULL)
    try:
        wait_for_port(port)
        yield
    finally:
        process.kill()
        process.wait()


def test_it_works_beside_folders_that_are_called_app_and_worker(tmp_path: Path) -> None:
    for name in ("app", "worker"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('the wrong package')")
    with up(tmp_path) as instance:
        instance.client.create_model(spec())
        assert instance.client.predict("weather", [[0.0] * 8])["version"] == 1


def test_a_taken_port_and_a_taken_data_directory_are_one_sentence_each(tmp_path: Path) -> None:
    import sys

    with up(tmp_path) as instance:
        port = instance.url.rsplit(":", 1)[1].rstrip("/")
        command = [sys.executable, "-m", "driftline.cli", "up"]
        taken = subprocess.run([*command, "--port", port], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert taken.returncode == 1
        assert len(taken.stderr.strip().splitlines()) == 1 and "port" in taken.stderr
        taken = subprocess.run([*command, "--port", "0"], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert taken.returncode == 1
        assert "in use by another" in taken.stderr and "Traceback" not in taken.stderr


def test_nothing_is_left_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    with up(tmp_path) as instance:
        pids = [instance.pid(child) for child in ("valkey", "app", "worker")]
        instance.process.kill()
        until(lambda: not any(map(is_there, pids)))


def test_a_stop_keeps_what_it_has_acknowledged(tmp_path: Path) -> None:
    with up(tmp_path) as instance:
        instance.client.create_model(spec())
        with feeding(instance) as feeder:
            feeder.go_on()
    with up(tmp_path) as instance:
        check_all_served_once(instance, feeder)
        pairs = [json.dumps(version) for version in instance.client.versions("weather")]
        assert len(pairs) == len(set(pairs))
