"""What is brought for Prometheus and Grafana: it parses, names nothing that is not there, and works on a running instance."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import yaml
from redis import Redis

from tests.conftest import OwnRedis
from tests.ports import free_port
from tests.services import Instance, spec, up
from tests.waiting import SECONDS, until

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
ALERTS = DEPLOY / "prometheus" / "alerts.yml"
CONFIG = DEPLOY / "prometheus" / "prometheus.yml"
DASHBOARD = DEPLOY / "grafana" / "driftline.json"
SCALER = DEPLOY / "kubernetes" / "components" / "keda" / "scaler.yaml"
NAME = re.compile(r"\b(?:driftline|process)_\w+")
OF_PROMETHEUS = {"up"}


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return found


def panels() -> list[dict[str, Any]]:
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def named() -> dict[str, set[str]]:
    """Every metric that the alerts, the dashboard and the scaler of workers name, by where."""
    found = {rule["alert"]: set(NAME.findall(rule["expr"])) for rule in rules()}
    for panel in panels():
        found[panel["title"]] = {name for target in panel["targets"] for name in NAME.findall(target["expr"])}
    for note in dashboard()["annotations"]["list"]:
        found[note["name"]] = set(NAME.findall(note["expr"]))
    for trigger in yaml.safe_load(SCALER.read_text())["spec"]["triggers"]:
        found[trigger["name"]] = set(NAME.findall(trigger["metadata"]["query"]))
    return found


@pytest.mark.parametrize(("what", "file"), [("rules", ALERTS), ("config", CONFIG)])
def test_prometheus_takes_the_files(promtool: str, what: str, file: Path) -> None:
    done = subprocess.run([promtool, "check", what, str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "SUCCESS" in done.stdout, done.stdout + done.stderr


def test_alerts_fire_when_they_should_and_not_before(promtool: str) -> None:
    file = ROOT / "tests" / "alerts_test.yml"
    command = [promtool, "test", "rules", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    tried = {
        alert["alertname"] for test in yaml.safe_load(file.read_text())["tests"] for alert in test["alert_rule_test"]
    }
    assert tried == {rule["alert"] for rule in rules()}


def test_every_alert_leads_to_a_heading_that_is_there() -> None:
    for rule in rules():
        page, _, heading = rule["annotations"]["runbook"].partition("#")
        text = (ROOT / page).read_text()
        headings = {
            re.sub(r"[^\w -]", "", line.lstrip("# ").lower()).replace(" ", "-")
            for line in text.splitlines()
            if line.startswith("#")
        }
        assert not heading or heading in headings, rule["alert"]


def test_the_panels_lie_beside_each_other_and_each_asks_for_something() -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in dashboard()["panels"]:
        place = panel["gridPos"]
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert x < 24 and (x, y) not in taken, (panel["title"], taken.get((x, y)))
                taken[x, y] = panel["title"]
    assert all(
        panel["targets"] and all(NAME.search(target["expr"]) for target in panel["targets"]) for panel in panels()
    )
    identifiers = [panel["id"] for panel in dashboard()["panels"]]
    assert len(identifiers) == len(set(identifiers))


@pytest.fixture(scope="module")
def monitored(own_redis: OwnRedis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """An instance in which everything has happened once: labels by feedback and from a stream, versions, a job."""
    folder, port = tmp_path_factory.mktemp("monitored"), free_port()
    url = f"redis://127.0.0.1:{port}/0"
    sources = [{"type": "redis_stream", "model": "weather", "url": url, "stream": "labels"}]
    settings = {"DRIFTLINE_SOURCES": json.dumps(sources), "DRIFTLINE_CHECKPOINT_SECONDS": "0.5"}
    with own_redis(folder / "redis", port), up(folder / "up", DRIFTLINE_REDIS_URL=url, **settings) as instance:
        client, rows = instance.client, np.random.default_rng(0).normal(size=(200, 8))
        client.create_model(spec())
        client.create_model({"name": "prices", "task": "regression", "inputs": {"shape": [8]}})
        for name in ("weather", "prices"):
            answered = client.predict(name, rows.tolist())["predictions"]
            labels = [int(row[0] > 0) if name == "weather" else float(row[0]) for row in rows]
            ids = [row["id"] for row in answered]
            client.feedback(name, prediction_ids=ids, labels=labels)
            client.wait_served(name, f"p:{ids[-1]}", timeout=SECONDS)
        Redis(port=port).xadd("labels", {"label": "1", "inputs": json.dumps(rows[0].tolist())})
        client.wait_for_job(client.retrain("weather"), timeout=SECONDS)
        until(lambda: exposed(instance) >= {"driftline_source_lag_seconds", "driftline_checkpoint_timestamp_seconds"})
        yield instance


def exposed(instance: Instance) -> set[str]:
    text = httpx.get(f"{instance.url}/metrics", timeout=SECONDS).text
    return set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE)) | set(re.findall(r"^([a-z]\w*)", text, re.MULTILINE))


@pytest.mark.slow
def test_whatever_alerts_and_panels_name_is_there(monitored: Instance) -> None:
    there = until(lambda: exposed(monitored) if "driftline_label_served_seconds_bucket" in exposed(monitored) else None)
    absent = {where: sorted(names - there) for where, names in named().items() if names - there}
    assert not absent
    assert set().union(*named().values()) - OF_PROMETHEUS


@contextlib.contextmanager
def scraping(binary: str, folder: Path, target: str) -> Iterator[httpx.Client]:
    """A Prometheus with the configuration that is brought, which scrapes ``target`` each second."""
    config = yaml.safe_load(CONFIG.read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(ALERTS)]
    config["scrape_configs"][0]["static_configs"] = [{"targets": [target.removeprefix("http://")]}]
    file, port = folder / "prometheus.yml", free_port()
    file.write_text(yaml.safe_dump(config))
    command = [
        *(binary, f"--config.file={file}", f"--storage.tsdb.path={folder / 'data'}"),
        *(f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"),
    ]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=SECONDS) as client:
            until(lambda: is_up(client))
            yield client
    finally:
        process.terminate()
        process.wait(SECONDS)


def is_up(client: httpx.Client) -> bool:
    try:
        return client.get("/-/ready").status_code == 200
    except httpx.TransportError:
        return False


def asked(client: httpx.Client, query: str) -> list[dict[str, Any]]:
    answer = client.get("/api/v1/query", params={"query": query}).json()
    assert answer["status"] == "success", answer
    found: list[dict[str, Any]] = answer["data"]["result"]
    return found


@pytest.mark.slow
def test_a_running_prometheus_scrapes_an_instance_and_evaluates_the_alerts(
    monitored: Instance, prometheus: str, tmp_path: Path
) -> None:
    with scraping(prometheus, tmp_path, monitored.url) as client:
        until(lambda: asked(client, 'up{job="driftline"} == 1'))
        (accuracy,) = until(lambda: asked(client, 'driftline_accuracy_ratio{model="weather"}'))
        assert 0 <= float(accuracy["value"][1]) <= 1
        (learned,) = asked(client, 'driftline_labels_learned_total{model="prices"}')
        assert float(learned["value"][1]) == 200
        types = client.get("/api/v1/metadata").json()["data"]
        assert types["driftline_http_request_duration_seconds"][0]["type"] == "histogram"
        assert types["driftline_labels_learned_total"][0]["type"] == "counter"
        for panel in panels():
            for target in panel["targets"]:
                asked(client, target["expr"].replace("$model", ".*"))

        def evaluated() -> list[Any]:
            groups = client.get("/api/v1/rules").json()["data"]["groups"]
            found = [rule for group in groups for rule in group["rules"]]
            return found if found and all(rule["health"] != "unknown" for rule in found) else []

        assert {rule["health"] for rule in until(evaluated)} == {"ok"}
