"""The README, followed to the letter: each shell block runs against a running Driftline."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.ports import missing
from tests.services import Instance, up
from tests.waiting import SECONDS

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
SHELL = re.findall(r"^```sh\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
PYTHON = re.findall(r"^```python\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def here(code: str, instance: Instance) -> str:
    """The code of the README, for a server on another port."""
    assert "http://127.0.0.1:8000" in code
    return code.replace("http://127.0.0.1:8000", instance.url)


def run_shell(script: str, folder: Path, **variables: str) -> str:
    if shutil.which("curl") is None:
        missing("curl")
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"} | variables
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_curl_is_in_a_block_that_is_run() -> None:
    assert README.count("curl -") == sum(block.count("curl -") for block in SHELL)


def test_the_way_from_create_to_retrain(empty_instance: Instance, tmp_path: Path) -> None:
    blocks = [block for block in SHELL if "keys create" not in block]
    client = empty_instance.client
    answers = run_shell(here("\necho\n".join(blocks), empty_instance), tmp_path)
    created, predicted, accepted, receipt, job = (json.loads(line) for line in answers.splitlines() if line)
    assert (created["name"], created["version"]) == ("weather", 1)
    (prediction,) = predicted["predictions"]
    assert accepted["items"] == [{"id": f"p:{prediction['id']}", "status": "queued"}]
    assert accepted["durability"] == "fsync_always"
    assert receipt["state"] in ("queued", "learned", "served")
    assert job["state"] in ("queued", "running", "succeeded")
    done = client.wait_for_job(job["id"], SECONDS)
    assert done["state"] == "succeeded", done
    assert client.wait_served("weather", receipt["id"], SECONDS)["state"] == "served"


def test_the_python_example(empty_instance: Instance, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = PYTHON
    run_shell(here(SHELL[0], empty_instance), tmp_path)
    exec(compile(here(code, empty_instance), "README.md", "exec"), {})
    assert "'state': 'served'" in capsys.readouterr().out


def test_the_example_for_clients_of_the_open_inference_protocol(
    empty_instance: Instance, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs" / "api.md").read_text(), re.DOTALL | re.MULTILINE)
    run_shell(here(SHELL[0], empty_instance), tmp_path)
    address = empty_instance.url.removeprefix("http://")
    exec(compile(code.replace("127.0.0.1:8000", address), "api.md", "exec"), {})
    assert capsys.readouterr().out.count("-0'") == 1


def test_keys(tmp_path: Path) -> None:
    (block,) = (block for block in SHELL if "keys create" in block)
    with up(tmp_path) as instance:
        *_, models = run_shell(here(block, instance), tmp_path).splitlines()
        assert json.loads(models) == {"models": []}
        keyless = run_shell(f"curl -sS {instance.url}/v1/models", tmp_path)
        assert json.loads(keyless)["error"]["code"] == "no_key"
