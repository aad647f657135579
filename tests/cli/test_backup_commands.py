"""``driftline backup`` and ``restore``: what they refuse, and that they need nobody to run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def test_nothing_to_back_up_is_one_sentence_and_makes_nothing(run: Any, tmp_path: Path) -> None:
    result = run("backup", "b")
    assert result.returncode == 1
    assert "there is nothing to back up in" in result.stderr and result.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_no_backup_is_one_sentence_and_starts_nothing(run: Any, tmp_path: Path) -> None:
    result = run("restore", "b")
    assert result.returncode == 2
    assert "b is not a backup" in result.stderr and result.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_they_start_the_embedded_server_for_their_own_time(run: Any, tmp_path: Path) -> None:
    (tmp_path / "data" / "valkey").mkdir(parents=True)
    result = run("backup", "b", "--json")
    assert (result.returncode, json.loads(result.stdout)) == (0, {"backup": "b", "models": []})
    assert not (tmp_path / "data/valkey/url").exists()
    result = run("backup", "b")
    assert result.returncode == 1
    assert result.stderr == "driftline: b is not an empty folder; name a new one for the backup\n"
    result = run("restore", "b")
    assert (result.returncode, result.stderr) == (0, "")
    assert "0 models restored from b" in result.stdout
