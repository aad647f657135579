"""How likely each class has been of late, by which a decision may be corrected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

FADE = 0.9995
"""What a label leaves of the weight of those before it: a class of one row in a hundred is still known from twenty rows."""
CLASSES = ("chances", "labels")
PRIOR = "prior."
"""How the names of its tensors begin in those of its module."""


class RunningPrior(nn.Module):
    """Fading sums over labelled rows: of the probabilities that were answered, ``chances``, and of the ``labels`` of each
    class, both ``[classes]``; and of the rows themselves, ``count``.

    To answer the class with the largest *ratio* of its probability to its prior is to give every class the same right to be
    found: where probabilities are calibrated, no other decision has a larger mean recall of the classes (balanced accuracy;
    Menon et al. 2013, "On the Statistical Consistency of Algorithms for Binary Classification under Class Imbalance"). The
    prior of a class is its share of the probabilities or of the labels, whichever is larger: a loss by which rare classes
    count more has corrected probabilities already, and a class whose probability is always too small has no larger right.

    Until there are labels each class has its even share, which counts as one label ever after.
    """

    chances: Tensor
    labels: Tensor
    count: Tensor

    def __init__(self, classes: int) -> None:
        super().__init__()
        for name in CLASSES:
            self.register_buffer(name, torch.zeros(classes, dtype=torch.float64))
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))

    @property
    def factors(self) -> Tensor:
        """What each class's probability is multiplied by before the largest is answered ``[classes]``; 1 for all at first."""
        known = torch.maximum(self.chances, self.labels)
        return (self.count + 1) / (known * max(1, len(known)) + 1)

    @torch.no_grad()
    def observe(self, probabilities: Tensor, places: Tensor, weights: Tensor) -> None:
        """Takes labelled rows in, in their order.

        Args:
            probabilities: ``[rows, classes]``, what was answered.
            places: ``[rows]``, the classes of the labels.
            weights: ``[rows]``, how much each label counts: one of 0 changes nothing.
        """
        counts = weights.double()
        # Whatever came after a row has faded what it is worth.
        shares = FADE ** (counts.sum() - counts.cumsum(0)) * counts
        kept = FADE ** counts.sum()
        self.chances.mul_(kept).add_(shares @ probabilities.double())
        self.labels.mul_(kept).index_add_(0, places, shares)
        self.count.mul_(kept).add_(shares.sum())

    def add_classes(self, count: int) -> None:
        """Knows ``count`` more classes, of which nothing was answered."""
        for name in CLASSES:
            setattr(self, name, nn.functional.pad(getattr(self, name), (0, count)))

    def keep_classes(self, indices: Sequence[int]) -> None:
        """Knows some of the classes alone, by their indices, in this order."""
        for name in CLASSES:
            setattr(self, name, getattr(self, name)[list(indices)])

    def reclassed(self, places: Sequence[int | None]) -> RunningPrior:
        """The same of other classes; ``places``: where each of them stood, None where it did not."""
        found = RunningPrior(len(places))
        found.count = self.count.clone()
        known = [(index, place) for index, place in enumerate(places) if place is not None]
        index, place = torch.tensor(known, dtype=torch.int64).reshape(-1, 2).unbind(1)
        for name in CLASSES:
            getattr(found, name)[index] = getattr(self, name)[place]
        return found


def decisions(outputs: NDArray[Any], factors: NDArray[Any] | None) -> NDArray[np.int64]:
    """The index of the class that is answered to each row ``[rows]``, from probabilities ``[rows, classes]``; there is a class.

    Args:
        factors: :attr:`RunningPrior.factors`; None: the most probable class is answered.
    """
    found: NDArray[np.int64] = (outputs if factors is None else outputs * factors).argmax(1)
    return found


def with_prior(module: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors by name as a module takes them that decides otherwise than the one that they are of."""
    prior = getattr(module, "prior", None)
    found = {name: tensor for name, tensor in tensors.items() if prior is not None or not name.startswith(PRIOR)}
    if prior is not None and not any(name.startswith(PRIOR) for name in found):
        found |= {PRIOR + name: tensor for name, tensor in prior.state_dict().items()}
    return found
