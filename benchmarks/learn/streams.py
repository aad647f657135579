"""The streams of the tables, written once as CSV by River, from its package."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.common.environments import Unavailable, interpreter
from benchmarks.common.results import ROOT, cached, our_state, peer
from benchmarks.learn.options import Options
from driftline.backtest.history import read_history
from driftline.backtest.replay import backtest
from driftline.backtest.stream import Stream
from driftline.spec import ModelSpec, parse
from driftline.tables.reading import open_table

GENERATED_ROWS = 20_000
RIVER = ROOT / "benchmarks" / "peers" / "requirements-river.txt"
NAMES = (
    *("Elec2", "Bananas", "Phishing", "ImageSegments", "Shuttle"),
    *("Agrawal", "SEA", "LED", "RandomRBF", "Hyperplane"),
)


def river(options: Options) -> Path:
    """The Python of River's environment."""
    return interpreter("river", RIVER, options.environments)


def files(options: Options) -> dict[str, Path]:
    """Each stream's file by its name; one that is not available is reported on standard error and left out."""
    found = {}
    for name in NAMES:
        try:
            found[name] = file_of(options, name)
        except (RuntimeError, Unavailable) as reason:
            print(f"{name}: left out: {reason}", file=sys.stderr)
    return found


def file_of(options: Options, name: str) -> Path:
    """The file of one stream, which is made where there is none yet."""
    rows = options.rows or (10**9 if name in NAMES[:5] else GENERATED_ROWS)
    file = options.results / "streams" / f"{name}-{options.rows or 'all'}.csv"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        unfinished = file.with_suffix(".part")
        if name == "Elec2" and options.elec2 is not None:
            lines = options.elec2.read_text().splitlines(keepends=True)
            unfinished.write_text("".join(lines[: rows + 1]))
        else:
            peer(river(options), "river", "stream", name, str(rows), str(unfinished))
        unfinished.rename(file)
    return file


@cache
def read(file: Path) -> Stream:
    """A stream; the label is in the file's last column. All others are the numbers of a tensor, as the peers have them, and
    a class is known from its first label on.
    """
    with open_table(file) as table:
        *columns, target = table.columns
    spec = {"name": "stream", "task": "classification", "classes": "open", "inputs": {"shape": [len(columns)]}}
    stream = read_history(file, target, parse(ModelSpec, spec)).stream
    if stream.skipped:
        raise RuntimeError(f"{file}: {stream.skipped} rows cannot be read")
    return stream


def played(
    options: Options, name: str, file: Path, recipe: Mapping[str, Any], delay: int, without: str = ""
) -> dict[str, Any]:
    """``{"accuracy", "rows_per_second", "no_change"}`` of a recipe; means over the seeds. ``without`` tells apart what is
    played with parts of the library left out.
    """

    def play(seed: int) -> dict[str, Any]:
        report = backtest(read(file), {"it": recipe}, delay=delay, seed=seed)
        accuracy = report["accuracy"]
        return {
            "accuracy": accuracy["it"],
            "rows_per_second": report["labels_per_second"]["it"],
            "no_change": accuracy["no_change"],
        }

    what = ["driftline", name, delay, options.rows or "all", recipe, our_state(), without]
    return mean([cached(options.results, [*what, seed], lambda seed=seed: play(seed)) for seed in range(options.seeds)])


def mean(results: list[dict[str, float]]) -> dict[str, float]:
    """The mean of each figure."""
    return {key: statistics.fmean(result[key] for result in results) for key in results[0]}
