"""Products with matrices, in the form in which a compiler makes vector instructions of them without changing their order."""

from __future__ import annotations

from typing import Any

from driftline.networks.kernels.compiled import inner


@inner
def add_product(rows: Any, matrix: Any, out: Any) -> None:
    """``out`` ``[rows, outputs]`` grows by ``rows @ matrix``, of ``[rows, inputs]`` and ``[inputs, outputs]``."""
    inputs, outputs = matrix.shape
    whole = inputs - inputs % 4
    for i in range(0, whole, 4):
        for row in range(len(rows)):
            x0, x1, x2, x3 = rows[row, i], rows[row, i + 1], rows[row, i + 2], rows[row, i + 3]
            for j in range(outputs):
                first = x0 * matrix[i, j] + x1 * matrix[i + 1, j]
                out[row, j] += first + (x2 * matrix[i + 2, j] + x3 * matrix[i + 3, j])
    for i in range(whole, inputs):
        for row in range(len(rows)):
            x0 = rows[row, i]
            for j in range(outputs):
                out[row, j] += x0 * matrix[i, j]
