"""A whole Driftline with encrypted artifacts learns, crashes, goes on and changes its key, and leaves nothing plain."""

from __future__ import annotations

import base64
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from driftline.store.encryption import HEADER_BYTES, key_name
from tests import forked
from tests.feeding import check_all_served_once, feeding
from tests.services import Instance, spec, up
from tests.waiting import until

pytestmark = pytest.mark.slow

KEEPS = {"DRIFTLINE_CHECKPOINT_SECONDS": "0.5", "DRIFTLINE_LEASE_SECONDS": "2"}


def keys(path: Path, *identifiers: str) -> dict[str, str]:
    """A file of keys of these ids, and the setting that names it."""
    lines = [f"{each} {base64.b64encode(each.encode() * 16).decode()}\n" for each in identifiers]
    path.touch(0o600)
    path.write_text("".join(lines))
    return {"DRIFTLINE_ENCRYPTION_KEY_FILE": str(path)}


def command(folder: Path, settings: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("DRIFTLINE_")}
    return forked.run(["-P", "-m", "driftline.cli", *arguments], clean | settings, folder)


def keys_of_files(instance: Instance) -> set[str]:
    """The ids of the keys that have encrypted the artifacts; `plain` for those that none has."""
    found = set()
    for path in (instance.data_dir / "artifacts").glob("*/[0-9a-f]*"):
        try:
            name = key_name(path.read_bytes()[:HEADER_BYTES])
        except FileNotFoundError:  # Retired meanwhile.
            continue
        found.add("plain" if name is None else name.partition(":")[0])
    return found


def test_artifacts_are_encrypted_through_crashes_and_a_change_of_the_key(tmp_path: Path) -> None:
    folder, path = tmp_path / "up", tmp_path / "keys"
    rows = np.random.default_rng(5).normal(size=(4, 8)).tolist()
    with up(folder, **KEEPS, **keys(path, "k1")) as instance:
        instance.client.create_model(spec())
        with feeding(instance) as feeder:
            until(lambda: instance.client.model("weather")["version"] > 2)
            instance.kill("worker")
            instance.kill("app")
            until(lambda: instance.is_ready)
            feeder.go_on()
        check_all_served_once(instance, feeder)
        assert keys_of_files(instance) == {"k1"}
        for file in (instance.data_dir / "artifacts").glob("*/*"):
            assert not any(word in file.read_bytes() for word in (b"__metadata__", b"weather", b'"dtype"'))
        version = instance.client.model("weather")["version"]
        said = [row["probabilities"] for row in instance.client.predict("weather", rows, version)["predictions"]]

    for settings in ({}, keys(tmp_path / "others", "k2"), {"DRIFTLINE_ENCRYPTION_KEY_FILE": str(tmp_path / "none")}):
        refused = command(folder, KEEPS | settings, "up", "--port", "0")
        assert refused.returncode != 0 and "answers at" not in refused.stdout
        assert "is encrypted by the key `k1:" in refused.stderr or "cannot be read" in refused.stderr

    with up(folder, **KEEPS, **keys(path, "k2", "k1")) as instance:
        answered = instance.client.predict("weather", rows, version)["predictions"]
        assert [row["probabilities"] for row in answered] == said
        with feeding(instance) as feeder:
            feeder.go_on()
            done = command(folder, keys(path, "k2", "k1"), "encrypt")
            assert done.returncode == 0 and "written again" in done.stdout, done.stderr
            until(lambda: keys_of_files(instance) == {"k2"})
            feeder.go_on()
        examined = command(folder, KEEPS | keys(path, "k2", "k1"), "doctor")
        assert "files are encrypted by the key `k2:" in examined.stdout, examined.stdout + examined.stderr
    with up(folder, **KEEPS, **keys(path, "k2")) as instance:
        answered = instance.client.predict("weather", rows, version)["predictions"]
        assert [row["probabilities"] for row in answered] == said
        until(lambda: instance.client.receipt("weather", feeder.acknowledged[-1])["state"] == "served")
