"""The false alarms and the delays of drift detectors.

Error detectors: over errors of 0 and 1 at a constant rate, and at a rate that rises. Input detector: over rows of 10 numbers,
normal ones, skewed ones and flags, whose distribution is constant; and over rows where the mean of one number shifts by so
many standard deviations.

    python -m benchmarks.drift
"""

from __future__ import annotations

import random
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch
from numpy.typing import NDArray

from driftline.learning.learner import Learner
from driftline.learning.monitoring.drift import drift_detector
from driftline.learning.monitoring.two_window_test import TwoWindowKS
from driftline.records import Item, Plan
from driftline.spec import ModelSpec, parse
from driftline.spec.parts.detectors import DETECTORS, Detector, InputDetector

STREAMS, ROWS, STEP = 100, 20_000, 32
BEFORE, AFTER = 2000, 2000


def errors(count: int, rate: float, seed: int) -> list[float]:
    generator = random.Random(seed)
    return [float(generator.random() < rate) for _ in range(count)]


def alarms_of(parameters: Detector, stream: list[float]) -> list[int]:
    """The numbers of the errors at which a detector alarms."""
    detector = drift_detector(parameters)
    return [n for n, error in enumerate(stream, 1) if detector.update(error)]


def detectors_of_the_error(streams: int = 10, count: int = 10_000) -> None:
    """Prints for each: false alarms in 100,000 errors at two rates, and the delay until a rise from .1 to .3 is detected."""
    for name in DETECTORS.parts:
        detector = DETECTORS.parse(name)
        false = [
            sum(len(alarms_of(detector, errors(count, rate, seed))) for seed in range(streams)) for rate in (0.1, 0.3)
        ]
        delays = []
        for seed in range(streams):
            stream = errors(BEFORE, 0.1, seed) + errors(AFTER, 0.3, seed + streams)
            delays.append(next((n - BEFORE for n in alarms_of(detector, stream) if n > BEFORE), AFTER + 1))
        print(f"{name}: {false[0]} and {false[1]} false alarms, median delay {statistics.median(delays):.0f}")


def rows(count: int, seed: int) -> NDArray[np.float32]:
    """``[count, 10]``: four normal numbers, three skewed ones, three flags."""
    generator = np.random.default_rng(seed)
    flags = generator.random((count, 3)) < [0.02, 0.3, 0.5]
    return np.hstack([generator.normal(size=(count, 4)), generator.lognormal(size=(count, 3)), flags]).astype(
        np.float32
    )


def alarms(stream: NDArray[np.float32]) -> list[int]:
    """The rows at which the detector alarms with its defaults."""
    test, tensor = TwoWindowKS(InputDetector()), torch.from_numpy(stream)
    starts = range(0, len(tensor), STEP)
    detected = []
    for start in starts:
        some = tensor[start : start + STEP]
        if test.see({"inputs": some}, range(start, start + len(some))):
            detected.append(start + len(some))
    return detected


def false_alarms_of_the_inputs() -> None:
    count = sum(len(alarms(rows(ROWS, seed))) for seed in range(STREAMS))
    print(f"{count} false alarms of the inputs in {STREAMS * ROWS:,} rows")


def delays() -> None:
    for shift in (0.25, 0.5, 1.0, 2.0):
        found = []
        for seed in range(STREAMS):
            stream = rows(BEFORE + AFTER, seed)
            stream[BEFORE:, 0] += shift
            found.append(next((at - BEFORE for at in alarms(stream) if at > BEFORE), AFTER + 1))
        detected = sum(delay <= AFTER for delay in found) / STREAMS
        print(
            f"shift {shift}: detected {detected:.0%} within {AFTER} rows, median delay {statistics.median(found):.0f}"
        )


def false_alarms_of_the_embedding(streams: int = 5, count: int = 8000) -> None:
    """With random labels, which the network memorises: the hardest case for a detector that watches its embedding."""
    detected = 0
    for seed in range(streams):
        spec = {"name": "m", "task": "classification", "inputs": {"shape": [10]}, "classes": [0, 1]}
        learner = Learner.create(parse(ModelSpec, spec), seed=seed)
        labels = np.random.default_rng(seed).integers(2, size=count).tolist()
        items = [
            Item(str(n), {"inputs": row.tobytes()}, label)
            for n, (row, label) in enumerate(zip(rows(count, seed), labels, strict=True))
        ]
        for start in range(0, count, STEP):
            result = learner.learn(items[start : start + STEP], range(start, start + STEP), Plan(updates=4))
            detected += len(result.alarms)
    print(f"{detected} false alarms of inputs and embedding in {streams * count:,} labels")


if __name__ == "__main__":
    torch.set_num_threads(1)
    detectors_of_the_error()
    false_alarms_of_the_inputs()
    delays()
    false_alarms_of_the_embedding()
