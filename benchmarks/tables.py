"""Real tables as they come, learned row by row: Driftline as `driftline backtest` plays them, beside River's adaptive random
forest and scikit-learn's gradient boosting that is fitted again every tenth of the stream. Labels come 32 rows late.

python -m benchmarks.tables [--rows 2000] [--seeds 1] [--only NAME …] [--delay 32] [--results DIR]

Two classes are compared by AUC, more by accuracy, numbers by the mean absolute error. The ratios are of the error (1 - AUC,
1 - accuracy, MAE), Driftline's over the other's: below 1 Driftline is ahead. Needs: pip install 'driftline[bench]'
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from benchmarks.common.environments import Unavailable
from benchmarks.common.results import cached, our_state, table
from benchmarks.real.contenders import Answers, boosting, driftline, forest
from benchmarks.real.tables import TABLES, RealTable, columns_of, labels_of, load, write

NAMES = ("Driftline", "ARF", "boosting")
HEADER = ["", "rows", "measure", *NAMES, "to ARF", "to boosting", "log loss", "ARF", "boosting", "rows/s", "ARF"]


def scores(labels: Sequence[Any], answers: Answers, classes: Sequence[str]) -> dict[str, float]:
    """``auc`` of two classes, ``accuracy`` and ``log_loss``; of numbers ``mae``."""
    if not classes:
        return {"mae": float(np.abs(answers - np.array(labels)).mean())}
    from sklearn.metrics import roc_auc_score

    truth = np.array([classes.index(label) for label in labels])
    likelihoods = np.maximum(answers[np.arange(len(truth)), truth], 1e-7)
    found = {"accuracy": float((answers.argmax(1) == truth).mean()), "log_loss": float(-np.log(likelihoods).mean())}
    if len(classes) == 2:
        found["auc"] = float(roc_auc_score(truth, answers[:, 1]))
    return found


def measured(
    options: argparse.Namespace, name: str, who: str, labels: Sequence[Any], classes: Sequence[str], answer: Any
) -> dict[str, float]:
    """The scores of a contender and its rows a second; means over the seeds."""

    def play(seed: int) -> dict[str, float]:
        begin = time.process_time()
        answers = answer(seed)
        return {**scores(labels, answers, classes), "rate": len(labels) / (time.process_time() - begin)}

    what = [who, "table", name, options.rows or "all", options.delay, our_state() if who == "Driftline" else ""]
    found = [cached(options.results, [*what, seed], lambda seed=seed: play(seed)) for seed in range(options.seeds)]
    return {key: statistics.fmean(each[key] for each in found) for key in found[0]}


def row_of(options: argparse.Namespace, name: str, one: RealTable) -> list[Any]:
    """A table's line."""
    frame = load(one, options.rows or None)
    labels = labels_of(frame, one)
    classes = sorted(set(labels)) if one.task == "classification" else []
    columns = columns_of(frame, one.target)
    file = options.results / "tables" / f"{name.replace(' ', '-')}-{len(frame)}.csv"
    write(frame, file)
    contenders: dict[str, Callable[[int], Answers]] = {
        "Driftline": lambda seed: driftline(file, one, classes, options.delay, seed),
        "ARF": lambda seed: forest(columns, labels, classes, options.delay, seed),
        "boosting": lambda seed: boosting(columns, labels, classes, options.delay, seed),
    }
    found = {who: measured(options, name, who, labels, classes, answer) for who, answer in contenders.items()}
    measure = "mae" if not classes else "auc" if len(classes) == 2 else "accuracy"
    error = {who: each[measure] if measure == "mae" else 1 - each[measure] for who, each in found.items()}
    ratios = [f"{error['Driftline'] / error[who]:.2f}" for who in NAMES[1:]]
    losses = [found[who].get("log_loss") for who in NAMES]
    rates = [round(found[who]["rate"]) for who in NAMES[:2]]
    return [name, len(frame), measure, *(found[who][measure] for who in NAMES), *ratios, *losses, *rates]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2000, help="most rows of a table; 0: all")
    parser.add_argument("--seeds", type=int, default=1, help="figures are means over so many")
    parser.add_argument("--delay", type=int, default=32, help="how many rows later a label comes")
    parser.add_argument("--only", nargs="+", default=list(TABLES), metavar="NAME", help=", ".join(TABLES))
    parser.add_argument("--results", type=Path, metavar="DIR", default="~/.cache/driftline-benchmarks/results")
    options = parser.parse_args()
    options.results = options.results.expanduser()
    unknown = set(options.only) - set(TABLES)
    if unknown:
        parser.error(f"there is no table {', '.join(sorted(unknown))}; there are {', '.join(TABLES)}")
    warnings.filterwarnings("ignore", module="sklearn")
    rows = []
    try:
        for name in options.only:
            rows.append(row_of(options, name, TABLES[name]))
    except Unavailable as reason:
        print(f"not measured: {reason}")
        return
    print(table(HEADER, rows))
    for place, who in enumerate(NAMES[1:], start=6):
        print(f"\nahead of {who} on {sum(float(row[place]) < 1 for row in rows)} of {len(rows)}", end="")
    print()


if __name__ == "__main__":
    main()
