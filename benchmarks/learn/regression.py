"""Mean absolute error on streams of numbers, with labels at once and after 32 rows, beside the last value, River's linear
regression, AMRules and adaptive random forest, each after a running scale, and scikit-learn's extremely randomised trees,
fitted at 5, 10, 20 and 40 labels and then every 100, on the last 2,000. The ratio is of Driftline's error to that of the best
of them.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.common.results import cached, our_state, table
from benchmarks.learn.options import Options
from benchmarks.learn.value_streams import NAMES, stream
from driftline.backtest.replay import play
from driftline.backtest.stream import Stream
from driftline.rows.rows import Rows
from driftline.spec import SINGLE_INPUT, ModelSpec, parse

DELAYS = (0, 32)
OURS: dict[str, dict[str, Any]] = {"Driftline": {}, "replay": {"strategy": "replay"}}
FIRST_FITS, FIT_EVERY, FIT_ROWS = (5, 10, 20, 40), 100, 2000
Answers = NDArray[np.float64]


def tables(options: Options) -> list[str]:
    """The error by stream and delay, and Driftline's beside that of the best other."""
    names = [name for name in (*OURS, *PEERS) if options.wants(name)]
    rivals = [name for name in names if name in PEERS]
    rows, ratios = [], []
    for name in NAMES:
        for delay in DELAYS:
            found = {who: _measured(options, who, name, delay) for who in names}
            best = min((found[who]["mae"] for who in rivals), default=math.nan)
            ratios.append(found["Driftline"]["mae"] / best if "Driftline" in found else math.nan)
            speed = round(found[names[0]]["rows_per_second"])
            rows.append([name, delay, *(found[who]["mae"] for who in names), f"{ratios[-1]:.3f}", speed])
    summary = (
        f"At or below the best of the others on {sum(ratio <= 1 for ratio in ratios)} of {len(ratios)} pairs; more than a "
        f"twentieth above it on {sum(ratio > 1.05 for ratio in ratios)}; the geometric mean of the ratios is "
        f"{statistics.geometric_mean(ratios):.3f}."
    )
    return [table(["stream", "delay", *names, "ratio", f"{names[0]}: rows/s"], rows), summary]


def _measured(options: Options, who: str, name: str, delay: int) -> dict[str, float]:
    """``{"mae", "rows_per_second"}``; means over the seeds."""

    def measure(seed: int) -> dict[str, float]:
        inputs, values = stream(name, options.rows)
        begin = time.process_time()
        answers = (
            PEERS[who](inputs, values, delay, seed) if who in PEERS else ours(inputs, values, delay, seed, OURS[who])
        )
        seconds = time.process_time() - begin
        return {"mae": float(np.abs(answers - values).mean()), "rows_per_second": len(values) / max(seconds, 1e-9)}

    what = ["regression", who, name, delay, options.rows or "all", "" if who in PEERS else our_state()]
    found = [cached(options.results, [*what, seed], lambda seed=seed: measure(seed)) for seed in range(options.seeds)]
    return {key: statistics.fmean(each[key] for each in found) for key in found[0]}


def ours(inputs: NDArray[np.float32], values: Answers, delay: int, seed: int, recipe: Mapping[str, Any]) -> Answers:
    """As ``driftline backtest`` plays it, each row a tensor of numbers."""
    torch.set_num_threads(1)
    described = {"name": "stream", "task": "regression", "inputs": {"shape": [inputs.shape[1]]}, "recipe": dict(recipe)}
    spec = parse(ModelSpec, described)
    played = play(Stream(spec, Rows({SINGLE_INPUT: inputs}), values.tolist()), spec, delay, seed)
    return np.array(played.answers, np.float64)


def last_value(inputs: NDArray[np.float32], values: Answers, delay: int, seed: int) -> Answers:
    """The newest label that is known."""
    return np.concatenate([np.zeros(delay + 1), values])[: len(values)]


def _online(make: Callable[[int], Any]) -> Callable[[NDArray[np.float32], Answers, int, int], Answers]:
    """A regression of River, after its running scale."""

    def answer(inputs: NDArray[np.float32], values: Answers, delay: int, seed: int) -> Answers:
        from river import preprocessing

        model = preprocessing.StandardScaler() | make(seed)
        rows = [{str(place): number for place, number in enumerate(row)} for row in inputs.tolist()]
        answers = []
        for number, row in enumerate(rows):
            answers.append(model.predict_one(row) or 0.0)
            if number >= delay:
                model.learn_one(rows[number - delay], float(values[number - delay]))
        return np.array(answers)

    return answer


def _linear(seed: int) -> Any:
    from river import linear_model

    return linear_model.LinearRegression()


def _rules(seed: int) -> Any:
    from river import rules

    return rules.AMRules()


def _forest(seed: int) -> Any:
    from river import forest

    return forest.ARFRegressor(seed=seed)


def extra_trees(inputs: NDArray[np.float32], values: Answers, delay: int, seed: int) -> Answers:
    """Fitted again and again; until then the mean so far."""
    from sklearn.ensemble import ExtraTreesRegressor

    answers = np.zeros(len(values))
    fits = [*FIRST_FITS, *range(FIT_EVERY, len(values), FIT_EVERY)]
    for row in range(min(len(values), delay + FIRST_FITS[0])):
        answers[row] = values[: row - delay].mean() if row > delay else 0.0
    for known, until in zip(fits, [*fits[1:], len(values)], strict=True):
        rows = slice(known + delay, until + delay)
        if known + delay < len(values):
            past = slice(max(0, known - FIT_ROWS), known)
            answers[rows] = ExtraTreesRegressor(random_state=seed).fit(inputs[past], values[past]).predict(inputs[rows])
    return answers


PEERS: dict[str, Callable[[NDArray[np.float32], Answers, int, int], Answers]] = {
    "last value": last_value,
    "linear": _online(_linear),
    "AMRules": _online(_rules),
    "ARF": _online(_forest),
    "ExtraTrees": extra_trees,
}
