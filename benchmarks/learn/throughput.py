"""Labels a second: the cost of gate, scores and digests beside a loop that is written by hand and makes the same
number of updates; and each strategy beside ``replay``. 32 rows are answered, then their labels are learned, on one thread.
"""

from __future__ import annotations

import time
from typing import Any

import torch

from benchmarks.common.results import cached, our_state, table
from benchmarks.learn.options import Options
from benchmarks.learn.replay_loop import ReplayLoop
from benchmarks.learn.synthetic import synthetic_stream
from driftline.backtest.replay import Service
from driftline.backtest.stream import Stream
from driftline.learning.learner import Learner
from driftline.learning.retraining.recipe_changes import changed_recipe
from driftline.learning.training.updates_per_step import updates_for
from driftline.spec import Recipe
from driftline.spec.parts.strategies import STRATEGIES

BATCH = 32
USUAL_ROWS = 10_000
SHAPES = ((8, 2), (784, 10))


def tables(options: Options) -> list[str]:
    """Labels a second by strategy and size of a row, each also relative to ``replay``."""
    header, rows = [""], []
    columns: list[dict[str, float]] = []
    for features, classes in SHAPES:
        stream = synthetic_stream(options.rows or USUAL_ROWS, features, classes, seed=1)
        columns.append(_rates(options, stream, features, classes))
        header += [f"{features} numbers, {classes} classes", "to replay"]
    for name in columns[0]:
        cells = [(round(column[name]), f"{column[name] / column['replay']:.2f}") for column in columns]
        rows.append([name, *(cell for pair in cells for cell in pair)])
    return ["Labels a second:", table(header, rows)]


def _rates(options: Options, stream: Stream, features: int, classes: int) -> dict[str, float]:
    shape = [len(stream), features, classes]
    by_hand = cached(options.results, ["by hand", *shape], lambda: {"rate": loop(stream, features, classes)})
    found = {"by hand": by_hand["rate"]}
    for name in STRATEGIES.parts:
        what = [name, *shape, our_state()]
        found[name] = cached(options.results, what, lambda name=name: {"rate": learner(stream, {"strategy": name})})[
            "rate"
        ]
    return found


def learner(stream: Stream, recipe: dict[str, Any]) -> float:
    """Labels a second of Driftline: it answers, scores, holds out and learns; each step puts a candidate to the gate."""
    torch.set_num_threads(1)
    service = Service(Learner.create(changed_recipe(stream.spec, recipe), seed=0), stream)
    begin = time.perf_counter()
    while service.learned < len(stream):
        service.step(min(BATCH, len(stream) - service.learned))
    return len(stream) / (time.perf_counter() - begin)


def loop(stream: Stream, features: int, classes: int) -> float:
    """Labels a second of the loop that is written by hand."""
    torch.set_num_threads(1)
    recipe = Recipe()
    by_hand = ReplayLoop((features,), classes, recipe.memory.size, seed=0)
    rows, labels = torch.from_numpy(stream.inputs.tensors["inputs"]), torch.tensor(stream.labels)
    begin = time.perf_counter()
    for first in range(0, len(rows), BATCH):
        batch = slice(first, first + BATCH)
        by_hand.predict(rows[batch])
        by_hand.learn(rows[batch], labels[batch], updates_for(recipe, BATCH))
    return len(rows) / (time.perf_counter() - begin)
