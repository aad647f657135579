"""How wrong answers are, where a row may be of several classes."""

from __future__ import annotations

from torch import Tensor

from driftline.spec.label_set import THRESHOLD


def hamming_losses(probabilities: Tensor, targets: Tensor) -> Tensor:
    """The share of the classes that each row is wrong about ``[rows]``; all of them where a probability is not a number.

    Args:
        probabilities: ``[rows, classes]``.
        targets: 1 for the classes of a row, else 0, ``[rows, classes]``.
    """
    is_wrong = (probabilities >= THRESHOLD) != (targets >= THRESHOLD)
    return (is_wrong | probabilities.isnan().any(1, keepdim=True)).float().mean(1)
