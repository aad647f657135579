"""A network that ends its worker process costs the other models nothing but the restarts, and is set aside by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.services import Instance, spec, standing_alarms, up
from tests.waiting import until

pytestmark = pytest.mark.slow

NETWORK = """
import os, sys
from torch import nn, is_grad_enabled

# The app tries it out before there is a model of it.
is_learning = "worker" in sys.argv[0]

class Network(nn.Linear):
    def forward(self, rows):
        if is_learning and self.training and is_grad_enabled() and {is_deadly}:
            os._exit(13)
        return super().forward(rows)

def network():
    return Network(8, 8)
"""


def feed(instance: Instance, model: str, first: int, count: int = 100) -> str:
    items = [{"id": f"i{n}", "inputs": [n / 500] * 8, "label": n % 2} for n in range(first, first + count)]
    instance.client.feedback(model, items)
    return str(items[-1]["id"])


def is_served(instance: Instance, model: str, identifier: str) -> bool:
    return bool(instance.client.receipt(model, identifier)["state"] == "served")


def message(instance: Instance, model: str, kind: str) -> str:
    return standing_alarms(instance.client, model).get(kind, "")


def deaths(instance: Instance) -> int:
    return sum("worker ended with exit code 13" in line for line in instance.lines)


def test_a_factory_that_ends_the_process_is_set_aside_and_the_other_model_learns_on(tmp_path: Path) -> None:
    folder = tmp_path / "up"
    folder.mkdir()
    file = folder / "deadly_networks.py"
    file.write_text(NETWORK.format(is_deadly=True))
    with up(folder, DRIFTLINE_FACTORIES="deadly_networks:network") as instance:
        client = instance.client
        client.create_model(spec("healthy"))
        client.create_model(spec("deadly", network={"factory": "deadly_networks:network"}))
        last = feed(instance, "healthy", 0)
        until(lambda: is_served(instance, "healthy", last))
        waiting = feed(instance, "deadly", 0)
        told = until(lambda: message(instance, "deadly", "trainer_failed"))
        assert "3 worker processes in a row" in told and "driftline resume deadly" in told
        until(lambda: deaths(instance) >= 3)
        last = feed(instance, "healthy", 100)
        until(lambda: is_served(instance, "healthy", last))
        until(lambda: standing_alarms(client, "healthy") == {})
        assert deaths(instance) == 3, "\n".join(instance.lines)
        assert client.predict("deadly", [[0.0] * 8])["version"] == 1
        alive = instance.pid("worker")
        assert client.model("deadly")["waiting"] == 100
        file.write_text(NETWORK.format(is_deadly=False))
        client.resume("deadly")
        until(lambda: is_served(instance, "deadly", waiting))
        until(lambda: not message(instance, "deadly", "trainer_failed"))
        assert instance.pid("worker") == alive


def test_a_healthy_model_whose_worker_is_killed_again_and_again_is_not_set_aside(tmp_path: Path) -> None:
    with up(tmp_path / "up") as instance:
        instance.client.create_model(spec())
        for turn in range(4):
            last = feed(instance, "weather", 100 * turn)
            instance.kill("worker")
            # After a step that is committed it is counted from zero.
            until(lambda last=last: is_served(instance, "weather", last))  # type: ignore[misc]
        until(lambda: standing_alarms(instance.client, "weather") == {})
        assert instance.client.model("weather")["learned"] == 400
