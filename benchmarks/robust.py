"""What a broken value, a few of them or another unit cost at the end of a stream: a table in markdown.

python -m benchmarks.robust [--rows 2000] [--seeds 3] [--delay 32] [--strategy NAME] [--only NAME …] [--broken WORD]

Every figure is the error over the last quarter of the rows (mean absolute, or the share of wrong answers), divided by that of
the same stream without anything broken. Rows whose own inputs are broken are not counted.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from driftline.backtest.replay import play
from driftline.backtest.stream import Stream
from driftline.rows.rows import Rows
from driftline.spec import SINGLE_INPUT, ModelSpec, parse

Numbers = NDArray[np.float64]
Make = Callable[[np.random.Generator, int], tuple[Numbers, Numbers]]
"""Inputs ``[rows, features]`` and labels ``[rows]``."""
Breaking = Callable[[Numbers, Numbers, np.random.Generator], None]


def linear(random: np.random.Generator, rows: int) -> tuple[Numbers, Numbers]:
    scores = random.normal(size=(rows, 8))
    labels = 0.02 * (scores @ random.normal(size=8)) + 0.005 * random.normal(size=rows)
    return scores * [1, 5, 0.1, 20, 1, 300, 1, 1] + [0, 10, 0, -50, 0, 1000, 0, 3], labels


def friedman(random: np.random.Generator, rows: int) -> tuple[Numbers, Numbers]:
    x = random.random((rows, 10))
    labels = 10 * np.sin(np.pi * x[:, 0] * x[:, 1]) + 20 * (x[:, 2] - 0.5) ** 2 + 10 * x[:, 3] + 5 * x[:, 4]
    return x, labels + random.normal(size=rows)


def prices(random: np.random.Generator, rows: int) -> tuple[Numbers, Numbers]:
    logarithms = random.normal(size=(rows, 5))
    return np.exp(logarithms), 1e5 * np.exp(0.2 * logarithms.sum(1) + 0.1 * random.normal(size=rows))


def clusters(random: np.random.Generator, rows: int) -> tuple[Numbers, Numbers]:
    centres, own = random.normal(size=(12, 8)) * 1.5, random.integers(12, size=rows)
    return (centres[own] + 0.8 * random.normal(size=(rows, 8))) * [1, 10, 0.01, 1, 1000, 1, 1, 1], own % 3.0


def flags(random: np.random.Generator, rows: int) -> tuple[Numbers, Numbers]:
    is_set = random.random((rows, 8)) < [0.5, 0.3, 0.2, 0.1, 0.05, 0.02, 0.4, 0.6]
    x = np.concatenate([is_set, random.exponential(size=(rows, 4))], 1)
    scores = x @ (2 * random.normal(size=12)) + 0.5 * random.normal(size=rows)
    return x, (scores > np.median(scores)).astype(np.float64)


REGRESSION: dict[str, Make] = {"linear": linear, "friedman": friedman, "prices": prices}
CLASSIFICATION: dict[str, Make] = {"clusters": clusters, "flags": flags}


def cell(row: int, value: float) -> Breaking:
    def breaking(inputs: Numbers, labels: Numbers, random: np.random.Generator) -> None:
        inputs[row % len(inputs), 3] = value

    return breaking


def label(row: int, value: float) -> Breaking:
    def breaking(inputs: Numbers, labels: Numbers, random: np.random.Generator) -> None:
        labels[row % len(labels)] = value

    return breaking


def cells(inputs: Numbers, labels: Numbers, random: np.random.Generator) -> None:
    rows = random.permutation(len(inputs))[: len(inputs) // 100]
    inputs[rows, random.integers(inputs.shape[1], size=len(rows))] = 1e6


def units(inputs: Numbers, labels: Numbers, random: np.random.Generator) -> None:
    inputs[len(inputs) // 3 :, 2] *= 1000


def all_units(inputs: Numbers, labels: Numbers, random: np.random.Generator) -> None:
    inputs[len(inputs) // 3 :] *= 1000


def burst(inputs: Numbers, labels: Numbers, random: np.random.Generator) -> None:
    rows = slice(len(inputs) // 2, len(inputs) // 2 + 40)
    inputs[rows] = 1e6 * random.normal(size=inputs[rows].shape)


def tiny(inputs: Numbers, labels: Numbers, random: np.random.Generator) -> None:
    inputs *= 1e-9


INPUTS: dict[str, Breaking] = {
    "1e6 in the first row": cell(0, 1e6),
    "1e6 in row 8": cell(7, -1e6),
    "1e9 in row 1,050": cell(1049, 1e9),
    "one cell at 1e6 in 1 % of rows": cells,
    "one column × 1000 after a third": units,
    "all × 1000 after a third": all_units,
    "40 rows of 1e6 × noise at half": burst,
    "inputs × 1e-9": tiny,
}
LABELS: dict[str, Breaking] = {
    "first label 999999": label(0, 999999.0),
    "label 1e6 in row 41": label(40, 1e6),
    "label 1e9 in row 1,050": label(1049, 1e9),
}


def error(
    make: Make,
    is_regression: bool,
    breaking: Breaking | None,
    rows: int,
    delay: int,
    seed: int,
    strategy: str | None = None,
) -> float:
    """The mean error over the last quarter of a stream; None as ``strategy`` is the default one."""
    inputs, labels = make(np.random.default_rng(seed), rows)
    before, true = inputs.copy(), labels.copy()
    if breaking is not None:
        breaking(inputs, labels, np.random.default_rng(seed + 100))
    spec = {"name": "m", "task": "regression", "inputs": {"shape": [inputs.shape[1]]}}
    if not is_regression:
        spec |= {"task": "classification", "classes": "open"}
    if strategy is not None:
        spec |= {"recipe": {"strategy": strategy}}
    found = labels.tolist() if is_regression else labels.astype(int).tolist()
    stream = Stream(parse(ModelSpec, spec), Rows({SINGLE_INPUT: inputs.astype(np.float32)}), found)
    last = slice(-rows // 4, None)
    answers = np.array(play(stream, stream.spec, delay, seed).answers[last], np.float64)
    errors = np.abs(answers - true[last]) if is_regression else answers != true[last]
    is_changed = (inputs[last] != before[last]).any(1)
    return float(errors[~is_changed | is_changed.all()].mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--delay", type=int, default=32)
    parser.add_argument("--only", nargs="*", metavar="NAME", help=", ".join(REGRESSION | CLASSIFICATION))
    parser.add_argument("--broken", default="", metavar="WORD", help="only what has this in its name")
    parser.add_argument("--strategy", help="in place of the default one")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| stream | what is broken | error, whole | times |\n|---|---|---|---|")
    for name, make in (REGRESSION | CLASSIFICATION).items():
        if options.only and name not in options.only:
            continue

        def mean(breaking: Breaking | None, name: str = name, make: Make = make) -> float:
            is_regression = name in REGRESSION
            run = (make, is_regression, breaking, options.rows, options.delay)
            return float(np.mean([error(*run, seed, options.strategy) for seed in range(options.seeds)]))

        whole = mean(None)
        for kind, breaking in (INPUTS | (LABELS if name in REGRESSION else {})).items():
            if options.broken in kind:
                print(f"| {name} | {kind} | {whole:.4g} | {mean(breaking) / whole:.3f} |", flush=True)


if __name__ == "__main__":
    main()
