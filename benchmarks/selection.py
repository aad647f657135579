"""Whether labels that come for wrong answers alone are noticed, and honest ones are not accused: a table in markdown.

python -m benchmarks.selection [--rows 4000] [--seeds 3] [--recipe replay experts] [--only NAME …]

Each row is answered, and its label comes with the next step: of the honest stream that of every row, of the loop that of a
wrong answer alone (a value that is farther off than three of four were). ``after`` is how many labels of the loop it took.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.trust import bands, drifting, rare
from driftline.learning.learner import Learner
from driftline.learning.monitoring.label_selection import KIND
from driftline.records import Answer, Item, Plan
from driftline.spec import ModelSpec, parse

Numbers = NDArray[np.float64]
Random = np.random.Generator
STEP = 16


def smooth(random: Random, rows: int) -> tuple[Numbers, Numbers]:
    x = random.normal(size=(rows, 4))
    return x, 100 + 10 * np.sin(x[:, 0]) * x[:, 1] + 5 * x[:, 2] + random.normal(size=rows)


def moving(random: Random, rows: int) -> tuple[Numbers, Numbers]:
    """The weights of the numbers turn all the time, and change at once in the middle."""
    x, angles = random.normal(size=(rows, 4)), np.linspace(0, 3, rows) + 2 * (np.arange(rows) > rows / 2)
    return x, np.cos(angles) * x[:, 0] + np.sin(angles) * x[:, 1] + 0.2 * random.normal(size=rows)


def turbulent(random: Random, rows: int) -> tuple[Numbers, Numbers]:
    """How much is chance changes fivefold every three hundred rows."""
    x = random.normal(size=(rows, 4))
    return x, x[:, 0] + np.where(np.arange(rows) // 300 % 2, 0.2, 1.0) * random.normal(size=rows)


def heavy(random: Random, rows: int) -> tuple[Numbers, Numbers]:
    """Errors of few degrees of freedom."""
    x = random.normal(size=(rows, 4))
    return x, x[:, 0] + random.standard_t(2, size=rows)


def coin(random: Random, rows: int) -> tuple[Numbers, Numbers]:
    """Values of 0 or 1, most of them by chance: no error is small."""
    x = random.normal(size=(rows, 4))
    return x, (random.random(rows) < 0.5 + 0.1 * np.sign(x[:, 0])).astype(np.float64)


def counts(random: Random, rows: int) -> tuple[Numbers, Numbers]:
    x = random.normal(size=(rows, 4))
    return x, random.poisson(np.exp(0.5 * x[:, 0])).astype(np.float64)


VALUES = {each.__name__: each for each in (smooth, moving, turbulent, heavy, coin, counts)}
CLASSES: dict[str, Callable[[Random, int], tuple[Numbers, NDArray[np.int64]]]] = {
    each.__name__: each for each in (bands, drifting, rare)
}


def play(name: str, rows: int, seed: int, strategy: str, is_loop: bool) -> tuple[int | None, int]:
    """After how many labels the alarm came, None if it did not; and how many came in all."""
    inputs, labels = (VALUES | CLASSES)[name](np.random.default_rng(seed), rows)
    spec = {
        "name": "m",
        "task": "regression" if name in VALUES else "classification",
        "inputs": {"shape": [inputs.shape[1]]},
    }
    spec |= {} if name in VALUES else {"classes": [0, 1]}
    one = Learner.create(parse(ModelSpec, spec | {"recipe": {"strategy": strategy}}), seed=seed)
    known, far, n = inputs.astype(np.float32), np.inf, 0
    errors: list[float] = []
    for start in range(0, rows, STEP):
        part = range(start, min(start + STEP, rows))
        with torch.no_grad():
            answers = one.served.eval().answer({"inputs": torch.from_numpy(known[part])})[0].numpy()
        items = []
        for row, answer in zip(part, answers, strict=True):
            label, decided = labels[row].item(), None if name in VALUES else int(answer.argmax())
            errors.append(abs(float(answer[0]) - label) if decided is None else float(decided != label))
            if start < rows // 4 or not is_loop or errors[-1] > far:
                served = Answer(1 + start // STEP, decided, answer.astype("<f4").tobytes())
                items.append(Item(f"i{row}", {"inputs": known[row].tobytes()}, label, answer=served))
        far = float(np.quantile(errors[-500:], 0.75)) if name in VALUES else 0.5
        result = one.learn(items, range(n + 1, n + 1 + len(items)), Plan(2, publish=True, version=2 + start // STEP))
        n += len(items)
        if any(alarm.kind == KIND for alarm in result.alarms):
            return n - rows // 4 if is_loop else n, n
    return None, n


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=4000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--recipe", nargs="*", default=["replay"], help="strategies")
    parser.add_argument("--only", nargs="*", default=[*VALUES, *CLASSES])
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| stream | strategy | honest: accused | loop: noticed | after labels |\n|---|---|---|---|---|")
    for name in options.only:
        for strategy in options.recipe:
            found = [
                [play(name, options.rows, seed, strategy, is_loop)[0] for seed in range(options.seeds)]
                for is_loop in (False, True)
            ]
            accused, noticed = ([each for each in runs if each is not None] for runs in found)
            of = f"of {options.seeds}"
            after = ", ".join(map(str, noticed))
            print(f"| {name} | {strategy} | {len(accused)} {of} | {len(noticed)} {of} | {after} |", flush=True)


if __name__ == "__main__":
    main()
