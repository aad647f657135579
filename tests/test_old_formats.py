"""What former releases have left behind: a data directory, a killed one, a backup and checkpoints are read and gone on with.

With another torch than that of the release answers agree up to rounding. A learner whose steps cannot be repeated bit for bit,
as those of a release that scaled otherwise, restarts from the live weights, which an alarm says. Versions, answers, receipts
and jobs hold all the same.
"""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import forked
from tests.fixtures import learners
from tests.fixtures.models import SETTINGS, answers, are_taken, items, tell
from tests.golden.runs import this_build
from tests.services import Instance, standing_alarms, up

pytestmark = pytest.mark.slow

FIXTURES = Path(__file__).parent / "fixtures"
RELEASES = sorted(path.name for path in FIXTURES.glob("v*"))
TOLERANCE = 1e-4
LARGEST_CHANGE = 0.15
"""By how much the error over the next labels may differ, whose learning another CPU rounds otherwise: in units of the error."""
HARMLESS = {"drift", "inputs"}
OTHER_SCALE = {"v0.1", "v0.2"}


def expected_of(release: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FIXTURES / release / "expected.json").read_text())
    return found


@pytest.fixture(params=RELEASES)
def release(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def folders(release: str, tmp_path: Path) -> Path:
    with tarfile.open(FIXTURES / release / "folders.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path


@pytest.fixture(params=["data", "killed", "backup"])
def started(request: pytest.FixtureRequest, release: str, folders: Path) -> Iterator[tuple[Instance, dict[str, Any]]]:
    """Driftline over a folder that the release has written, and what is expected of it."""
    place = folders / "here"
    place.mkdir()
    if request.param == "backup":
        command = ["-P", "-m", "driftline.cli", "restore", str(folders / "backup")]
        clean = {name: value for name, value in os.environ.items() if not name.startswith("DRIFTLINE_")}
        restored = forked.run(command, clean | SETTINGS, place)
        assert restored.returncode == 0, restored.stderr
    else:
        (folders / request.param).rename(place / "driftline-data")
    whole = expected_of(release)
    expected = whole["data" if request.param == "backup" else request.param]
    is_repeatable = whole["build"] == this_build() and release not in OTHER_SCALE
    harmless = HARMLESS if is_repeatable else HARMLESS | {"recovery_diverged"}
    with up(place, **SETTINGS) as instance:
        yield instance, {**expected, "harmless": harmless}


def test_what_a_former_release_left_is_served_and_learned_on(started: tuple[Instance, dict[str, Any]]) -> None:
    instance, expected = started
    client = instance.client
    models = expected["models"]
    assert {model["name"] for model in client.models()} == set(models) and len(models) >= 4
    for name, model in models.items():
        assert_served_as_before(instance, name, model)
    for identifier, job in expected.get("jobs", {}).items():
        assert client.job(identifier) == job
    for name, model in models.items():
        tell(client, name, 5000, 40)
        now = client.model(name)
        assert now["version"] > model["version"] and now["learned"] == model["learned"] + 40
        alarms = standing_alarms(client, name)
        assert alarms.keys() <= expected["harmless"], alarms


def assert_served_as_before(instance: Instance, name: str, model: dict[str, Any]) -> None:
    client = instance.client
    live = client.model(name)
    assert (live["version"], live["learned"]) == (model["version"], model["learned"])
    assert live["spec"]["recipe"] == model["recipe"] and live["spec"]["network"] == model["network"]
    assert_close(answers(client, name), model["live"])
    versions = [version["version"] for version in client.versions(name)]
    assert set(versions) <= set(model["versions"]) and len(versions) >= 3
    for number in versions:
        assert_close(answers(client, name, number), model["answers"][str(number)])
    assert {client.receipt(name, identifier)["state"] for identifier in model["told"]} == {"served"}
    assert len(model["told"]) > 200 and are_taken(client, name, items(name, 0, 10))
    assert client.model(name)["learned"] == model["learned"], "what was known already is not learned again"


def assert_close(found: list[Any], expected: list[Any]) -> None:
    for one, other in zip(found, expected, strict=True):
        assert one == pytest.approx(other, abs=TOLERANCE, rel=TOLERANCE)


@pytest.mark.parametrize("name", learners.SCENARIOS)
def test_a_learner_goes_on_from_a_checkpoint_of_a_former_release(release: str, name: str) -> None:
    place, expected = FIXTURES / release, expected_of(release)["learners"][name]
    tensors, data = ((place / f"{name}.{kind}").read_bytes() for kind in ("safetensors", "json"))
    run = learners.going_on(name, tensors, data, expected["position"])
    for found, before in zip(run.next_outputs(8), expected["answers"], strict=True):
        assert found == pytest.approx(before, abs=TOLERANCE, rel=TOLERANCE)
    assert run.error_of_rest() == pytest.approx(expected["error"], rel=LARGEST_CHANGE)
    assert run.learned == learners.SCENARIOS[name]["labels"]


def test_there_is_a_release_to_read() -> None:
    assert {"v0.1", "v0.2"} <= set(RELEASES)
