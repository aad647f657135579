"""Ablation: by how many points accuracy changes without each part, on the streams of the tabular table.

A member of the mixture is left out by answering nothing: its log-probabilities count as equal.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from itertools import accumulate
from typing import Any
from unittest import mock

from torch import Tensor

from benchmarks.common.results import table
from benchmarks.learn.options import Options
from benchmarks.learn.streams import files, played
from benchmarks.learn.tabular import DELAYS
from driftline.networks.experts.mixture import Mixture
from driftline.spec import Recipe

RECIPES: dict[str, dict[str, Any]] = {
    "gate": {"gate": {"mode": "off", "holdout": 0.0}},
    "drift detector": {"detector": "none"},
    "memory": {"memory": {"size": 0}},
    "memory, but for 500": {"memory": {"size": 500}},
    "updates, but for one a batch": {"updates": 1},
    "updates, twice as many": {"updates": 2 * Recipe().updates},
    "mixture: the network alone": {"strategy": "replay"},
}


@cache
def members() -> dict[str, slice]:
    """The rows of a trace that belong to each kind of member."""
    mixture = Mixture(features=1, classes=2, seed=0, with_network=True)
    assert mixture.trees is not None
    sizes = {
        "boosted trees": mixture.trees.members,
        "ridge regressions": mixture.ridge.members,
        "small networks": mixture.bank.members,
        "nearest neighbours": mixture.neighbours.members,
        "label chain": 1,
        "label frequencies": mixture.labels.members - 1,
        "network": int(mixture.with_network),
    }
    ends = list(accumulate(sizes.values()))
    assert ends[-1] == mixture.members
    return {name: slice(end - size, end) for (name, size), end in zip(sizes.items(), ends, strict=True)}


@contextmanager
def silenced(rows: slice) -> Iterator[None]:
    """Lets the members at these rows of a trace say nothing."""
    whole, mix = Mixture.forward, Mixture.mix

    def mixed(mixture: Mixture, trace: Tensor) -> Tensor:
        trace[:, rows] = 0
        return mix(mixture, trace)

    def forward(mixture: Mixture, *arguments: Any, **named: Any) -> tuple[Tensor, Tensor]:
        logits, trace = whole(mixture, *arguments, **named)
        return mixture.columns.widened(mixed(mixture, trace)) if mixture.columns.is_complete else logits, trace

    with mock.patch.multiple(Mixture, forward=forward, mix=mixed):
        yield


def tables(options: Options) -> list[str]:
    """The change of accuracy by part: its mean over the streams at each delay, and the stream that loses most."""
    streams = files(options)
    whole = {(name, delay): _accuracy(options, name, file, delay) for name, file in streams.items() for delay in DELAYS}
    rows = []
    for part in [*RECIPES, *members()]:
        points = {
            (name, delay): 100 * (_accuracy(options, name, file, delay, part) - whole[name, delay])
            for name, file in streams.items()
            for delay in DELAYS
        }
        means = [statistics.fmean(points[name, delay] for name in streams) for delay in DELAYS]
        most = min(points, key=lambda place: points[place])
        rows.append([part, *map(_points, means), f"{most[0]}, {most[1]}: {_points(points[most])}"])
    accuracies = [statistics.fmean(whole[name, delay] for name in streams) for delay in DELAYS]
    title = (
        f"With all parts the mean accuracy is {' and '.join(f'{accuracy:.4f}' for accuracy in accuracies)}. Without:"
    )
    return [title, table(["", *(f"delay {delay}" for delay in DELAYS), "loses most"], rows)]


def _points(change: float) -> str:
    return f"{change:+.2f}"


def _accuracy(options: Options, stream: str, file: Any, delay: int, part: str = "") -> float:
    """Of the default without a part; of all where none is named."""
    with silenced(members()[part]) if part in members() else nullcontext():
        return float(played(options, stream, file, RECIPES.get(part, {}), delay, part)["accuracy"])
