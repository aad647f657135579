"""Every incident of ``docs/runbook.md`` as a drill: what the page says shows it, and the commands that stand there end it."""

from __future__ import annotations

import itertools
import os
import re
import signal
import subprocess
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from redis import Redis

from driftline.errors import Unavailable
from driftline.version import __version__
from tests import forked
from tests.conftest import OwnRedis
from tests.faults.parts import stopped
from tests.faults.test_deadly_factory import NETWORK
from tests.faults.test_disk import DATA, full, small_disk
from tests.ports import free_port
from tests.services import UP, Instance, answered_by, spec, up
from tests.waiting import SECONDS, until

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "runbook.md"
SEEDS = itertools.count()
ROWS = ["metric", "alarm", "page", "do", "then"]


@dataclass(frozen=True)
class Incident:
    """A section of the page: its rows by name."""

    title: str
    rows: dict[str, str]

    def code(self, row: str) -> list[str]:
        """What stands in a row as code."""
        return re.findall(r"`([^`]+)`", self.rows[row])

    @property
    def metrics(self) -> list[str]:
        return [text for text in self.code("metric") if text.startswith("driftline_")]

    @property
    def commands(self) -> list[list[str]]:
        """The arguments of each ``driftline`` that its row ``do`` says."""
        return [text.split()[1:] for text in self.code("do") if text.startswith("driftline ")]


def incidents() -> dict[str, Incident]:
    found = {}
    for section in PAGE.read_text().split("\n## ")[1:]:
        title, _, text = section.partition("\n")
        rows = dict(re.findall(r"^\| (\w+) \| (.*) \|$", text, re.MULTILINE))
        found[title] = Incident(title, rows)
    return found


@pytest.fixture
def incident(request: pytest.FixtureRequest) -> Incident:
    """The section that the test is marked with."""
    marker = request.node.get_closest_marker("parametrize")
    assert marker is None
    title: str = request.function.__doc__.strip().rstrip(".")
    return incidents()[title]


def test_every_incident_has_its_rows_and_its_drill() -> None:
    drills = {
        function.__doc__.strip().rstrip(".")
        for name, function in globals().items()
        if name.startswith("test_drill") and function.__doc__
    }
    assert drills == set(incidents())
    for incident in incidents().values():
        assert list(incident.rows) == ROWS, incident.title
        assert incident.metrics, incident.title


def page_of(instance: Instance) -> str:
    return httpx.get(f"{instance.url}/metrics", timeout=SECONDS).text


def value(instance: Instance, metric: str) -> float | None:
    """The newest value of the first series of a metric, whose labels stand behind its name in any order."""
    name, _, labels = metric.partition("{")
    wanted = set(re.findall(r'\w+="[^"]*"', labels))
    for line in page_of(instance).splitlines():
        found = re.match(rf"{name}(?:\{{(.*)\}})? (\S+)$", line)
        if found and wanted <= set(re.findall(r'\w+="[^"]*"', found[1] or "")):
            return float(found[2])
    return None


def shows(instance: Instance, incident: Incident, metric: str, expected: float) -> None:
    """Waits until a metric, which the page must name, has a value."""
    assert metric in incident.metrics, f"{metric} is not named under {incident.title!r}"
    until(lambda: value(instance, metric) == expected)


def alarms(instance: Instance, model: str | None = None) -> dict[str, str]:
    """What stands: of the instance, or of a model."""
    if model is not None:
        found: Any = instance.client.metrics(model)["alarms"]
    else:
        found = httpx.get(f"{instance.url}/readyz", timeout=SECONDS).json().get("alarms", [])
    return {alarm["kind"]: alarm["message"] for alarm in found if alarm["state"] != "over"}


def raises(instance: Instance, incident: Incident, kind: str, model: str | None = None) -> str:
    """Waits until an alarm, which the page must name, stands; gives what it says."""
    assert kind in incident.code("alarm"), f"{kind} is not named under {incident.title!r}"
    return until(lambda: alarms(instance, model).get(kind, ""))


def run(folder: Path, arguments: Sequence[str], **environment: str) -> str:
    """``driftline …``; it must succeed."""
    clean = {name: text for name, text in os.environ.items() if not name.startswith("DRIFTLINE_")}
    done = forked.run(["-P", "-m", "driftline.cli", *arguments], clean | environment, folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def told(instance: Instance, incident: Incident, word: str, folder: Path, **filled: str) -> str:
    """Runs the command of the page that begins with ``word``, with words of the page replaced."""
    (command,) = (found for found in incident.commands if found[0] == word)
    return run(folder, [filled.get(f"_{part}", part) for part in command], DRIFTLINE_URL=instance.url)


def feed(instance: Instance, count: int, turn: int = 1, model: str = "weather") -> str:
    """Rows that are predicted and labelled: the class is the sign of the first number, or the other one. The last id."""
    rows = np.random.default_rng(next(SEEDS)).normal(size=(count, 8))
    answers = instance.client.predict(model, rows.tolist())["predictions"]
    ids = [answer["id"] for answer in answers]
    instance.client.feedback(model, prediction_ids=ids, labels=[int(turn * row[0] > 0) for row in rows])
    return f"p:{ids[-1]}"


def learn(instance: Instance, count: int, turn: int = 1) -> int:
    """Feeds, waits until the app answers with what it has taught, and gives the version."""
    last = feed(instance, count, turn)
    version = int(instance.client.wait_served("weather", last, timeout=SECONDS)["version"])
    answered_by(instance.client, "weather", version, [[0.0] * 8])
    return version


def answers(instance: Instance, version: int | None = None) -> Any:
    rows = np.random.default_rng(5).normal(size=(8, 8)).tolist()
    found = instance.client.predict("weather", rows, version)["predictions"]
    return [row["probabilities"] for row in found]


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Instance]:
    with up(tmp_path / "up", DRIFTLINE_HUNG_SECONDS="4", DRIFTLINE_LOG_CAP="1000") as found:
        found.client.create_model(spec())
        yield found


def test_drill_accuracy(instance: Instance, incident: Incident, tmp_path: Path) -> None:
    """Accuracy fell."""
    good = 1
    for _ in range(6):
        good = learn(instance, 100)
    right = answers(instance, good)
    before = until(lambda: value(instance, "driftline_accuracy_ratio"))

    def has_drifted() -> bool:
        learn(instance, 100, turn=-1)
        return "drift" in alarms(instance, "weather")

    until(has_drifted)
    raises(instance, incident, "drift", "weather")
    shows(instance, incident, 'driftline_alarms{kind="drift",model="weather"}', 1)
    assert before is not None
    until(lambda: (value(instance, "driftline_accuracy_ratio") or 1.0) < before)
    assert "driftline_accuracy_ratio" in incident.metrics
    assert str(good) in told(instance, incident, "versions", tmp_path)
    told(instance, incident, "rollback", tmp_path, _3=str(good))
    until(lambda: np.allclose(answers(instance), right, atol=1e-6))
    job = told(instance, incident, "retrain", tmp_path)
    assert re.search(r"[0-9a-f]{12}-[0-9a-f]+", job)


def test_drill_inputs(incident: Incident, tmp_path: Path) -> None:
    """Inputs moved."""
    recipe = {"input_detector": {"reference": 100, "recent": 50}}
    with up(tmp_path / "up", DRIFTLINE_POLL_SECONDS="0.02") as instance:
        instance.client.create_model(spec(recipe=recipe))

        def predicted(mean: float) -> None:
            """Rows that nobody labels."""
            rows = np.random.default_rng(next(SEEDS)).normal(mean, size=(40, 8))
            instance.client.predict("weather", rows.tolist())

        def is_known() -> bool:
            predicted(0.0)
            return (value(instance, "driftline_predictions_watched_total") or 0) >= 300

        def has_moved() -> bool:
            predicted(3.0)
            return "predicted_inputs" in alarms(instance, "weather")

        def is_usual() -> bool:
            predicted(3.0)
            return "predicted_inputs" not in alarms(instance, "weather")

        until(is_known)
        assert alarms(instance, "weather") == {}
        until(has_moved)
        assert "most in inputs[" in raises(instance, incident, "predicted_inputs", "weather")
        assert "driftline_predictions_watched_total" in incident.metrics
        assert "predicted_inputs" in told(instance, incident, "metrics", tmp_path)
        until(is_usual)


def test_drill_labels(instance: Instance, incident: Incident, tmp_path: Path) -> None:
    """Labels pile up."""
    learn(instance, 100)
    instance.client.pause("weather")
    for _ in range(9):
        feed(instance, 95)
    raises(instance, incident, "log_filling", "weather")
    shows(instance, incident, "driftline_labels_waiting", 855)
    waiting, fullness = (until(lambda name=name: value(instance, name)) for name in incident.metrics[::2])  # type: ignore[misc]
    assert waiting and fullness and fullness > 0.8
    told(instance, incident, "resume", tmp_path)
    shows(instance, incident, "driftline_labels_waiting", 0)
    until(lambda: "log_filling" not in alarms(instance, "weather"))
    assert ["worker"] in incident.commands


def test_drill_hang(instance: Instance, incident: Incident) -> None:
    """A worker hangs."""
    learn(instance, 100)
    with stopped(instance.pid("worker")):
        message = raises(instance, incident, "worker_hung")
        shows(instance, incident, "driftline_worker_up", 0)
        last = feed(instance, 50)
        named = re.search(r"process (\d+) on", message)
        assert named and "kill -9 PID" in incident.code("do")
        os.kill(int(named[1]), signal.SIGKILL)
        instance.client.wait_served("weather", last, timeout=SECONDS)
    until(lambda: "worker_hung" not in alarms(instance))
    assert instance.client.model("weather")["learned"] == 150
    shows(instance, incident, "driftline_worker_up", 1)


def test_drill_crashes(incident: Incident, tmp_path: Path) -> None:
    """A worker crashes again and again."""
    folder = tmp_path / "up"
    folder.mkdir()
    file = folder / "deadly_networks.py"
    file.write_text(NETWORK.format(is_deadly=True))
    with up(folder, DRIFTLINE_FACTORIES="deadly_networks:network") as instance:
        instance.client.create_model(spec(network={"factory": "deadly_networks:network"}))
        last = feed(instance, 100)
        raises(instance, incident, "trainer_failed", "weather")
        shows(instance, incident, 'driftline_alarms{kind="trainer_failed"}', 1)
        shows(instance, incident, "driftline_worker_restarts_total", 3)
        assert instance.client.predict("weather", [[0.0] * 8])["version"] == 1
        file.write_text(NETWORK.format(is_deadly=False))
        told(instance, incident, "resume", tmp_path)
        instance.client.wait_served("weather", last, timeout=SECONDS)
        until(lambda: "trainer_failed" not in alarms(instance, "weather"))


def test_drill_disk(incident: Incident, tmp_path: Path, mount: str) -> None:
    """The disk is full."""
    artifacts = tmp_path / DATA / "artifacts"
    with small_disk(mount, artifacts), up(tmp_path, DRIFTLINE_CHECKPOINT_SECONDS="1") as instance:
        instance.client.create_model(spec())
        learn(instance, 100)
        with full(artifacts):
            last = feed(instance, 100)
            assert "cannot write" in raises(instance, incident, "disk", "weather")
            shows(instance, incident, 'driftline_alarms{kind="disk"}', 1)
            assert until(lambda: value(instance, "driftline_lag_seconds"))
            assert instance.client.predict("weather", [[0.0] * 8])["version"] >= 1
            assert ["doctor"] in incident.commands
            assert '"disk"' in run_doctor(tmp_path, tmp_path / DATA)
        instance.client.wait_served("weather", last, timeout=SECONDS)
        until(lambda: "disk" not in alarms(instance, "weather"))


def run_doctor(folder: Path, data: Path) -> str:
    """Its findings, whatever it finds."""
    done = forked.run(["-P", "-m", "driftline.cli", "doctor", "--data-dir", str(data), "--json"], os.environ, folder)
    assert done.returncode in (0, 1), done.stderr
    return done.stdout


def test_drill_store(instance: Instance, incident: Incident) -> None:
    """The store is killed or hangs."""
    learn(instance, 100)
    hung = instance.pid("valkey")
    with stopped(hung):
        raises(instance, incident, "store_unavailable")
        shows(instance, incident, "driftline_store_up", 0)
        assert instance.client.predict("weather", [[0.0] * 8])["version"] > 1
        os.kill(hung, signal.SIGKILL)
        until(lambda: instance.pid("valkey") != hung)
    shows(instance, incident, "driftline_store_up", 1)
    assert instance.client.model("weather")["learned"] == 100
    learn(instance, 100)
    instance.kill("valkey")
    shows(instance, incident, "driftline_store_up", 1)
    until(lambda: alarms(instance) == {})
    learn(instance, 100)
    assert instance.client.model("weather")["learned"] == 300


def test_drill_replica(incident: Incident, tmp_path: Path, own_redis: OwnRedis, redis_cli: str) -> None:
    """The store is a replica."""
    port = free_port()
    url = f"redis://127.0.0.1:{port}/0"
    with own_redis(tmp_path / "redis", port), up(tmp_path / "up", DRIFTLINE_REDIS_URL=url) as instance:
        instance.client.create_model(spec())
        learn(instance, 100)
        Redis(port=port).execute_command("REPLICAOF", "127.0.0.1", "1")
        raises(instance, incident, "store_read_only")
        shows(instance, incident, "driftline_store_writable", 0)
        until(lambda: value(instance, "driftline_store_up") == 1)
        assert instance.client.predict("weather", [[0.0] * 8])["version"] > 1
        with pytest.raises(Unavailable):
            instance.client.feedback("weather", [{"inputs": [0.0] * 8, "label": 1}])
        (command,) = (text.split()[1:] for text in incident.code("do") if text.startswith("redis-cli "))
        subprocess.run([redis_cli, "-p", str(port), *command], check=True, capture_output=True)
        shows(instance, incident, "driftline_store_writable", 1)
        until(lambda: "store_read_only" not in alarms(instance))
        learn(instance, 100)
        assert instance.client.model("weather")["learned"] == 200


def test_drill_wiped(incident: Incident, tmp_path: Path, own_redis: OwnRedis) -> None:
    """The store is wiped."""
    port, backup = free_port(), str(tmp_path / "backup")
    settings = {"DRIFTLINE_REDIS_URL": f"redis://127.0.0.1:{port}/0", "DRIFTLINE_DATA_DIR": str(tmp_path / "data")}
    with own_redis(tmp_path / "redis", port):
        with up(tmp_path / "up", **settings) as instance:
            instance.client.create_model(spec())
            version = learn(instance, 100)
            run(tmp_path, ["backup", backup], **settings)
            Redis(port=port).flushall()
            raises(instance, incident, "store_lost")
            shows(instance, incident, 'driftline_alarms{kind="store_lost"}', 1)
            shows(instance, incident, "driftline_store_up", 0)
            assert instance.client.predict("weather", [[0.0] * 8])["version"] >= version
            with pytest.raises(Unavailable):
                instance.client.feedback("weather", [{"inputs": [0.0] * 8, "label": 1}])
        (command,) = incident.commands
        run(tmp_path, [backup if word == "BACKUP" else word for word in command], **settings)
        with up(tmp_path / "up", **settings) as instance:
            assert instance.client.model("weather")["learned"] == 100
            assert instance.client.model("weather")["version"] >= version
            learn(instance, 100)
            until(lambda: alarms(instance) == {})


def test_drill_releases(incident: Incident, tmp_path: Path) -> None:
    """An upgrade, and a downgrade."""
    folder, backup = tmp_path / "here", str(tmp_path / "backup")
    folder.mkdir()
    with tarfile.open(ROOT / "tests" / "fixtures" / "v0.2" / "folders.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    older = tmp_path / "older-backup"
    (tmp_path / "backup").rename(older)
    (tmp_path / "data").rename(folder / DATA)
    settings = {"DRIFTLINE_FACTORIES": "tests.fixtures.models:network", "PYTHONPATH": str(ROOT)}
    upgrade, downgrade = incident.commands
    with up(folder, **settings) as instance:
        name = instance.client.models()[0]["name"]
        learned = instance.client.model(name)["learned"]
        until(lambda: value(instance, f'driftline_build_info{{version="{__version__}"}}') == 1)
        until(lambda: value(instance, f'driftline_worker_info{{version="{__version__}"}}') == 1)
        assert {"driftline_build_info", "driftline_worker_info"} == set(incident.metrics)
        run(folder, [backup if word == "BACKUP" else word for word in upgrade])
    (folder / DATA / "format").write_text("99\n")
    refused = forked.run(UP, os.environ, folder)
    assert refused.returncode != 0 and "newer Driftline" in refused.stdout + refused.stderr
    for copy in (older, Path(backup)):
        elsewhere = tmp_path / f"after-{copy.name}"
        elsewhere.mkdir()
        run(elsewhere, [str(copy) if word == "BACKUP" else word for word in downgrade])
        with up(elsewhere, **settings) as instance:
            assert instance.client.model(name)["learned"] == learned


def test_drill_elsewhere(incident: Incident, tmp_path: Path) -> None:
    """Elsewhere."""
    here, there, backup = tmp_path / "here", tmp_path / "there", str(tmp_path / "backup")
    there.mkdir()
    with up(here) as instance:
        instance.client.create_model(spec())
        learn(instance, 200)
        run(here, ["backup", backup])
        live, right = instance.client.model("weather"), answers(instance)
    restore, start = incident.commands
    run(there, [backup if word == "BACKUP" else word for word in restore])
    assert start == ["up"]
    with up(there) as instance:
        for metric, expected in zip(incident.metrics, (live["version"], live["learned"]), strict=True):
            shows(instance, incident, metric, expected)
        assert np.allclose(answers(instance), right, atol=1e-6)
        learn(instance, 100)
        assert instance.client.model("weather")["learned"] == 300


def test_drill_wrong(instance: Instance, incident: Incident, tmp_path: Path) -> None:
    """A wrong batch."""
    for _ in range(4):
        good = learn(instance, 100)
    right = answers(instance, good)
    learn(instance, 200, turn=-1)
    assert "driftline_accuracy_ratio" in incident.metrics
    until(lambda: value(instance, "driftline_accuracy_ratio") is not None)
    assert 'driftline_gate_decisions_total{decision="refused"}' in incident.metrics
    until(lambda: value(instance, 'driftline_gate_decisions_total{decision="refused"}') is not None)
    assert [command[0] for command in incident.commands] == ["pause", "versions", "rollback", "resume"]
    for word in ("pause", "versions", "rollback"):
        told(instance, incident, word, tmp_path, _3=str(good))
    until(lambda: np.allclose(answers(instance), right, atol=1e-6))
    told(instance, incident, "resume", tmp_path)
    learn(instance, 100)
