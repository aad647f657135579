"""Every kernel there is, to be compiled or loaded before the first request."""

from __future__ import annotations

from driftline.networks.kernels import (
    bank,
    encoding,
    finiteness,
    labellers,
    labels,
    least_squares,
    levels,
    mixture,
    neighbours,
    ridge,
    rows,
    step,
    tree_growth,
    trees,
    value_weights,
    values,
    weights,
    window,
)
from driftline.networks.kernels.compiled import compile_told, warm

ALL = (
    *(bank, encoding, finiteness, labellers, labels, least_squares, levels, mixture, neighbours, ridge, rows, step),
    *(tree_growth, trees, value_weights, values, weights, window),
)
__all__ = ("ALL", "compile_told", "warm")
