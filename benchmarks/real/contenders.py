"""Who learns from a table: each gives an answer to every row, before its label, which comes some rows later."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.real.tables import Columns, RealTable
from driftline.backtest.history import HistoryOptions, read_history
from driftline.backtest.replay import play
from driftline.spec import ModelSpec, parse
from driftline.tables.infer import infer

REFITS = 10
FEW_WORDS = 50
MOST_CODES = 255
Answers = NDArray[np.float64]
"""Probabilities ``[rows, classes]``, or values ``[rows]``."""


def driftline(file: Path, table: RealTable, classes: Sequence[str], delay: int, seed: int) -> Answers:
    """As ``driftline backtest FILE --target COLUMN`` plays it: with the spec that is inferred from the file."""
    torch.set_num_threads(1)
    found = infer(file, table.target)
    if found.spec["task"] != table.task:
        raise RuntimeError(f"the target was taken for a {found.spec['task']}")
    spec = parse(ModelSpec, found.spec)
    options = HistoryOptions(decimal=found.decimals, reading=found.reading)
    stream = read_history(file, table.target, spec, options).stream
    if stream.skipped:
        raise RuntimeError(f"{stream.skipped} rows cannot be read")
    played = play(stream, spec, delay, seed)
    if played.probabilities is None:
        return np.array(played.answers, np.float64)
    places = {str(name): place for place, name in enumerate(stream.classes)}
    return np.nan_to_num(played.probabilities[:, [places[name] for name in classes]].astype(np.float64))


def forest(columns: Columns, labels: Sequence[Any], classes: Sequence[str], delay: int, seed: int) -> Answers:
    """River's adaptive random forest after its usual pipeline: numbers imputed and scaled, words one-hot, or ordinal where
    there are many.
    """
    from river import compose, forest, preprocessing, stats

    few = [name for name, words in columns.words.items() if len(set(words)) <= FEW_WORDS]
    many = [name for name in columns.words if name not in few]
    parts = []
    if columns.numbers:
        scaled = (
            preprocessing.StatImputer(*((name, stats.Mean()) for name in columns.numbers))
            | preprocessing.StandardScaler()
        )
        parts.append(compose.Select(*columns.numbers) | scaled)
    if few:
        parts.append(compose.Select(*few) | preprocessing.OneHotEncoder())
    if many:
        parts.append(compose.Select(*many) | preprocessing.OrdinalEncoder())
    encoder = parts[0]
    for part in parts[1:]:
        encoder = encoder + part
    model = encoder | (forest.ARFClassifier(seed=seed) if classes else forest.ARFRegressor(seed=seed))
    names = (*columns.numbers, *columns.words)
    rows = [
        {name: None if value != value else value for name, value in zip(names, row, strict=True)}
        for row in zip(*columns.numbers.values(), *columns.words.values(), strict=True)
    ]
    answers = []
    for number, row in enumerate(rows):
        if classes:
            given = model.predict_proba_one(row)
            total = sum(given.values())
            answers.append([given.get(name, 0.0) / total if total else 1 / len(classes) for name in classes])
        else:
            answers.append(model.predict_one(row) or 0.0)
        if number >= delay:
            model.learn_one(rows[number - delay], labels[number - delay])
    return np.array(answers, np.float64)


def boosting(columns: Columns, labels: Sequence[Any], classes: Sequence[str], delay: int, seed: int) -> Answers:
    """scikit-learn's histogram gradient boosting, fitted again on all labels every tenth of the stream; until then the mean, or
    the shares of the classes, so far.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    codes = [np.unique(words, return_inverse=True)[1].astype(float) for words in columns.words.values()]
    rows = np.stack([*map(np.array, columns.numbers.values()), *codes], axis=1)
    is_category = [False] * len(columns.numbers) + [code.max() < MOST_CODES for code in codes]
    wanted = np.array([classes.index(label) for label in labels]) if classes else np.array(labels, float)
    cuts = np.linspace(0, len(rows), REFITS + 1).astype(int)
    answers = np.zeros((len(rows), len(classes)) if classes else len(rows))
    kind = HistGradientBoostingClassifier if classes else HistGradientBoostingRegressor
    for first, last in pairwise(cuts):
        known = wanted[: max(0, first - delay)]
        if len(known) < 2 or len(np.unique(known)) < 2:
            for row in range(first, last):
                answers[row] = _so_far(wanted[: max(0, row - delay)], len(classes))
            continue
        model = kind(categorical_features=is_category, random_state=seed).fit(rows[: len(known)], known)
        if classes:
            answers[first:last, model.classes_] = model.predict_proba(rows[first:last])
        else:
            answers[first:last] = model.predict(rows[first:last])
    return answers


def _so_far(known: NDArray[Any], classes: int) -> Any:
    if classes:
        counts = np.bincount(known, minlength=classes) + 1.0
        return counts / counts.sum()
    return known.mean() if len(known) else 0.0
