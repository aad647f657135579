"""What the examples share: training and asking a model over HTTP, pulling a lever on it, and the table of the results."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from driftline.client.clients import Client
from driftline.errors import DriftlineError
from driftline.networks.build import build
from driftline.spec import ModelSpec, parse

ROWS_A_REQUEST = 200


def part(inputs: Any, rows: slice) -> Any:
    """Some rows of an array, or of each of several by name."""
    return {name: array[rows] for name, array in inputs.items()} if isinstance(inputs, Mapping) else inputs[rows]


def slices(count: int) -> list[slice]:
    return [slice(first, min(first + ROWS_A_REQUEST, count)) for first in range(0, count, ROWS_A_REQUEST)]


def answers(client: Client, model: str, inputs: Any, count: int) -> np.ndarray:
    """The answers of the live version to ``count`` rows: labels, or values."""
    rows = [row for chosen in slices(count) for row in client.predict(model, part(inputs, chosen))["predictions"]]
    return np.array([row.get("label", row.get("value")) for row in rows])


def teach(client: Client, model: str, inputs: Any, labels: np.ndarray) -> None:
    """A stream: rows are predicted, then their labels come; at the end all of them are learned and served."""
    for chosen in slices(len(labels)):
        given = client.predict(model, part(inputs, chosen))["predictions"]
        pairs = zip(given, labels[chosen].tolist(), strict=True)
        done = client.feedback(model, [{"prediction_id": row["id"], "label": label} for row, label in pairs])
        assert done["accepted"] == len(given), done
        last = done["items"][-1]["id"]
    assert last is not None
    client.wait_served(model, last, timeout=600)


def pull(client: Client, model: str, lever: Mapping[str, Any], epochs: int) -> dict[str, Any]:
    """A retrain with ``edits`` or another ``recipe``; returns whether it was promoted, why, and its seconds."""
    began = time.monotonic()
    job = client.wait_for_job(client.retrain(model, epochs=epochs, **lever))
    if job["state"] == "succeeded" and job["promoted"] and job["version"] is not None:
        while client.predict(model, example(client, model))["version"] < job["version"]:
            time.sleep(0.05)
    report = job.get("report") or {}
    return {
        "promoted": bool(job.get("promoted")),
        "reason": report.get("reason", job["state"]),
        "seconds": time.monotonic() - began,
    }


def roll_back(client: Client, model: str, version: int) -> int:
    """Rolls back to ``version``; returns the number of the new live version."""
    before = client.model(model)["version"]
    client.rollback(model, version)
    while (now := client.predict(model, example(client, model))["version"]) <= before:
        time.sleep(0.05)
    return now


class Pulled(NamedTuple):
    """A lever, the metric before it and with it live, and the result of the job."""

    name: str
    before: Any
    after: Any
    promoted: bool
    seconds: str


def pull_each(
    client: Client, model: str, levers: Mapping[str, Mapping[str, Any]], epochs: int, measure: Callable[[], Any]
) -> Iterator[Pulled]:
    """Pulls one lever after the other, each from the version that is live now, with a rollback to it after each."""
    shown = client.model(model)
    base, recipe = shown["version"], shown["spec"]["recipe"]
    for name, lever in levers.items():
        before, done = measure(), pull(client, model, lever, epochs)
        yield Pulled(name, before, measure(), done["promoted"], f"{done['seconds']:.1f}")
        base = roll_back(client, model, base)
        if changed := {part: recipe[part] for part in lever.get("recipe", {})}:
            client.change_recipe(model, changed)


def parameters(client: Client, model: str, factories: Sequence[str] = (), *, only_trained: bool = False) -> int:
    """The number of parameters of the live network, or of those that are trained."""
    spec = parse(ModelSpec, client.model(model)["spec"])
    built = build(spec, spec.known_classes(), factories=factories)
    both = (*built.network.parameters(), *built.output.parameters())
    return sum(parameter.numel() for parameter in both if parameter.requires_grad or not only_trained)


def example(client: Client, model: str) -> Any:
    """A row of zeros."""
    inputs = client.model(model)["spec"]["inputs"]
    if "shape" in inputs:
        return np.zeros((1, *inputs["shape"]), inputs["dtype"])
    return {name: np.zeros((1, *tensor["shape"]), tensor["dtype"]) for name, tensor in inputs.items()}


class Load:
    """A client that asks a model all the time: ``asked`` and ``failed`` requests, and the ``versions`` that answered."""

    def __init__(self, url: str, model: str) -> None:
        self.url, self.model = url, model
        self.asked, self.failed, self.versions = 0, 0, set[int]()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _ask(self) -> None:
        with Client(self.url) as client:
            row = example(client, self.model)
            while not self._is_over.wait(0.01):
                self.asked += 1
                try:
                    self.versions.add(client.predict(self.model, row)["version"])
                except DriftlineError:
                    self.failed += 1

    def __str__(self) -> str:
        return f"{self.asked} requests beside it, {self.failed} failed; {len(self.versions)} versions answered"


def show(title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Rows as a table."""
    table = Table(title=title)
    for name in rows[0]:
        table.add_column(name, justify="left" if name == next(iter(rows[0])) else "right")
    for row in rows:
        table.add_row(*(_text(value) for value in row.values()))
    Console(width=110).print(table)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
