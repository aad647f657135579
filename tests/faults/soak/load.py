"""Callers that never stop: predictions from each app, and their labels, sent again until they are answered."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections import deque
from typing import Any

import numpy as np

from driftline.client.clients import Client
from driftline.errors import DriftlineError
from tests.faults.soak.events import Answered, EventLog, Failed, Predicted, Sent
from tests.services import spec

RECIPE = {"trigger": {"labels": 32, "seconds": 0.5}}
SPECS = [
    spec("weather", recipe=RECIPE),
    {"name": "demand", "task": "regression", "inputs": {"shape": [8]}, "recipe": RECIPE},
]
NAMES = [str(found["name"]) for found in SPECS]
PREDICT_PAUSE = 0.03
FEEDBACK_PAUSE = 0.3
DRIFT_SECONDS = 30.0
RESENDS = 0.1
"""The share of answered batches that are sent once more."""
TAKEN = ("queued", "duplicate")
FIRST_RETRY, LAST_RETRY = 0.1, 1.0


def truth(model: str, row: list[float], now: float) -> int | float:
    """The label of a row; which of the inputs decides it changes with time."""
    value = row[int(now / DRIFT_SECONDS) % 3]
    return value if model == "demand" else int(value > 0)


class Caller(threading.Thread):
    """What runs until it is told to end."""

    def __init__(self, pause: float) -> None:
        super().__init__()
        self.pause = pause
        self.is_over = threading.Event()
        self.failure: Exception | None = None

    def run(self) -> None:
        try:
            while not self.is_over.wait(self.pause):
                self.turn()
        except Exception as error:  # It is the soak's own: whoever ends this thread meets it.
            self.failure = error

    def end(self) -> None:
        """Lets it finish its turn."""
        self.is_over.set()
        self.join()
        if self.failure is not None:
            raise self.failure

    def turn(self) -> None:
        raise NotImplementedError


class Asker(Caller):
    """Asks one app, and leaves some of its answers to be labelled."""

    def __init__(self, app: str, client: Client, seed: int, events: EventLog) -> None:
        super().__init__(PREDICT_PAUSE)
        self.app = app
        self.client = client
        self.events = events
        self.random = np.random.default_rng(seed)
        self.answers = {name: deque[dict[str, Any]](maxlen=20) for name in NAMES}

    def turn(self) -> None:
        model = str(self.random.choice(NAMES))
        rows = self.random.normal(size=(int(self.random.integers(1, 4)), 8)).tolist()
        begin = time.monotonic()
        try:
            answer = self.client.predict(model, rows)
        except DriftlineError as error:
            self.events.write(Failed("predict", self.app, begin, time.monotonic(), describe(error)))
            return
        end = time.monotonic()
        self.events.write(Predicted(self.app, model, begin, end, answer["version"]))
        for row, prediction in zip(rows, answer["predictions"], strict=True):
            label = truth(model, row, end)
            self.answers[model].append({"prediction_id": prediction["id"], "label": label, "row": row})


class Feeder(Caller):
    """Hands in labels through any app: of answers, and with inputs of their own."""

    calls = itertools.count()

    def __init__(
        self, prefix: str, clients: dict[str, Client], askers: list[Asker], seed: int, events: EventLog
    ) -> None:
        super().__init__(FEEDBACK_PAUSE)
        self.prefix = prefix
        self.clients = clients
        self.askers = askers
        self.random = random.Random(seed)
        self.events = events
        self.numbers = itertools.count()
        self.acknowledged: list[tuple[str, str]] = []

    def turn(self) -> None:
        model = self.random.choice(NAMES)
        self.hand_in(model, self._items(model))

    def hand_in(self, model: str, items: list[dict[str, Any]]) -> None:
        """Sends items until they are answered, now and then once more; without its prediction an item brings its inputs."""
        statuses = self._until_answered(model, [sent(item) for item in items])
        taken = [sent(item) for item, status in zip(items, statuses, strict=True) if status in TAKEN]
        lost = [item for item, status in zip(items, statuses, strict=True) if status not in TAKEN and "row" in item]
        self.acknowledged += [(model, identifier(item)) for item in taken]
        if taken and self.random.random() < RESENDS:
            self._until_answered(model, taken, is_known=True)
        if lost:
            whole = [{"id": self._new_id(), "inputs": item["row"], "label": item["label"]} for item in lost]
            self.hand_in(model, whole)

    def _items(self, model: str) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = []
        for asker in self.askers:
            answers = asker.answers[model]
            items += [answers.popleft() for _ in range(min(3, len(answers)))]
        for _ in range(self.random.randint(1, 8)):
            row = [self.random.gauss(0, 1) for _ in range(8)]
            items.append({"id": self._new_id(), "inputs": row, "label": truth(model, row, time.monotonic())})
        return items

    def _new_id(self) -> str:
        return f"{self.prefix}-{next(self.numbers)}"

    def _until_answered(self, model: str, items: list[dict[str, Any]], *, is_known: bool = False) -> list[str]:
        pause = FIRST_RETRY
        while True:
            app, call, begin = self.random.choice(list(self.clients)), next(self.calls), time.monotonic()
            self.events.write(Sent(call, app, model, begin, [identifier(item) for item in items], is_known))
            try:
                answer = self.clients[app].feedback(model, items)
            except DriftlineError as error:
                found = error.details.get("items")
                if found is None:
                    self.events.write(Failed("feedback", app, begin, time.monotonic(), describe(error)))
                    time.sleep(pause)
                    pause = min(2 * pause, LAST_RETRY)
                    continue
            else:
                found = answer["items"]
            statuses = [item["error"]["code"] if item["status"] == "error" else item["status"] for item in found]
            self.events.write(Answered(call, time.monotonic(), statuses))
            return statuses


def sent(item: dict[str, Any]) -> dict[str, Any]:
    """An item without what only this side knows of it."""
    return {name: value for name, value in item.items() if name != "row"}


def identifier(item: dict[str, Any]) -> str:
    """The id that an item goes by."""
    return str(item.get("id") or f"p:{item['prediction_id']}")


def describe(error: DriftlineError) -> str:
    return f"{type(error).__name__} {error.code}: {error.message}"
