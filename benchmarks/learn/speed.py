"""Labels a second of processor time, on one thread: rows of 20 numbers, two classes or a number to foresee, each label learned
by itself at once, or 32 rows late as the product takes them, beside River's adaptive random forest of ten trees. The
contenders take turns.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.common.environments import Unavailable
from benchmarks.common.results import table
from benchmarks.learn.options import Options
from benchmarks.learn.synthetic import synthetic_stream, synthetic_values
from driftline.backtest.replay import Service
from driftline.backtest.stream import Stream
from driftline.learning.learner import Learner
from driftline.learning.retraining.recipe_changes import changed_recipe

FEATURES, CLASSES = 20, 2
DELAYS = (0, 32)
TURN = 250
WARM = 500
"""Labels that are learned before the clock runs."""
OURS: dict[str, dict[str, Any]] = {"Driftline": {}, "replay": {"strategy": "replay"}}
Turn = Callable[[int], None]


def tables(options: Options) -> list[str]:
    """Labels a second by contender and delay, each also relative to the forest."""
    count = max(options.rows or 4000, WARM + 2 * TURN)
    streams = {
        "classification": synthetic_stream(count, FEATURES, CLASSES, seed=1),
        "regression": synthetic_values(count, FEATURES, seed=1),
    }
    return [_table(task, stream) for task, stream in streams.items()]


def _table(task: str, stream: Stream) -> str:
    columns = {delay: rates(stream, delay) for delay in DELAYS}
    header = [task, *(title for delay in DELAYS for title in (f"delay {delay}", "to ARF"))]
    rows = []
    for name in columns[0]:
        pairs = [(round(found[name]), f"{found[name] / found['ARF']:.2f}") for found in columns.values()]
        rows.append([name, *(cell for pair in pairs for cell in pair)])
    return table(header, rows)


def rates(stream: Stream, delay: int) -> dict[str, float]:
    """Labels a second of processor time by contender."""
    torch.set_num_threads(1)
    turns: dict[str, Turn] = {name: ours(stream, recipe, delay) for name, recipe in OURS.items()}
    turns["ARF"] = forest(stream, delay)
    seconds = dict.fromkeys(turns, 0.0)
    for turn in turns.values():
        turn(WARM)
    ends = range(WARM + TURN, len(stream) - 2 * max(delay, 1), TURN)
    for end in ends:
        for name, turn in turns.items():
            begin = time.process_time()
            turn(end)
            seconds[name] += time.process_time() - begin
    return {name: len(ends) * TURN / taken for name, taken in seconds.items()}


def ours(stream: Stream, recipe: dict[str, Any], delay: int) -> Turn:
    """What plays the stream through the learner until so many labels are learned."""
    service = Service(Learner.create(changed_recipe(stream.spec, recipe), seed=0), stream, delay)

    def turn(end: int) -> None:
        while service.learned < end and (count := service.next_step()) is not None:
            service.step(count)

    return turn


def forest(stream: Stream, delay: int) -> Turn:
    """The same with River's forest."""
    try:
        from river.forest import ARFClassifier, ARFRegressor
    except ImportError:
        raise Unavailable("river is not installed: pip install 'driftline[river]'") from None
    kind = ARFRegressor if stream.spec.task == "regression" else ARFClassifier
    model: Any = kind(n_models=10, seed=0)
    rows = [dict(enumerate(row)) for row in stream.inputs.tensors["inputs"].tolist()]
    done = 0

    def turn(end: int) -> None:
        nonlocal done
        for number in range(done, end):
            model.predict_one(rows[number + delay])
            model.learn_one(rows[number], stream.labels[number])
        done = end

    return turn
