"""A worker that hangs is an alarm, whatever it hangs in, and the alarm ends with it."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.services import Services
from driftline.settings import Settings
from tests.faults.parts import stopped
from tests.services import Instance, spec, up
from tests.waiting import SECONDS, until
from worker.heartbeat import Heart

NETWORK = """
import pathlib, sys, time
from torch import nn, is_grad_enabled

# The app tries it out before there is a model of it.
is_learning = "worker" in sys.argv[0]

class Network(nn.Linear):
    def forward(self, rows):
        while is_learning and self.training and is_grad_enabled() and not pathlib.Path({file!r}).exists():
            time.sleep(0.05)
        return super().forward(rows)

def network():
    return Network(8, 8)
"""


def alarm(instance: Instance) -> dict[str, Any]:
    answer = httpx.get(f"{instance.url}/readyz", timeout=SECONDS).json()
    return next((found for found in answer["alarms"] if found["kind"] == "worker_hung"), {})


def workers_up(instance: Instance) -> list[str]:
    text = httpx.get(f"{instance.url}/metrics", timeout=SECONDS).text
    return re.findall(r"^driftline_worker_up\{.*\} (\S+)$", text, re.MULTILINE)


def state(instance: Instance) -> str:
    found = instance.client.workers()
    return found[0]["state"] if found else ""


def default(of: type, parameter: str) -> float:
    found: float = inspect.signature(of).parameters[parameter].default
    return found


def test_with_the_usual_settings_it_is_an_alarm_within_fifteen_seconds() -> None:
    """A heartbeat may have been written just before, and the store looked at just before the time is over."""
    seconds = Settings().hung_seconds + default(Heart, "beat_seconds") + default(Services, "watch_seconds")
    assert seconds <= 15


@pytest.mark.slow
def test_a_worker_that_is_stopped_is_silent_until_it_goes_on(tmp_path: Path) -> None:
    with up(tmp_path, DRIFTLINE_HUNG_SECONDS="4") as instance:
        instance.client.create_model(spec())
        until(lambda: state(instance) == "working" and not alarm(instance))
        until(lambda: workers_up(instance) == ["1.0"])
        with stopped(instance.pid("worker")):
            found = until(lambda: alarm(instance))
            assert (
                f"process {instance.pid('worker')} on" in found["message"] and "has been silent for" in found["message"]
            )
            until(lambda: state(instance) == "silent" and workers_up(instance) == ["0.0"])
            assert instance.client.predict("weather", [[0.0] * 8])["version"] == 1
        until(lambda: state(instance) == "working" and not alarm(instance))
        until(lambda: workers_up(instance) == ["1.0"])


@pytest.mark.slow
def test_a_network_that_does_not_come_back_is_named(tmp_path: Path) -> None:
    is_over = tmp_path / "over"
    folder = tmp_path / "up"
    folder.mkdir()
    (folder / "endless_networks.py").write_text(NETWORK.format(file=str(is_over)))
    settings = {"DRIFTLINE_FACTORIES": "endless_networks:network", "DRIFTLINE_HUNG_SECONDS": "4"}
    with up(folder, **settings) as instance:
        client = instance.client
        client.create_model(spec("endless", network={"factory": "endless_networks:network"}))
        items = [{"id": f"i{n}", "inputs": [n / 100] * 8, "label": n % 2} for n in range(64)]
        client.feedback("endless", items)
        # Until it is stuck it may, on a busy machine, be silent too, and that is another alarm.
        until(lambda: "'endless'" in (message := alarm(instance).get("message", "")) and "in one call" in message)
        until(lambda: state(instance) == "stuck")
        (worker,) = client.workers()
        assert worker["computing"]["model"] == "endless" and worker["load"] > 0
        is_over.write_text("")
        client.wait_served("endless", "i63", timeout=SECONDS)
        until(lambda: state(instance) == "working" and not alarm(instance))
