"""The disk of the artifacts fails: learning waits and says why, everything else goes on, and all heals."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from driftline.client.clients import Client
from driftline.errors import Unavailable
from tests.faults.parts import asking, replaced_by_a_file
from tests.feeding import check_all_served_once, feeding
from tests.ports import missing
from tests.services import Instance, answered_by, spec, standing_alarms, up
from tests.waiting import SECONDS, until

pytestmark = pytest.mark.slow

DATA = "driftline-data"


@contextlib.contextmanager
def small_disk(mount: str, folder: Path) -> Iterator[None]:
    """A disk of 16 MiB at ``folder``."""
    folder.mkdir(parents=True)
    if subprocess.run([mount, "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder)], check=False).returncode:
        missing("a disk that a test may mount (it needs root)")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@contextlib.contextmanager
def full(folder: Path) -> Iterator[None]:
    """Not a byte more fits."""
    filler = folder / ".filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while file.write(b"\0" * 4096):
            pass
    try:
        yield
    finally:
        filler.unlink()


def check_learning_waits_and_all_else_goes_on(
    instance: Instance, trouble: contextlib.AbstractContextManager[None]
) -> None:
    instance.client.create_model(spec())
    with asking(instance.url) as asker, feeding(instance) as feeder:
        until(lambda: asker.versions and asker.versions[-1] > 1)
        with trouble:
            until(lambda: [line for line in instance.lines if "cannot" in line and "until the disk has room" in line])
            until(lambda: "disk" in standing_alarms(instance.client, "weather"))
            acknowledged, answered = len(feeder.acknowledged), len(asker.versions)
            until(lambda: len(feeder.acknowledged) > acknowledged + 50 and len(asker.versions) > answered + 50)
            with pytest.raises(Unavailable) as refused:
                instance.client.create_model(spec("another"))
            assert refused.value.code == "disk"
    check_all_served_once(instance, feeder)
    instance.client.create_model(spec("another"))
    assert asker.broken == 0


def test_with_a_full_disk_learning_waits_and_goes_on_when_there_is_room(tmp_path: Path, mount: str) -> None:
    artifacts = tmp_path / DATA / "artifacts"
    with small_disk(mount, artifacts), up(tmp_path, DRIFTLINE_CHECKPOINT_SECONDS="1") as instance:
        check_learning_waits_and_all_else_goes_on(instance, full(artifacts))


@pytest.mark.long
def test_without_its_folder_learning_waits_and_goes_on_when_it_is_back(tmp_path: Path) -> None:
    with up(tmp_path, DRIFTLINE_CHECKPOINT_SECONDS="1", DRIFTLINE_SWEEP_SECONDS="0.5") as instance:
        check_learning_waits_and_all_else_goes_on(instance, replaced_by_a_file(tmp_path / DATA / "artifacts"))


@pytest.mark.long
def test_it_ends_in_time_while_its_disk_refuses_and_goes_on_from_there(tmp_path: Path) -> None:
    with up(tmp_path) as instance:
        instance.client.create_model(spec())
        with contextlib.ExitStack() as stack:
            with feeding(instance) as feeder:
                until(lambda: feeder.acknowledged)
                stack.enter_context(replaced_by_a_file(tmp_path / DATA / "artifacts"))
                until(lambda: [line for line in instance.lines if "trying again" in line])
            instance.process.terminate()
            assert instance.process.wait(SECONDS) == 0
        assert [line for line in instance.lines if line.endswith("worker ended")], instance.lines
    with up(tmp_path) as instance:
        check_all_served_once(instance, feeder)


def test_a_damaged_live_version_is_not_served_and_says_how_to_roll_back(tmp_path: Path) -> None:
    with up(tmp_path) as instance:
        client = instance.client
        client.create_model(spec())
        with feeding(instance) as feeder:
            until(lambda: client.model("weather")["version"] > 2)
        check_all_served_once(instance, feeder)
        version = client.model("weather")["version"]
        assert answered_by(client, "weather", version, [[0.5] * 8])["version"] == version
        damaged = newest_weights(tmp_path / DATA / "artifacts")
        damaged.write_bytes(bytes([damaged.read_bytes()[0] ^ 1]) + damaged.read_bytes()[1:])
        assert client.predict("weather", [[0.5] * 8])["version"] == version, "what is loaded is whole"
        instance.kill("app")
        until(lambda: instance.is_ready)
        for call in (
            lambda: client.predict("weather", [[0.5] * 8]),
            lambda: client.predict("weather", [[0.5] * 8], version=version),
        ):
            with pytest.raises(Unavailable) as refused:
                call()
            assert refused.value.code == "artifact_damaged"
            assert str(damaged) in refused.value.message and "driftline rollback weather" in refused.value.message
        assert client.model("weather")["version"] == version, "nothing has taken its place"
        client.rollback("weather", version - 1)
        until(lambda: client.model("weather")["version"] == version + 1)
        until(lambda: serves(client, version + 1))
        client.feedback("weather", [{"id": "later", "inputs": [0.5] * 8, "label": 1}])
        feeder.acknowledged.append("later")
        check_all_served_once(instance, feeder)


def serves(client: Client, version: int) -> bool:
    """Whether a version answers; the one before it cannot be loaded."""
    with contextlib.suppress(Unavailable):
        return client.predict("weather", [[0.5] * 8])["version"] == version
    return False


def newest_weights(artifacts: Path) -> Path:
    """The file with the weights of the version that was written last."""
    import json

    manifests = []
    for path in artifacts.glob("*/*"):
        with contextlib.suppress(ValueError):
            found = json.loads(path.read_bytes())
            if found["kind"] == "version":
                manifests.append((found["version"], path.parent / found["files"]["weights"]["sha256"]))
    return max(manifests)[1]
