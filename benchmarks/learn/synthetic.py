"""Synthetic streams: rows of normal numbers whose class, or value, is given by a random network."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from driftline.backtest.stream import Stream
from driftline.rows.rows import Rows
from driftline.spec import ModelSpec, parse


def synthetic_stream(rows: int, features: int, classes: int, seed: int, changes: int = 0) -> Stream:
    """Rows with the classes of a random network of 16 units, which another one replaces ``changes`` times, suddenly."""
    random = np.random.default_rng(seed)
    inputs = random.normal(size=(rows, features)).astype(np.float32)
    parts = np.array_split(np.arange(rows), changes + 1)
    labels = np.concatenate([network_classes(random, features, classes, inputs[part]) for part in parts])
    spec = {"name": "m", "task": "classification", "inputs": {"shape": [features]}, "classes": "open"}
    return Stream(parse(ModelSpec, spec), Rows({"inputs": inputs}), labels.tolist())


def synthetic_values(rows: int, features: int, seed: int) -> Stream:
    """Rows with the value of a random network of 16 units, and noise."""
    random = np.random.default_rng(seed)
    inputs = random.normal(size=(rows, features)).astype(np.float32)
    hidden = np.tanh(inputs @ random.normal(size=(features, 16)) / np.sqrt(features))
    values = hidden @ random.normal(size=16) + 0.3 * random.normal(size=rows)
    spec = {"name": "m", "task": "regression", "inputs": {"shape": [features]}}
    return Stream(parse(ModelSpec, spec), Rows({"inputs": inputs}), values.tolist())


def network_classes(
    random: np.random.Generator, features: int, classes: int, inputs: NDArray[np.float32]
) -> NDArray[np.int64]:
    """The class of each row, by a network of its own; no class is rare."""
    hidden = np.tanh(inputs @ random.normal(size=(features, 16)) / np.sqrt(features))
    scores = hidden @ random.normal(size=(16, classes))
    return (scores - np.median(scores, axis=0)).argmax(axis=1)
