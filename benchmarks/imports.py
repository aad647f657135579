"""How fast history is imported, and how well it is learned meanwhile: 20 fields, rows a second of processor time.

python -m benchmarks.imports [--rows 20000] [--delays 0 32] [--tasks classification regression] [--served 20000] [--seed 1]

*In process*: the steps that a worker makes over a log that holds all rows, and, beside them, the same rows served and learned
live, each label as late. Both are scored as they were answered. *Served*: a file through `driftline import`, a real server and
a real worker: rows a second by the clock, and of the processor time of each process. All other time is that of the processor.
"""

from __future__ import annotations

import argparse
import csv
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch

from benchmarks.common.processes import cpu_seconds
from benchmarks.common.results import table
from driftline.backtest.replay import play
from driftline.backtest.scores import scores
from driftline.backtest.stream import Stream
from driftline.client.clients import Client
from driftline.files.history import HistoryFile, import_history
from driftline.files.refusals import Refusals
from driftline.ingest.rows import RowReader
from driftline.learning.learner import Learner
from driftline.learning.training.updates_per_step import records_of_step, rows_at_once, updates_for
from driftline.records import Item, Plan
from driftline.spec import ModelSpec, parse
from tests.services import up

NUMBERS, VALUES, FLAGS = 10, (2, 4, 8, 12, 20, 100, 1000), 2
DRIFT_ROWS = 20_000
"""Rows in which the weights of the numbers turn by one radian."""
WARM = 256
"""Rows that are imported before the clock runs: kernels are loaded once a process."""
PUBLISHED_EVERY = 1024
"""Rows from one candidate to the next, about a second of them."""


def spec_of(task: str) -> dict[str, Any]:
    """Ten numbers, seven categories of two to a thousand values, two booleans and a time."""
    fields = {f"number{n}": "number" for n in range(NUMBERS)} | {f"category{n}": "category" for n in range(len(VALUES))}
    fields |= {f"flag{n}": "boolean" for n in range(FLAGS)} | {"time": "time"}
    classes = {"classes": ["no", "yes"]} if task == "classification" else {}
    return {"name": "history", "task": task, "inputs": {"fields": fields}, **classes}


def rows_of(task: str, count: int, seed: int) -> tuple[list[dict[str, Any]], list[Any]]:
    """Rows and labels whose law drifts slowly; one number in twenty is missing."""
    random = np.random.default_rng(seed)
    effects = [random.normal(0, 0.8, values) for values in VALUES[:5]]
    weights = np.array([1.2, -0.8, 0.6, 0.5, -0.4, *[0.0] * (NUMBERS - 5)])
    rows, labels = [], []
    for n in range(count):
        numbers, flags = random.normal(size=NUMBERS), random.random(FLAGS) < 0.4
        categories = [int(random.integers(values)) for values in VALUES]
        turned = weights * np.cos(n / DRIFT_ROWS + 0.3 * np.arange(NUMBERS))
        score = turned @ numbers + 0.7 * numbers[0] * numbers[1] + 0.9 * flags[0] * numbers[2]
        score += sum(effect[value] for effect, value in zip(effects, categories, strict=False)) + random.logistic() / 2
        row: dict[str, Any] = {f"number{i}": round(50 + 10 * float(x), 3) for i, x in enumerate(numbers)}
        row |= {f"category{i}": f"value {value}" for i, value in enumerate(categories)}
        row |= {f"flag{i}": bool(flag) for i, flag in enumerate(flags)} | {"time": 1_600_000_000 + 60 * n}
        if random.random() < 0.05:
            del row["number4"]
        rows.append(row)
        labels.append(("yes" if score > 0 else "no") if task == "classification" else round(float(score), 4))
    return rows, labels


@dataclass(frozen=True)
class Found:
    """Rows a second of processor time, and the scores of what was answered."""

    rate: float
    scores: dict[str, float]


def imported(spec: ModelSpec, items: Sequence[Item], seed: int) -> Found:
    """Learns items of a log as a worker does that finds all of them there."""
    learner, version, first = Learner.create(spec, seed=seed), 1, 0
    begin = time.process_time()
    while first < len(items):
        count = records_of_step(spec.recipe, len(items) - first, len(items) - first)
        end = first + count
        at_once = rows_at_once(spec.recipe, count, learner.learned)
        updates = updates_for(spec.recipe, at_once or count, has_backlog=end < len(items))
        is_published = first // PUBLISHED_EVERY != end // PUBLISHED_EVERY
        plan = Plan(updates, publish=is_published, version=version + 1, at_once=at_once)
        decision = learner.learn(items[first:end], range(first + 1, end + 1), plan).decision
        version += decision is not None and decision.promoted
        learner.digest()
        first = end
    rate = len(items) / (time.process_time() - begin)
    return Found(rate, {name: value for name, value in learner.metrics()["prequential"].items() if value is not None})


def lived(spec: ModelSpec, rows: list[dict[str, Any]], labels: list[Any], delay: int, seed: int) -> Found:
    """Serves the rows and learns them as their labels come."""
    stream = Stream(spec, RowReader(spec).batch(rows), labels)
    begin = time.process_time()
    played = play(stream, spec, delay, seed)
    rate = len(labels) / (time.process_time() - begin)
    found = scores(stream, {"live": played})
    return Found(rate, {name: value["live"] for name, value in found.items() if "live" in value})


def in_process(options: argparse.Namespace) -> Iterator[list[Any]]:
    """A line for each task and delay."""
    for task in options.tasks:
        spec = parse(ModelSpec, spec_of(task))
        rows, labels = rows_of(task, options.rows, options.seed)
        inputs = RowReader(spec).batch(rows)
        for delay in options.delays:
            items = [
                Item(f"row {n}", inputs.item(n), label, route="import", delay=delay) for n, label in enumerate(labels)
            ]
            imported(spec, items[:WARM], options.seed)
            past = imported(spec, items, options.seed)
            live = lived(spec, rows, labels, delay, options.seed)
            names = ("accuracy", "log_loss") if task == "classification" else ("mae", "rmse")
            figures = [each.scores[name] for name in names for each in (past, live)]
            yield [f"{task}, {options.rows:,} rows", delay, round(past.rate), round(live.rate), *figures]


def served(options: argparse.Namespace) -> list[Any]:
    """A file imported through a server: rows a second, and rows a second of each process's processor time."""
    rows, labels = rows_of("classification", options.served, options.seed)
    with tempfile.TemporaryDirectory(prefix="driftline-") as name, up(Path(name)) as instance:
        _wake(instance.client, rows, labels)
        file = Path(name, "history.csv")
        _write(file, rows, labels)
        instance.client.create_model(spec_of("classification"))
        processes = {each: instance.pid(each) for each in ("app", "worker", "valkey")}
        before = {each: cpu_seconds(pid) for each, pid in processes.items()}
        begin = time.perf_counter()
        with Refusals(Path(name, "refused.csv")) as refusals:
            history = HistoryFile(str(file), "label", delay=options.delays[-1])
            outcome = import_history(instance.client, "history", history, refusals, lambda progress: None)
        seconds = time.perf_counter() - begin
        rates = [round(len(rows) / max(1e-9, cpu_seconds(pid) - before[each])) for each, pid in processes.items()]
        found, version = outcome.metrics["prequential"], instance.client.model("history")["version"]
    line = [f"{options.served:,} rows", round(len(rows) / seconds), *rates, found["accuracy"], found["log_loss"]]
    return [*line, version, round(version / seconds, 2)]


def _wake(client: Client, rows: Sequence[Any], labels: Sequence[Any], count: int = 64) -> None:
    """Lets the worker load what it needs for its first model, once for all."""
    client.create_model(spec_of("classification") | {"name": "first"})
    pairs = zip(rows[:count], labels[:count], strict=True)
    client.feedback("first", [{"inputs": row, "label": label} for row, label in pairs])
    while client.model("first")["waiting"]:
        time.sleep(0.2)


def _write(file: Path, rows: Sequence[dict[str, Any]], labels: Sequence[Any]) -> None:
    names = list(parse(ModelSpec, spec_of("classification")).layout.fields.fields)
    with file.open("w", newline="") as opened:
        writer = csv.writer(opened)
        writer.writerow([*names, "label"])
        writer.writerows([[*(row.get(name) for name in names), label] for row, label in zip(rows, labels, strict=True)])


def main() -> None:
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--delays", type=int, nargs="+", default=[0, 32])
    parser.add_argument("--tasks", nargs="+", default=["classification", "regression"])
    parser.add_argument("--served", type=int, default=20_000, help="rows of the file that is imported; 0: none")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if options.rows:
        header = [
            "in process",
            "delay",
            "import, rows/s",
            "live, rows/s",
            "accuracy / MAE",
            "live",
            "log loss / RMSE",
            "live",
        ]
        print(table(header, list(in_process(options))), flush=True)
    if options.served:
        header = [
            "served",
            "rows/s",
            "of the app",
            "of the worker",
            "of valkey",
            "accuracy",
            "log loss",
            "versions",
            "a second",
        ]
        print("\n" + table(header, [served(options)]))


if __name__ == "__main__":
    main()
