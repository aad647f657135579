"""Labels until accuracy has recovered from a sudden drift, beside a model that is retrained on the latest labels.

A random network gives the class of a row; in the middle of the stream another one takes its place. Accuracy has recovered at
the first label after the drift from which it is, over 250 rows, within a point of its mean over the 1,000 rows before.
"""

from __future__ import annotations

import math
import statistics
import time
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from benchmarks.common.results import cached, our_state, table
from benchmarks.learn.options import Options
from benchmarks.learn.synthetic import synthetic_stream
from driftline.backtest import replay as harness
from driftline.backtest.stream import Stream
from driftline.learning.retraining.recipe_changes import changed_recipe
from driftline.spec.parts.strategies import STRATEGIES

DELAY = 32
USUAL_ROWS = 12_000
FEATURES, CLASSES = 10, 3
BEFORE, WINDOW, MARGIN = 1000, 250, 0.01
SLIDING = (500, 1000, 2000, 4000)
RETRAIN_EVERY = 250
EPOCHS = 20


def tables(options: Options) -> list[str]:
    """Accuracy before the drift, the lowest after it, labels until recovery, and accuracy over all."""
    makers: dict[str, Any] = {}
    for name in STRATEGIES.parts:
        makers[name] = lambda stream, seed, name=name: ours(stream, {"strategy": name}, seed)
    for size in SLIDING:
        makers[f"retrained on the last {size:,}"] = lambda stream, seed, size=size: sliding(stream, size, seed)
    rows = [_row(options, name, make) for name, make in makers.items() if options.wants(name)]
    header = ["", "before", "lowest", "labels until back", "not back", "over all", "rows a second"]
    title = f"A sudden drift, labels {DELAY} rows later, means of {options.seeds} seeds:"
    return [title, table(header, rows)]


def _row(options: Options, name: str, make: Any) -> list[Any]:
    size = options.rows or USUAL_ROWS

    def measure(seed: int) -> dict[str, Any]:
        stream = synthetic_stream(size, FEATURES, CLASSES, seed, changes=1)
        begin = time.perf_counter()
        hits = make(stream, seed)
        return figures(hits) | {"rate": len(stream) / (time.perf_counter() - begin)}

    state = "" if name.startswith("retrained") else our_state()
    seeds = range(options.seeds)
    found = [
        cached(options.results, [name, "recovery", size, state, seed], lambda seed=seed: measure(seed))
        for seed in seeds
    ]
    back = [result["back"] for result in found if result["back"] is not None]
    means = {key: statistics.fmean(result[key] for result in found) for key in ("before", "lowest", "all", "rate")}
    labels = round(statistics.fmean(back)) if back else None
    return [name, means["before"], means["lowest"], labels, len(found) - len(back), means["all"], round(means["rate"])]


def figures(hits: NDArray[np.float64]) -> dict[str, Any]:
    """The figures of the right and wrong answers to a stream with a drift in its middle."""
    middle = math.ceil(len(hits) / 2)
    before = float(hits[max(0, middle - BEFORE) : middle].mean())
    after = np.convolve(hits[middle:], np.ones(WINDOW) / WINDOW, mode="valid")
    is_back = np.flatnonzero(after >= before - MARGIN)
    back = int(is_back[0]) if len(is_back) else None
    return {"before": before, "lowest": float(after.min()), "back": back, "all": float(hits.mean())}


def ours(stream: Stream, recipe: dict[str, Any], seed: int) -> NDArray[np.float64]:
    """The answers of Driftline, right (1) or wrong."""
    torch.set_num_threads(1)
    played = harness.play(stream, changed_recipe(stream.spec, recipe), DELAY, seed)
    return np.array([float(a == b) for a, b in zip(played.answers, stream.labels, strict=True)])


def sliding(stream: Stream, size: int, seed: int) -> NDArray[np.float64]:
    """The answers of a network that is trained from scratch on the last ``size`` labels, every 250 labels."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rows, labels = torch.from_numpy(stream.inputs.tensors["inputs"]), torch.tensor(stream.labels)
    answers = torch.full((len(rows),), -1)
    for first in range(DELAY + RETRAIN_EVERY, len(rows), RETRAIN_EVERY):
        known = slice(max(0, first - DELAY - size), first - DELAY)
        module = trained(rows[known], labels[known])
        with torch.inference_mode():
            answers[first : first + RETRAIN_EVERY] = module(rows[first : first + RETRAIN_EVERY]).argmax(1)
    return (answers == labels).double().numpy()


def trained(rows: torch.Tensor, labels: torch.Tensor) -> nn.Module:
    """A network of the default shape after 20 epochs."""
    hidden = [nn.Linear(FEATURES, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU()]
    module = nn.Sequential(*hidden, nn.Linear(64, CLASSES))
    optimizer = torch.optim.AdamW(module.parameters(), 3e-3)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(rows)).split(32):
            optimizer.zero_grad()
            nn.functional.cross_entropy(module(rows[batch]), labels[batch]).backward()
            optimizer.step()
    return module
