"""How many labels lie within prediction intervals, and how wide these are: a table in markdown.

python -m benchmarks.intervals [--rows 3000] [--levels 0.1 0.9] [--delays 0 32] [--only NAME …] [--detail]

Each stream is answered by a model with ``"intervals"`` of these levels, as it would be served, and learned by its default
recipe. ``coverage`` is the share of all labels that were answered with an interval and lie in it, ``quarters`` the same of each
quarter of the stream; ``pinball`` is beside ``constant``, the loss of the stream's own residuals' best fixed quantiles, known
only afterwards.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from driftline.backtest.replay import play
from driftline.backtest.stream import Stream
from driftline.ingest.rows import RowReader
from driftline.learning.monitoring.value_metrics import pinball_loss
from driftline.rows.rows import Rows
from driftline.spec import SINGLE_INPUT, ModelSpec, parse

Numbers = NDArray[np.float64]
Make = Callable[[np.random.Generator, int], tuple[Numbers, Numbers]]
"""Inputs ``[rows, features]`` and labels ``[rows]``."""


def friedman(random: np.random.Generator, rows: int) -> tuple[Numbers, Numbers]:
    """Friedman's function, whose inputs change their places after a third, at once, and from two thirds on, by and by."""
    x = random.random((rows, 10))

    def values(order: list[int]) -> Numbers:
        a, b, c, d, e = (x[:, place] for place in order)
        found: Numbers = 10 * np.sin(np.pi * a * b) + 20 * (c - 0.5) ** 2 + 10 * d + 5 * e
        return found

    time = np.arange(rows) / rows
    first, second, third = values([0, 1, 2, 3, 4]), values([5, 6, 7, 8, 9]), values([4, 2, 0, 6, 8])
    is_third = random.random(rows) < np.clip((time - 2 / 3) * 6, 0, 1)
    labels = np.where(time < 1 / 3, first, np.where(is_third, third, second))
    return x, labels + random.normal(size=rows)


def walking(random: np.random.Generator, rows: int) -> tuple[Numbers, Numbers]:
    """A linear function whose weights walk at random."""
    x, weights = random.normal(size=(rows, 8)), np.cumsum(random.normal(size=(rows, 8)) * 0.05, 0)
    return x, (x * weights).sum(1) + 0.5 * random.normal(size=rows)


def random_walk(random: np.random.Generator, rows: int) -> tuple[Numbers, Numbers]:
    """The next value of a random walk, from the last three."""
    walk = np.cumsum(random.normal(size=rows + 3))
    return np.stack([walk[lag : rows + lag] for lag in range(3)], 1), walk[3:]


def by_input(random: np.random.Generator, rows: int) -> tuple[Numbers, Numbers]:
    """Noise that an input scales."""
    x = random.random((rows, 5))
    return x, 5 * x[:, 0] - 3 * x[:, 1] + (0.1 + 3 * x[:, 2]) * random.normal(size=rows)


def by_time(random: np.random.Generator, rows: int) -> tuple[Numbers, Numbers]:
    """Noise that is five times as loud in every other stretch of 250 rows."""
    x = random.random((rows, 5))
    return x, 5 * x[:, 0] - 3 * x[:, 1] + (1 + 4 * (np.arange(rows) // 250 % 2)) * random.normal(size=rows)


def heavy_tails(random: np.random.Generator, rows: int) -> tuple[Numbers, Numbers]:
    """Noise of Student's t with two degrees of freedom, whose variance is infinite."""
    x = random.normal(size=(rows, 5))
    return x, x @ [1, 2, 0, -1, 0.5] + random.standard_t(2, size=rows)


def skewed(random: np.random.Generator, rows: int) -> tuple[Numbers, Numbers]:
    """Labels that are log-normal around what the inputs say."""
    x = random.normal(size=(rows, 5))
    return x, 1000 * np.exp(0.5 * x[:, 0] + 0.5 * random.normal(size=rows))


def units(random: np.random.Generator, rows: int) -> tuple[Numbers, Numbers]:
    """Labels that come in another unit, a thousand times as large, from the middle on."""
    x = random.normal(size=(rows, 5))
    labels = x @ [1, 2, 0, -1, 0.5] + 0.5 * random.normal(size=rows)
    return x, labels * np.where(np.arange(rows) < rows // 2, 1, 1000)


def constant(random: np.random.Generator, rows: int) -> tuple[Numbers, Numbers]:
    """A label that never changes."""
    return random.normal(size=(rows, 5)), np.full(rows, 3.3)


MADE: dict[str, Make] = {
    "friedman": friedman,
    "walking": walking,
    "random_walk": random_walk,
    "by_input": by_input,
    "by_time": by_time,
    "heavy_tails": heavy_tails,
    "skewed": skewed,
    "units": units,
    "constant": constant,
}
"""Streams that are made, by name."""


def packaged() -> dict[str, tuple[Any, dict[str, Any]]]:
    """River's packaged regressions: their rows with labels, and the fields of a row."""
    from river import datasets

    return {
        "trump": (datasets.TrumpApproval(), {}),
        "chicks": (datasets.ChickWeights(), {"chick": "category", "diet": "category"}),
        "flow": (datasets.WaterFlow(), {"Time": "time"}),
        "airline": (datasets.AirlinePassengers(), {"month": "time"}),
    }


def made(name: str, rows: int, seed: int, levels: list[float]) -> Stream:
    inputs, labels = MADE[name](np.random.default_rng(seed), rows)
    given = {"shape": [inputs.shape[1]]}
    spec = parse(ModelSpec, {"name": "m", "task": "regression", "inputs": given, "intervals": levels})
    return Stream(spec, Rows({SINGLE_INPUT: inputs.astype(np.float32)}), labels.tolist())


def recorded(name: str, rows: int, levels: list[float]) -> Stream:
    dataset, kinds = packaged()[name]
    pairs = [(x, float(y)) for x, y in dataset.take(rows)]
    fields = {field: kinds.get(field, "number") for field in pairs[0][0]}
    given = {"fields": fields}
    spec = parse(ModelSpec, {"name": "m", "task": "regression", "inputs": given, "intervals": levels})
    plain = [{field: _plain(fields[field], value) for field, value in x.items()} for x, _ in pairs]
    return Stream(spec, RowReader(spec).batch(plain), [y for _, y in pairs])


def _plain(kind: str, value: Any) -> Any:
    if kind == "category":
        return str(value)
    return value.strftime("%Y-%m-%dT%H:%M:%SZ") if kind == "time" else float(value)


def measured(stream: Stream, delay: int, seed: int = 0) -> dict[str, Any]:
    """Coverage of all and of each quarter, mean width, and pinball loss beside that of the best fixed quantiles."""
    levels = stream.spec.values.levels
    played = play(stream, stream.spec, delay, seed)
    assert played.values is not None
    labels = np.array(stream.labels, np.float32).astype(np.float64)
    values, ends = played.values[:, 0].astype(np.float64), played.values[:, 1:].astype(np.float64)
    is_known = ~np.isnan(ends[:, 0])
    labels, values, ends = labels[is_known], values[is_known], ends[is_known]
    is_within = (ends[:, 0] <= labels) & (labels <= ends[:, -1])
    fixed = values[:, None] + np.quantile(labels - values, levels)
    return {
        "rows": len(labels),
        "coverage": is_within.mean(),
        "quarters": [float(part.mean()) for part in np.array_split(is_within, 4)],
        "below": float((labels < ends[:, 0]).mean()),
        "mae": float(np.abs(labels - values).mean()),
        "width": float((ends[:, -1] - ends[:, 0]).mean()),
        "pinball": _pinball(levels, ends, labels),
        "constant": _pinball(levels, fixed, labels),
    }


def _pinball(levels: tuple[float, ...], ends: Numbers, labels: Numbers) -> float:
    return float(np.mean([pinball_loss(levels, row, label) for row, label in zip(ends, labels.tolist(), strict=True)]))


def streams(options: argparse.Namespace) -> Iterator[tuple[str, Stream]]:
    for name in [*MADE, *packaged()]:
        if not options.only or name in options.only:
            levels = options.levels
            yield (
                name,
                made(name, options.rows, options.seed, levels)
                if name in MADE
                else recorded(name, options.rows, levels),
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--levels", type=float, nargs="+", default=[0.1, 0.9])
    parser.add_argument("--delays", type=int, nargs="+", default=[0, 32])
    parser.add_argument("--only", nargs="*", metavar="NAME")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| stream | delay | rows | coverage | quarters | below | mae | width | pinball | constant |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for name, stream in streams(options):
        for delay in options.delays:
            found = measured(stream, delay)
            quarters = " ".join(f"{part:.2f}" for part in found["quarters"])
            shares = f"{found['coverage']:.3f} | {quarters} | {found['below']:.3f}"
            sizes = " | ".join(f"{found[column]:.4g}" for column in ("mae", "width", "pinball", "constant"))
            print(f"| {name} | {delay} | {found['rows']} | {shares} | {sizes} |", flush=True)


if __name__ == "__main__":
    main()
