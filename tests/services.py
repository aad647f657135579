"""A whole Driftline as real processes, for the tests that need one."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx

from driftline.api.predictions import Predictions
from driftline.client.clients import Client
from tests import forked
from tests.forked import Process
from tests.waiting import SECONDS, until

UP = ("-P", "-m", "driftline.cli", "up", "--port", "0")


class Instance:
    """A running ``driftline up``, what it has printed, and a client for it, which asks once."""

    def __init__(self, process: Process, lines: list[str], data_dir: Path) -> None:
        self.process = process
        self.lines = lines
        self.data_dir = data_dir
        self.url = self._await(r"(https?://\S+)")
        self.client = Client(self.url, timeout=SECONDS, retries=0)
        # A connection of its own each time, as a load balancer makes them, and no certificates read for it.
        self._probe = httpx.Client(verify=False, headers={"connection": "close"})
        until(lambda: self.is_ready)

    @property
    def is_ready(self) -> bool:
        try:
            return self._probe.get(f"{self.url}/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def pid(self, child: str) -> int:
        """The process id that a child has now."""
        found = [match for line in self.lines if (match := re.search(rf"{child} started, process (\d+)", line))]
        return int(found[-1][1])

    def kill(self, child: str) -> None:
        """kill -9, then until the next one has started."""
        before = self.pid(child)
        os.kill(before, signal.SIGKILL)
        until(lambda: self.pid(child) != before)

    def _await(self, pattern: str) -> str:
        found: list[str] = []

        def look() -> bool:
            assert self.process.poll() is None, "\n".join(self.lines)
            found.extend(match[1] for line in self.lines if (match := re.search(pattern, line)))
            return bool(found)

        until(look)
        return found[0]


def up(folder: Path, /, *arguments: str, **environment: str) -> contextlib.AbstractContextManager[Instance]:
    """``driftline up`` in ``folder``, on a free port; ended at the end."""
    return _running(folder, lambda: forked.start([*UP, *arguments], _environment(environment), folder))


def up_of(
    python: Path, folder: Path, /, *arguments: str, **environment: str
) -> contextlib.AbstractContextManager[Instance]:
    """The same of the environment that ``python`` belongs to, started as users start it."""
    command = [str(python), *UP, *arguments]
    return _running(folder, lambda: forked.start_cold(command, _environment(environment), folder))


def _environment(changes: Mapping[str, str]) -> dict[str, str]:
    clean = {
        name: value for name, value in os.environ.items() if not name.startswith("DRIFTLINE_") and name != "PYTHONPATH"
    }
    return clean | {"PYTHONUNBUFFERED": "1", "COLUMNS": "200", **changes}


@contextlib.contextmanager
def _running(folder: Path, start: Callable[[], Process]) -> Iterator[Instance]:
    folder.mkdir(parents=True, exist_ok=True)
    process = start()
    lines: list[str] = []
    reader = threading.Thread(target=_collect, args=(process, lines))
    reader.start()
    try:
        yield Instance(process, lines, folder / "driftline-data")
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(SECONDS)
        finally:
            process.kill()
            process.wait()
            reader.join()
            assert process.stdout is not None
            process.stdout.close()


@contextlib.contextmanager
def emptied(instance: Instance) -> Iterator[Instance]:
    """An instance that others use too: whatever models are made in it are gone at the end."""
    try:
        yield instance
    finally:
        for model in instance.client.models():
            instance.client.delete_model(model["name"])


def _collect(process: Process, lines: list[str]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        lines.append(line.rstrip())
        if os.environ.get("DRIFTLINE_TEST_VERBOSE"):
            sys.stderr.write(line)


def spec(name: str = "weather", **changes: Any) -> dict[str, Any]:
    """A small spec. Its network learns alone unless the recipe says otherwise: the mixture takes four times as long."""
    small = {"name": name, "task": "classification", "inputs": {"shape": [8]}, "classes": [0, 1]}
    return small | changes | {"recipe": {"strategy": "replay"} | changes.get("recipe", {})}


def answered_by(client: Client, model: str, version: int, rows: Any) -> Predictions:
    """The answer of a version, or of a later one: one that is live already is swapped in a moment later."""

    def look() -> Predictions | None:
        found = client.predict(model, rows)
        return found if found["version"] >= version else None

    return until(look)


def standing_alarms(client: Client, model: str) -> dict[str, str]:
    """What a model's alarms say that are not over, by kind."""
    return {alarm["kind"]: alarm["message"] for alarm in client.metrics(model)["alarms"] if alarm["state"] != "over"}


def pretty(value: Any) -> str:
    return json.dumps(value, indent=2, default=str)


def is_there(pid: int) -> bool:
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return bool(state.strip()) and not state.startswith("Z")
