"""Fashion-MNIST in one pass, as five tasks one after the other, with a memory of 500, 2,000 and 5,000 examples.

Split: two new classes a task, and nobody says which task an image is of. Permuted: all ten classes, and the pixels in
another order for each task. Batches of ten; each is predicted, then learned with one update.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.common.environments import Unavailable, interpreter
from benchmarks.common.fashion import Images, load
from benchmarks.common.results import ROOT, cached, our_state, peer, table
from benchmarks.learn.options import Options
from benchmarks.learn.replay_loop import ReplayLoop
from benchmarks.learn.streams import mean
from driftline.backtest.replay import Service, predict
from driftline.backtest.stream import Stream
from driftline.learning.learner import Learner
from driftline.records import Plan
from driftline.rows.rows import Rows
from driftline.spec import ModelSpec, parse

BATCH = 10
TASKS = 5
MEMORIES = (500, 2000, 5000)
OURS: dict[str, dict[str, Any]] = {"Driftline": {}, "replay": {"strategy": "replay"}}
PEERS = ("ER", "ER-ACE", "MIR", "DER++")
AVALANCHE = ROOT / "benchmarks" / "peers" / "requirements-avalanche.txt"


@dataclass(frozen=True)
class Tasks:
    """A stream of tasks: ``ends`` is the first row after each, ``tests`` are their test sets."""

    stream: Images
    ends: list[int]
    tests: list[Images]


class Contender(Protocol):
    """A learner of images."""

    def predict(self, rows: NDArray[np.float32]) -> NDArray[np.int64]: ...

    def learn(self, first: int, last: int) -> None: ...


def tables(options: Options) -> list[str]:
    """Accuracy after the last task, of the answers on the way, and how much was forgotten."""
    train, test = load(options.fashion)
    if options.rows:
        train = train.take(np.random.default_rng(0).permutation(len(train.labels))[: options.rows])
    parts = []
    for title, make in (("Split", split), ("Permuted", permuted)):
        tasks = make(train, test)
        rows = [_row(options, title, name, memory, tasks) for memory in MEMORIES for name in _names(options)]
        header = ["", "memory", "final", "prequential", "forgetting", "images a second"]
        parts += [f"{title} Fashion-MNIST:", table(header, [row for row in rows if row is not None])]
    return parts


def split(train: Images, test: Images) -> Tasks:
    """Two classes a task."""
    chosen = [(2 * task, 2 * task + 1) for task in range(TASKS)]
    stream = [train.take(np.flatnonzero(np.isin(train.labels, pair))) for pair in chosen]
    return _joined(stream, [test.take(np.flatnonzero(np.isin(test.labels, pair))) for pair in chosen])


def permuted(train: Images, test: Images) -> Tasks:
    """Ten classes a task, with pixels of its own order; each image comes in one task."""
    orders = [np.random.default_rng(task).permutation(28 * 28) for task in range(TASKS)]
    shares = [train.take(np.arange(task, len(train.labels), TASKS)) for task in range(TASKS)]
    pairs = zip(shares, orders, strict=True)
    return _joined([_reordered(share, order) for share, order in pairs], [_reordered(test, order) for order in orders])


def _reordered(images: Images, order: NDArray[np.int64]) -> Images:
    return Images(images.rows.reshape(-1, 28 * 28)[:, order].reshape(-1, 28, 28), images.labels)


def _joined(stream: list[Images], tests: list[Images]) -> Tasks:
    ends = np.cumsum([len(task.labels) for task in stream]).tolist()
    rows, labels = np.concatenate([task.rows for task in stream]), np.concatenate([task.labels for task in stream])
    return Tasks(Images(np.ascontiguousarray(rows), labels), ends, tests)


def play(contender: Contender, tasks: Tasks) -> dict[str, Any]:
    """``{"prequential", "accuracies", "rate"}``: of the answers on the way; of each test after each task; images a second."""
    right, accuracies, labels, seconds = 0, [], tasks.stream.labels, 0.0
    for begin, end in zip([0, *tasks.ends], tasks.ends, strict=False):
        started = time.perf_counter()
        for first in range(begin, end, BATCH):
            last = min(first + BATCH, end)
            right += int((contender.predict(tasks.stream.rows[first:last]) == labels[first:last]).sum())
            contender.learn(first, last)
        seconds += time.perf_counter() - started
        accuracies.append([float((contender.predict(test.rows) == test.labels).mean()) for test in tasks.tests])
    return {"prequential": right / len(labels), "accuracies": accuracies, "rate": len(labels) / seconds}


def figures(result: dict[str, Any]) -> dict[str, float]:
    """Final accuracy over all tasks; prequential; and forgetting, the loss from each former task's best (Chaudhry 2018)."""
    accuracies = np.array(result["accuracies"])
    last = accuracies[-1]
    best = [accuracies[task:, task].max() for task in range(len(last) - 1)]
    return {
        "final": float(last.mean()),
        "prequential": result["prequential"],
        "forgetting": float(np.mean(best - last[:-1])),
        "rate": result["rate"],
    }


class Ours:
    """Driftline's learner, with a candidate to the gate after every batch."""

    def __init__(self, recipe: dict[str, Any], memory: int, tasks: Tasks, seed: int) -> None:
        whole = {"batch_size": BATCH, "updates": 1, "memory": {"size": memory}, **recipe}
        spec = {
            "name": "m",
            "task": "classification",
            "inputs": {"shape": [28, 28]},
            "classes": "open",
            "recipe": whole,
        }
        parsed = parse(ModelSpec, spec)
        self.stream = Stream(parsed, Rows({"inputs": tasks.stream.rows}), tasks.stream.labels.tolist())
        self.service = Service(Learner.create(parsed, seed=seed), self.stream)

    def predict(self, rows: NDArray[np.float32]) -> NDArray[np.int64]:
        classes = np.array([*self.service.classes, -1])
        outputs, _ = predict(self.service.learner, Rows({"inputs": rows}))
        return classes[outputs.argmax(1) if outputs.shape[1] else np.full(len(rows), -1)]

    def learn(self, first: int, last: int) -> None:
        self.service.serve(last)
        self.service.learn(last - first, Plan(updates=1, publish=True))


class Loop:
    """The loop written by hand."""

    def __init__(self, memory: int, tasks: Tasks, seed: int) -> None:
        self.loop = ReplayLoop((28, 28), 10, memory, seed)
        self.rows, self.labels = torch.from_numpy(tasks.stream.rows), torch.from_numpy(tasks.stream.labels)

    def predict(self, rows: NDArray[np.float32]) -> NDArray[np.int64]:
        return self.loop.predict(torch.from_numpy(rows)).numpy()

    def learn(self, first: int, last: int) -> None:
        self.loop.learn(self.rows[first:last], self.labels[first:last], updates=1)


def _names(options: Options) -> list[str]:
    ours = [*OURS, "by hand"]
    return [name for name in (*ours, *(f"Avalanche {peer}" for peer in PEERS)) if options.wants(name)]


def _row(options: Options, title: str, name: str, memory: int, tasks: Tasks) -> list[Any] | None:
    """A contender's figures, or the reason why it is not available here."""
    try:
        results = [_measured(options, title, name, memory, tasks, seed) for seed in range(options.seeds)]
    except (RuntimeError, Unavailable) as reason:
        return [name, memory, str(reason), None, None, None]
    found = mean([figures(result) for result in results])
    return [name, memory, found["final"], found["prequential"], found["forgetting"], round(found["rate"])]


def _measured(options: Options, title: str, name: str, memory: int, tasks: Tasks, seed: int) -> dict[str, Any]:
    state = our_state() if name in OURS else ""
    what = [name, title, memory, options.rows or "all", state, seed]
    return cached(options.results, what, lambda: _measure(options, title, name, memory, tasks, seed))


def _measure(options: Options, title: str, name: str, memory: int, tasks: Tasks, seed: int) -> dict[str, Any]:
    torch.set_num_threads(1)
    if name in OURS:
        return play(Ours(OURS[name], memory, tasks, seed), tasks)
    if name == "by hand":
        return play(Loop(memory, tasks, seed), tasks)
    file = options.results / f"{title}-{options.rows or 'all'}.npz"
    if not file.exists():
        save(tasks, file)
    python = interpreter("avalanche", AVALANCHE, options.environments)
    return peer(python, "avalanche", name.removeprefix("Avalanche "), str(file), str(memory), str(seed))


def save(tasks: Tasks, file: Path) -> None:
    """For a peer's program."""
    tests = {f"test_rows{number}": test.rows for number, test in enumerate(tasks.tests)}
    truths = {f"test_labels{number}": test.labels for number, test in enumerate(tasks.tests)}
    np.savez(file, rows=tasks.stream.rows, labels=tasks.stream.labels, ends=tasks.ends, **tests, **truths)
