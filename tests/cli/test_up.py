"""``driftline up``: what it refuses, what it starts, and how it ends."""

from __future__ import annotations

import contextlib
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from driftline.client.clients import Client
from driftline.processes import plan
from driftline.settings import Settings
from tests.waiting import SECONDS, until

pytestmark = pytest.mark.slow


def test_a_taken_port_is_told_before_anything_starts(run: Any, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = run("up", "--port", str(port))
    assert result.returncode == 1
    assert result.stderr.startswith(f"driftline: cannot listen on 127.0.0.1 port {port}")
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_without_keys_no_other_machine_is_let_in(run: Any, tmp_path: Path, host: str) -> None:
    result = run("up", "--host", host, "--port", "0")
    assert result.returncode == 1
    assert "without API keys" in result.stderr and "driftline keys create" in result.stderr
    assert not (tmp_path / "data").exists()


def test_with_a_key_any_address_is_fine(tmp_path: Path) -> None:
    from driftline.api_keys import KeyStore

    settings = Settings(host="0.0.0.0", data_dir=tmp_path)
    KeyStore(settings.keys_path).create(["admin"])
    plan.refuse_exposure(settings)


def test_a_setting_that_does_not_fit_is_one_sentence(run: Any) -> None:
    result = run("up", DRIFTLINE_THREADS="many")
    assert result.returncode == 1
    assert result.stderr.startswith("driftline: DRIFTLINE_THREADS: ") and "'many'" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("host", "url"), [("127.0.0.1", "http://127.0.0.1:"), ("0.0.0.0", "http://127.0.0.1:"), ("::1", "http://[::1]:")]
)
def test_the_address_that_is_printed_can_be_reached(host: str, url: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, 0), family=family)
    except OSError:
        pytest.skip(f"this machine has no {host}")
    with listener:
        assert plan.address(listener) == f"{url}{listener.getsockname()[1]}"


@contextlib.contextmanager
def starting(environment: dict[str, str], folder: Path) -> Iterator[subprocess.Popen[str]]:
    """``driftline up`` on a free port."""
    command = [sys.executable, "-m", "driftline.cli", "up", "--port", "0"]
    with open(folder / "log", "w") as log:
        process = subprocess.Popen(command, env=environment, cwd=folder, stdout=subprocess.PIPE, stderr=log, text=True)
    with process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def up(environment: dict[str, str], tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    with starting(environment, tmp_path) as process:
        yield process


def address_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().removeprefix("Driftline answers at ").strip()


def started_processes(folder: Path) -> list[int]:
    """The process ids that ``up`` has reported."""
    return [int(pid) for pid in re.findall(r"started, process (\d+)", (folder / "log").read_text())]


def is_running(pid: int) -> bool:
    answer = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return bool(answer.stdout.strip()) and not answer.stdout.strip().startswith("Z")


def test_up_prints_its_address_when_it_is_ready_and_ends_without_a_trace(
    up: subprocess.Popen[str], tmp_path: Path
) -> None:
    with Client(address_of(up)) as client:
        assert client.ready()
        assert client.models() == []
        assert up.stdout is not None and up.stdout.readline().startswith(f"export DRIFTLINE_URL={client.url}")
    pids = started_processes(tmp_path)
    assert len(pids) == 3 and all(map(is_running, pids))
    up.send_signal(signal.SIGTERM)
    assert up.wait(timeout=SECONDS) == 0
    assert not any(map(is_running, pids))


def test_a_killed_up_leaves_no_process_behind(up: subprocess.Popen[str], tmp_path: Path) -> None:
    address_of(up)
    pids = started_processes(tmp_path)
    assert len(pids) == 3 and all(map(is_running, pids))
    up.kill()
    until(lambda: not any(map(is_running, pids)))
