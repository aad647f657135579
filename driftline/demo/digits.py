"""Scikit-learn's handwritten digits, transformed as by three scanners."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from driftline.errors import ConfigurationError

Images = NDArray[np.float64]


@dataclass(frozen=True)
class Phase:
    """A part of the stream: how the scanner transforms an image ``[8, 8]``, and its share of the time."""

    name: str
    share: float
    scan: Callable[[Images], Images]


PHASES = (
    Phase("as scanned", 0.30, lambda image: image),
    Phase("turned by a quarter", 0.35, lambda image: np.rot90(image)),
    Phase("contrast inverted too", 0.35, lambda image: 1.0 - np.rot90(image)),
)


@dataclass(frozen=True)
class Digits:
    """Images ``[n, 8, 8]`` from 0 to 1, and their labels ``[n]``."""

    images: Images
    labels: NDArray[np.int64]


def load() -> Digits:
    """The 1797 digits; :class:`ConfigurationError` without scikit-learn."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise ConfigurationError("the demo needs scikit-learn: pip install scikit-learn") from None
    data = load_digits()
    return Digits(data.images / 16.0, data.target.astype(np.int64))
