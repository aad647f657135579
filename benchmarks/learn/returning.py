"""Concepts that return: what it is worth that former mixtures sleep, and are woken where they are true again.

Three random networks give the class of a row, one after the other and again, each for 500 rows, three times. Abrupt: the next
one begins at once; gradual: over 200 rows ever more rows are its. Beside these a stream whose every part has a network of its
own, and Elec2: nothing is to be lost where nothing returns. Accuracy over all rows; over the first, second and third time of
the three; and over the first 200 rows of each part after the first time.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.common.results import cached, our_state, table
from benchmarks.learn.options import Options
from benchmarks.learn.streams import file_of, read
from benchmarks.learn.synthetic import network_classes
from driftline.backtest import replay as harness
from driftline.backtest.stream import Stream
from driftline.learning.retraining.recipe_changes import changed_recipe
from driftline.rows.rows import Rows
from driftline.spec import ModelSpec, parse

DELAYS = (0, 32)
FEATURES, CLASSES = 10, 3
PART, CONCEPTS, ROUNDS = 500, 3, 3
GRADUAL = 200
BEGIN = 200
RECIPES: dict[str, dict[str, Any]] = {
    "with": {},
    "without": {"strategy": {"name": "experts", "sleeping": 0}},
}
STREAMS = {"abrupt": (True, 1), "gradual": (True, GRADUAL), "never": (False, 1)}


def tables(options: Options) -> list[str]:
    """A row for each stream, delay and recipe."""
    header = [
        "stream",
        "delay",
        "sleeping",
        "over all",
        "first",
        "second",
        "third",
        "begin",
        "returned",
        "rows a second",
    ]
    rows = [
        [stream, delay, recipe, *_measured(options, stream, delay, recipe)]
        for stream in (*STREAMS, "Elec2")
        if options.wants(stream)
        for delay in DELAYS
        for recipe in RECIPES
    ]
    return [f"Means of {options.seeds} seeds:", table(header, rows)]


def _measured(options: Options, name: str, delay: int, recipe: str) -> list[Any]:
    def measure(seed: int) -> dict[str, Any]:
        if name in STREAMS:
            returns, steps = STREAMS[name]
            stream = returning_stream(seed, returns, steps)
        else:
            stream = read(file_of(options, name))
        return play(stream, RECIPES[recipe], delay, seed)

    what = ["returning", name, delay, recipe, options.rows or "all", our_state()]
    found = [cached(options.results, [*what, seed], lambda seed=seed: measure(seed)) for seed in range(options.seeds)]
    means = {key: statistics.fmean(result[key] for result in found) for key in found[0]}
    own = ("first", "second", "third", "begin") if name in STREAMS else ()
    parts = [means[key] for key in own] or [None] * 4
    return [means["all"], *parts, means["returned"], round(means["rate"])]


def returning_stream(seed: int, returns: bool, steps: int) -> Stream:
    """Rows with the classes of one random network after the other; each replaces the former over so many rows.

    Args:
        returns: whether the three are the same in each round.
    """
    random = np.random.default_rng(seed)
    count = CONCEPTS * ROUNDS
    inputs = random.normal(size=(count * PART, FEATURES)).astype(np.float32)
    made = [network_classes(random, FEATURES, CLASSES, inputs) for _ in range(CONCEPTS if returns else count)]
    of_part = np.arange(count) % len(made)
    rows = np.arange(len(inputs))
    share = np.clip((rows % PART + 1) / steps, 0, 1)
    part = rows // PART
    is_new = (random.random(len(rows)) < share) | (part == 0)
    concept = of_part[np.where(is_new, part, part - 1)]
    labels = np.stack(made)[concept, rows]
    spec = {"name": "m", "task": "classification", "inputs": {"shape": [FEATURES]}, "classes": "open"}
    return Stream(parse(ModelSpec, spec), Rows({"inputs": inputs}), labels.tolist())


def play(stream: Stream, recipe: dict[str, Any], delay: int, seed: int) -> dict[str, Any]:
    """The accuracy of Driftline over a stream and its parts."""
    torch.set_num_threads(1)
    service = harness.Service(harness.Learner.create(changed_recipe(stream.spec, recipe), seed=seed), stream, delay)
    begin = time.perf_counter()
    while (count := service.next_step()) is not None:
        service.step(count)
    service.serve(len(stream))
    seconds = time.perf_counter() - begin
    hits = np.array([float(a == b) for a, b in zip(service.played.answers, stream.labels, strict=True)])
    returned = service.learner.metrics().get("returned", 0)
    figures = {"all": float(hits.mean()), "returned": returned, "alarms": len(service.played.alarms)}
    return figures | {"rate": len(hits) / seconds} | by_round(hits)


def by_round(hits: NDArray[np.float64]) -> dict[str, Any]:
    """The means over each round, and over the first rows of each part of the later ones."""
    parts = hits[: CONCEPTS * ROUNDS * PART].reshape(-1, PART) if len(hits) >= CONCEPTS * ROUNDS * PART else hits[None]
    rounds: Sequence[NDArray[np.float64]] = np.array_split(parts, ROUNDS)
    found = dict(
        zip(("first", "second", "third"), (float(each.mean()) if each.size else 0.0 for each in rounds), strict=True)
    )
    return found | {"begin": float(parts[len(parts) // ROUNDS :, :BEGIN].mean())}
