"""River's streams and its classifiers: ``python -P -m benchmarks.peers.river stream NAME ROWS FILE`` writes a stream as CSV,
``… play CONTENDER FILE DELAY SEED`` plays one, test then train, and prints ``{"accuracy", "rows", "seconds"}``."""

from __future__ import annotations

import csv
import itertools
import json
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from river import base, datasets, ensemble, forest, tree
from river.datasets import synth

MODELS = 10
TARGET = "target"


def sudden(kind: Callable[..., Any], rows: int, **phases: list[Any]) -> Iterator[tuple[dict[str, Any], Any]]:
    """A generator whose parameter takes one value after the other, each for as many rows."""
    ((name, values),) = phases.items()
    for number, value in enumerate(values):
        yield from kind(**{name: value, "seed": 42 + number}).take(rows // len(values))


def streams(rows: int) -> dict[str, Callable[[], Any]]:
    """Every stream by its name. Those that are generated have ``rows``."""
    return {
        "Bananas": datasets.Bananas,
        "Phishing": datasets.Phishing,
        "ImageSegments": datasets.ImageSegments,
        "Shuttle": datasets.Shuttle,
        "Elec2": _elec2,
        "Agrawal": lambda: sudden(synth.Agrawal, rows, classification_function=[0, 3, 6, 9]),
        "SEA": lambda: sudden(synth.SEA, rows, variant=[0, 1, 2, 3]),
        "LED": lambda: sudden(partial(synth.LEDDrift, noise_percentage=0.1), rows, n_drift_features=[0, 3, 5, 7]),
        "RandomRBF": lambda: synth.RandomRBFDrift(42, 42, n_classes=4, change_speed=0.001).take(rows),
        "Hyperplane": lambda: synth.Hyperplane(42, n_features=10, n_drift_features=5, mag_change=0.001).take(rows),
    }


def _elec2() -> Any:
    stream = datasets.Elec2()
    stream.download(verbose=False)
    return stream


CONTENDERS: dict[str, Callable[[int], base.Classifier]] = {
    "ARF": lambda seed: forest.ARFClassifier(n_models=MODELS, seed=seed),
    "SRP": lambda seed: ensemble.SRPClassifier(n_models=MODELS, seed=seed),
    "LeveragingBagging": lambda seed: ensemble.LeveragingBaggingClassifier(
        tree.HoeffdingTreeClassifier(), n_models=MODELS, seed=seed
    ),
    "AMF": lambda seed: forest.AMFClassifier(n_estimators=MODELS, seed=seed),
}


def write(name: str, rows: int, file: Path) -> None:
    """A stream as CSV, at most ``rows`` of it."""
    found = itertools.islice(streams(rows)[name](), rows)
    first = next(found)
    names = list(first[0])
    with file.open("w", newline="") as opened:
        writer = csv.writer(opened)
        writer.writerow([*names, TARGET])
        for features, label in itertools.chain([first], found):
            writer.writerow([*(features[name] for name in names), label])


def play(name: str, file: Path, delay: int, seed: int) -> dict[str, float]:
    """Each label is learned once ``delay`` more rows have been predicted."""
    model = CONTENDERS[name](seed)
    rows = read(file)
    right = 0
    begin = time.perf_counter()
    for number, (features, label) in enumerate(rows):
        right += model.predict_one(features) == label
        if number >= delay:
            model.learn_one(*rows[number - delay])
    return {"accuracy": right / len(rows), "rows": len(rows), "seconds": time.perf_counter() - begin}


def read(file: Path) -> list[tuple[dict[str, Any], str]]:
    with file.open(newline="") as opened:
        rows = csv.DictReader(opened)
        target = (rows.fieldnames or [TARGET])[-1]
        return [
            ({name: _value(text) for name, text in row.items()}, label) for row in rows for label in [row.pop(target)]
        ]


def _value(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["stream", name, rows, file]:
            write(name, int(rows), Path(file))
        case ["play", name, file, delay, seed]:
            print(json.dumps(play(name, Path(file), int(delay), int(seed))))
        case _:
            sys.exit(__doc__)
