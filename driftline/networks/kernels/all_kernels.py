"""Every kernel there is, to be compiled or loaded before the first request."""

from __future__ import annotations

from driftline.networks.kernels import (
    bank,
    encoding,
    finiteness,
    labels,
    mixture,
    neighbours,
    ridge,
    rows,
    trees,
    weights,
    window,
)
from driftline.networks.kernels.compiled import warm

ALL = (bank, encoding, finiteness, labels, mixture, neighbours, ridge, rows, trees, weights, window)
__all__ = ("ALL", "warm")
