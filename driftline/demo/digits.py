"""Scikit-learn's handwritten digits, as three scanners see them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from driftline.errors import ConfigurationError

Images = NDArray[np.float64]


@dataclass(frozen=True)
class Phase:
    """A part of the stream: what the scanner does to an image ``[8, 8]``, and which share of the time it lasts."""

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
