"""Labels that come all the time, and what must have become of them at the end."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from driftline.client.clients import Client
from driftline.errors import DriftlineError, Unavailable
from tests.services import Instance, standing_alarms
from tests.waiting import SECONDS, until


class Feeder(threading.Thread):
    """Sends labels until it is stopped, again and again until each is acknowledged; predicts beside it."""

    def __init__(self, url: str, model: str, pause: float) -> None:
        super().__init__()
        self.pause = pause
        self.end_at = math.inf
        self.model = model
        self.client = Client(url, timeout=10, retries=0)
        self.acknowledged: list[str] = []
        self.is_over = threading.Event()

    def run(self) -> None:
        random = np.random.default_rng(3)
        number = 0
        while not self.is_over.is_set():
            inputs = random.normal(size=(10, 8))
            items = [
                {"id": f"i{number + row}", "inputs": inputs[row].tolist(), "label": int(inputs[row, 0] > 0)}
                for row in range(10)
            ]
            number += 10
            self._send(items)
            time.sleep(self.pause)

    def go_on(self, count: int = 100) -> None:
        """Waits until so many more labels are acknowledged."""
        before = len(self.acknowledged)
        until(lambda: len(self.acknowledged) >= before + count)

    def _send(self, items: list[dict[str, object]]) -> None:
        while True:
            try:
                answer = self.client.feedback(self.model, items)
                self.acknowledged += [str(item["id"]) for item in answer["items"]]
                return
            except DriftlineError:
                if self.is_over.is_set() and time.monotonic() > self.end_at:
                    return
                time.sleep(0.1)


@contextmanager
def feeding(instance: Instance, model: str = "weather", pause: float = 0.1) -> Iterator[Feeder]:
    """Labels at a rate at which each of them can be asked for at the end."""
    feeder = Feeder(instance.url, model, pause)
    feeder.start()
    try:
        yield feeder
    finally:
        feeder.end_at = time.monotonic() + SECONDS
        feeder.is_over.set()
        feeder.join()


def check_all_served_once(instance: Instance, feeder: Feeder) -> None:
    client = instance.client
    assert len(feeder.acknowledged) == len(set(feeder.acknowledged))

    def is_done() -> bool:
        try:
            return client.receipt(feeder.model, feeder.acknowledged[-1])["state"] == "served"
        except Unavailable:
            return False

    until(is_done)
    states = {client.receipt(feeder.model, identifier)["state"] for identifier in feeder.acknowledged}
    assert states == {"served"}
    assert client.model(feeder.model)["learned"] == len(feeder.acknowledged)
    # On a busy machine a worker may have been held up for longer than its lease, which is an alarm until it goes on.
    until(lambda: standing_alarms(client, feeder.model) == {})
