"""``driftline doctor``: what it prints, and how it ends."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.services import spec, up
from tests.waiting import until


def test_a_folder_without_an_instance_is_only_a_warning(run: Any, tmp_path: Path) -> None:
    result = run("doctor")
    assert (result.returncode, result.stderr) == (0, "")
    assert f"warning  disk      there is no data directory {tmp_path / 'data'} yet\n" in result.stdout
    assert "→ `driftline up` makes it" in result.stdout
    assert result.stdout.splitlines()[-1].startswith("0 errors and 2 warnings among ")


def test_an_error_is_exit_code_1_and_json_is_a_list(run: Any) -> None:
    result = run("doctor", "--json", DRIFTLINE_REDIS_URL="redis://127.0.0.1:1")
    assert (result.returncode, result.stderr) == (1, "")
    (found,) = [finding for finding in json.loads(result.stdout) if finding["level"] == "error"]
    assert found["check"] == "store" and "redis://127.0.0.1:1" in found["message"] and "start it" in found["advice"]


def test_a_running_instance_is_well_and_so_is_one_that_rests(run: Any, tmp_path: Path) -> None:
    with up(tmp_path) as instance:
        instance.client.create_model(spec())
        until(lambda: "weather" in [name for worker in instance.client.workers() for name in worker["models"]])
        running = run("doctor", "--data-dir", "driftline-data")
        assert running.returncode == 0, running.stdout + running.stderr
        assert "weather: a worker owns it" in running.stdout
        assert running.stdout.splitlines()[-1].startswith("All is well: ")
    resting = run("doctor", "--data-dir", "driftline-data")
    assert resting.returncode == 0, resting.stdout + resting.stderr
    assert "weather: Driftline is not running" in resting.stdout


def test_it_needs_no_torch(run: Any, environment: dict[str, str], tmp_path: Path) -> None:
    program = (
        "import sys\nfrom driftline.doctor import examine\nfrom driftline.settings import Settings\n"
        "examine(Settings())\nassert 'torch' not in sys.modules"
    )
    (tmp_path / "data" / "valkey").mkdir(parents=True)
    subprocess.run([sys.executable, "-c", program], env=environment, cwd=tmp_path, check=True)
