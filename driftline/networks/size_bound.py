"""The most numbers that layers can come to, told by their spec alone: nothing is built for it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from driftline.spec.parts.layers import Adaptable, Conv2d, Embedding, Flatten, Layer, Linear, Reshape

CONSTANTS = 4
"""Parameters and buffers that a normalisation has of each number, at most."""


def size_bound(layers: Sequence[Layer], shape: Sequence[int]) -> float:
    """No less than a row of ``shape``, the parameters of ``layers`` and what they give for it; infinite where none is known."""
    size, is_flat = float(math.prod(shape)), len(shape) <= 1
    found = size
    for layer in layers:
        parameters, given = CONSTANTS * size + 1, size
        if isinstance(layer, Linear):
            parameters, given = (size + 1) * layer.features, layer.features * (1 if is_flat else size)
        elif isinstance(layer, Conv2d):
            if layer.padding not in ("same", "valid"):
                return math.inf
            parameters, given = (size * layer.kernel**2 + 1) * layer.channels, size * layer.channels
        elif isinstance(layer, Embedding):
            parameters, given = float(layer.count * (layer.features + 1) + 1), size * layer.features
        if isinstance(layer, Adaptable) and layer.adapter is not None:
            parameters += layer.adapter.rank * parameters
        size, is_flat = given, isinstance(layer, Flatten) or (is_flat and not isinstance(layer, Embedding | Reshape))
        found += parameters + given
    return found
