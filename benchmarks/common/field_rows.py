"""Rows of fields beside rows of numbers, of one server: what it costs to take rows as an application has them."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from app.json_rows import BodyDecoder
from benchmarks.common.load import closed_loop, request
from benchmarks.common.processes import cpu_seconds
from driftline.client.clients import Client
from driftline.spec import ModelSpec, parse
from tests.services import up

FIELDS = (
    {f"number{n}": "number" for n in range(12)}
    | {f"category{n}": "category" for n in range(6)}
    | {f"flag{n}": "boolean" for n in range(2)}
)
VALUES = 9
ROWS = (1, 32)
CONNECTIONS = 32
LEARNED = 512
REPEATS = 300


@dataclass(frozen=True)
class RowForm:
    """A way to send a row: the inputs of a model, and what makes rows for it."""

    inputs: dict[str, Any]
    rows: Callable[[int], list[Any]]


def _objects(count: int) -> list[Any]:
    random = np.random.default_rng(1)

    def value(kind: str) -> Any:
        if kind == "number":
            return round(float(random.normal()), 4)
        return f"value {random.integers(VALUES)}" if kind == "category" else bool(random.integers(2))

    return [{name: value(kind) for name, kind in FIELDS.items()} for _ in range(count)]


def _numbers(count: int) -> list[Any]:
    numbers: NDArray[np.float64] = np.random.default_rng(1).normal(size=(count, len(FIELDS))).round(4)
    found: list[Any] = numbers.tolist()
    return found


FORMS = {
    "tensors": RowForm({"shape": [len(FIELDS)]}, _numbers),
    "fields": RowForm({"fields": FIELDS}, _objects),
}


def spec_of(form: str, strategy: str) -> dict[str, Any]:
    """A model of this form of rows."""
    classes = ["no", "yes"]
    base = {"name": form, "task": "classification", "classes": classes, "recipe": {"strategy": strategy}}
    return base | {"inputs": FORMS[form].inputs}


def coding_seconds(form: str, rows: int) -> float:
    """Processor time from the bytes of a request to tensors, here and now."""
    decoder, body = BodyDecoder(parse(ModelSpec, spec_of(form, "replay"))), _body(form, rows)
    decoder.decode(body)
    begin = time.process_time()
    for _ in range(REPEATS):
        decoder.decode(body)
    return (time.process_time() - begin) / REPEATS


def measured(strategy: str, rounds: int, seconds: float) -> Iterator[list[Any]]:
    """A line for each number of rows a request; both models are of one server, and take turns.

    Each gives the rate of both, the ratio, the processor time of the app for a request of each, and of the latter, for fields,
    the share that goes into coding.
    """
    with tempfile.TemporaryDirectory(prefix="driftline-") as folder, up(Path(folder)) as instance:
        port, app = urlsplit(instance.url).port or 0, instance.pid("app")
        for form in FORMS:
            instance.client.create_model(spec_of(form, strategy))
            _teach(instance.client, form)
        for rows in ROWS:
            rates: dict[str, list[float]] = {form: [] for form in FORMS}
            costs: dict[str, list[float]] = {form: [] for form in FORMS}
            for _ in range(rounds):
                for form in FORMS:
                    message = request(port, f"/v1/models/{form}/predict", _body(form, rows), JSON)
                    before = cpu_seconds(app)
                    result = closed_loop(port, message, CONNECTIONS, seconds)
                    rates[form].append(result.rate)
                    costs[form].append((cpu_seconds(app) - before) / max(1, result.answered))
            rate, cost = ({form: median(each) for form, each in of.items()} for of in (rates, costs))
            share = coding_seconds("fields", rows) / cost["fields"]
            ratio, work = rate["fields"] / rate["tensors"], cost["tensors"] / cost["fields"]
            yield [f"{strategy}, {rows} rows", *map(round, rate.values()), ratio, *_us(cost), work, share]


JSON = {"content-type": "application/json"}
HEADER = ["", "tensors, /s", "fields, /s", "ratio", "tensors, µs", "fields, µs", "ratio", "coding"]


def _us(cost: dict[str, float]) -> list[float]:
    return [1e6 * each for each in cost.values()]


def _body(form: str, rows: int) -> bytes:
    return json.dumps({"inputs": FORMS[form].rows(rows)}).encode()


def _teach(client: Client, form: str) -> None:
    """Lets a model learn a little, so that its encoder and its experts have something to say."""
    rows = FORMS[form].rows(LEARNED)
    client.feedback(form, [{"inputs": row, "label": ("no", "yes")[n % 2]} for n, row in enumerate(rows)])
    while client.model(form)["waiting"]:
        time.sleep(0.2)
