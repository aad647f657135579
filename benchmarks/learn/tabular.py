"""Accuracy on tabular streams, beside River's ensembles of ten models, with labels at once and after 32 rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.common.results import cached, peer, table
from benchmarks.learn.options import Options
from benchmarks.learn.streams import files, mean, played, river

DELAYS = (0, 32)
PEERS = ("ARF", "SRP", "LeveragingBagging", "AMF")
OURS: dict[str, dict[str, Any]] = {"Driftline": {}, "replay": {"strategy": "replay"}}


def tables(options: Options) -> list[str]:
    """Accuracy and rows a second, by stream and delay."""
    names = [name for name in (*OURS, *PEERS) if options.wants(name)]
    accuracies, speeds = [], []
    for stream, file in files(options).items():
        for delay in DELAYS:
            results = {name: _measured(options, name, stream, file, delay) for name in names}
            no_change = played(options, stream, file, OURS["Driftline"], delay)["no_change"]
            accuracies.append([stream, delay, no_change, *(results[name]["accuracy"] for name in names)])
            speeds.append([stream, delay, *(round(results[name]["rows_per_second"]) for name in names)])
    return [
        "Accuracy, test then train:",
        table(["stream", "delay", "no change", *names], [*accuracies, _means(accuracies)]),
        "Rows a second, on one thread:",
        table(["stream", "delay", *names], speeds),
    ]


def _measured(options: Options, name: str, stream: str, file: Path, delay: int) -> dict[str, float]:
    if name in OURS:
        return played(options, stream, file, OURS[name], delay)
    return mean([_peer(options, name, stream, file, delay, seed) for seed in range(options.seeds)])


def _peer(options: Options, name: str, stream: str, file: Path, delay: int, seed: int) -> dict[str, Any]:
    python = river(options)
    what = [python.parent.parent.name, name, stream, delay, options.rows or "all", seed]
    result = cached(
        options.results, what, lambda: peer(python, "river", "play", name, str(file), str(delay), str(seed))
    )
    return {"accuracy": result["accuracy"], "rows_per_second": result["rows"] / result["seconds"]}


def _means(rows: list[list[Any]]) -> list[Any]:
    return ["mean", "", *(sum(column) / len(rows) for column in list(zip(*rows, strict=True))[2:])]
