"""A whole Driftline is copied while it runs, and goes on elsewhere from where the copy stands."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from driftline.client.clients import Client
from tests import forked
from tests.feeding import feeding
from tests.services import Instance, spec, standing_alarms, up
from tests.waiting import until

pytestmark = pytest.mark.slow

ROWS = np.random.default_rng(5).normal(size=(4, 8)).tolist()
SETTINGS = {"DRIFTLINE_KEEP_VERSIONS": "1000", "DRIFTLINE_CHECKPOINT_SECONDS": "0.5", "DRIFTLINE_LEASE_SECONDS": "2"}


def command(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """``driftline …`` with the data directory in ``folder``."""
    folder.mkdir(exist_ok=True)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("DRIFTLINE_")}
    return forked.run(["-P", "-m", "driftline.cli", *arguments], clean, folder)


def succeeds(folder: Path, *arguments: str) -> Any:
    result = command(folder, *arguments, "--json")
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def answers(client: Client, versions: list[int]) -> list[Any]:
    """What versions say to the same rows."""
    found = [client.predict("weather", ROWS, version)["predictions"] for version in versions]
    return [[{**row, "id": None} for row in rows] for rows in found]


def labels(prefix: str, count: int) -> list[dict[str, Any]]:
    inputs = np.random.default_rng(len(prefix)).normal(size=(count, 8)).tolist()
    return [{"id": f"{prefix}{n}", "inputs": row, "label": int(row[0] > 0)} for n, row in enumerate(inputs)]


def first_ten() -> list[dict[str, Any]]:
    """What :class:`tests.feeding.Feeder` sends first."""
    inputs = np.random.default_rng(3).normal(size=(10, 8))
    return [{"id": f"i{n}", "inputs": row.tolist(), "label": int(row[0] > 0)} for n, row in enumerate(inputs)]


def all_served(instance: Instance, identifiers: list[str]) -> None:
    client = instance.client
    until(lambda: client.receipt("weather", identifiers[-1])["state"] == "served")
    assert {client.receipt("weather", identifier)["state"] for identifier in identifiers} == {"served"}


def test_a_backup_under_way_goes_on_elsewhere_with_every_label_it_holds(tmp_path: Path) -> None:
    backup = tmp_path / "backup"
    with up(tmp_path / "here", **SETTINGS) as here:
        here.client.create_model(spec())
        with feeding(here) as feeder:
            until(lambda: here.client.model("weather")["version"] > 4)
            asked = here.client.predict("weather", ROWS)["predictions"][0]["id"]
            feeder.go_on()
            acknowledged = list(feeder.acknowledged)
            (saved,) = succeeds(tmp_path / "here", "backup", str(backup), "--predictions")["models"]
            feeder.go_on()
        index = json.loads((backup / "index.json").read_text())["models"][0]
        versions = [row for row in here.client.versions("weather") if row["version"] <= saved["version"]]
        chosen = [version["version"] for version in versions][:: max(1, len(versions) // 4)]
        served = answers(here.client, [*chosen, saved["version"]])
    assert saved["version"] > 1 and saved["learned"] > 0 and len(acknowledged) <= index["last"]

    assert succeeds(tmp_path / "there", "restore", str(backup))["models"] == [saved]
    with up(tmp_path / "there", **SETTINGS) as there:
        client = there.client
        assert [row for row in client.versions("weather") if row["version"] <= saved["version"]] == versions
        assert answers(client, [*chosen, saved["version"]]) == served
        assert client.model("weather")["learned"] >= saved["learned"]
        all_served(there, acknowledged)
        until(lambda: client.model("weather")["learned"] == index["last"])
        assert {item["status"] for item in client.feedback("weather", first_ten())["items"]} == {"duplicate"}
        assert client.feedback("weather", [{"prediction_id": asked, "label": 1}])["items"][0]["status"] == "queued"
        all_served(there, [f"p:{asked}"])
        assert standing_alarms(client, "weather") == {}


def test_a_restore_takes_a_running_model_back_when_it_is_told_to(tmp_path: Path) -> None:
    folder, backup = tmp_path / "here", str(tmp_path / "backup")
    with up(folder, **SETTINGS) as here:
        client = here.client
        client.create_model(spec())
        before, after = labels("before", 100), labels("behind-", 60)
        client.feedback("weather", before)
        all_served(here, [item["id"] for item in before])
        (saved,) = succeeds(folder, "backup", backup)["models"]
        said = answers(client, [saved["version"]])
        client.feedback("weather", after)
        all_served(here, [item["id"] for item in after])
        assert client.model("weather")["version"] > saved["version"]

        refused = command(folder, "restore", backup)
        assert refused.returncode == 1 and "--replace" in refused.stderr and refused.stderr.count("\n") == 1
        assert client.model("weather")["learned"] == 160

        succeeds(folder, "restore", backup, "--replace")
        assert client.predict("weather", ROWS)["version"] == saved["version"]
        assert client.model("weather")["learned"] == 100
        assert answers(client, [saved["version"]]) == said
        assert {item["status"] for item in client.feedback("weather", before)["items"]} == {"duplicate"}
        assert {item["status"] for item in client.feedback("weather", after)["items"]} == {"queued"}
        all_served(here, [item["id"] for item in after])
        assert client.model("weather")["learned"] == 160
        assert standing_alarms(client, "weather") == {}


def test_a_running_up_says_where_its_store_is_and_takes_it_back(tmp_path: Path) -> None:
    url = tmp_path / "driftline-data/valkey/url"
    with up(tmp_path) as instance:
        first = url.read_text()
        instance.kill("valkey")
        assert url.read_text() == first
        instance.process.kill()
        instance.process.wait()
        until(lambda: command(tmp_path, "backup", str(tmp_path / f"b{time.monotonic()}")).returncode == 0)
    assert not url.exists(), "the command's own server took over, and has ended"
