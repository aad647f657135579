"""The classes of a row, where there may be several: as a list of their names, and as a number for each class."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

THRESHOLD = 0.5
"""A class with this probability, or a higher one, is answered."""


def chosen(classes: Sequence[int | str], probabilities: Iterable[float]) -> list[int | str]:
    """The classes that are answered, in the order of ``classes``.

    >>> chosen(["a", "b", "c"], [0.7, 0.2, 0.5])
    ['a', 'c']
    """
    return [name for name, share in zip(classes, probabilities, strict=False) if share >= THRESHOLD]


def set_error(label: Any, answer: Any, classes: int) -> float:
    """The Hamming loss of one answer: the share of so many classes that is in one list of names and not in the other.

    >>> set_error(["a", "b"], ["b", "c"], 4)
    0.5
    """
    return len(set(map(_key, label)) ^ set(map(_key, answer))) / classes


def _key(name: int | str) -> tuple[type, int | str]:
    return type(name), name
