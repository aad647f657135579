"""The losses, one file each."""

from __future__ import annotations

from typing import Any, TypeVar

from torch import Tensor

from driftline.spec.parts.losses import Loss
from driftline.spec.registry import Behaviour, Behaviours

L = TypeVar("L", bound=Loss)


class LossFunction(Behaviour[L]):
    """What training makes small."""

    def __call__(self, outputs: Tensor, targets: Tensor, counts: Tensor) -> Tensor:
        """The loss of each row.

        Args:
            outputs: logits ``[batch, classes]``, or values ``[batch, outputs]`` of a regression.
            targets: class indices ``[batch]`` int64; of a multi-label model 1 for the classes of a row, else 0, ``[batch,
                classes]`` float32; or values float32: ``[batch]``, of several outputs ``[batch, outputs]``.
            counts: how many labels of each class have been learned, ``[classes]`` int64; of a regression ``[0]``.

        Returns:
            ``[batch]``, finite for finite outputs.
        """
        raise NotImplementedError


LOSS_FUNCTIONS: Behaviours[Loss, LossFunction[Any]] = Behaviours(LossFunction, __name__)


def loss_function(loss: Loss) -> LossFunction[Any]:
    """The function of a loss with its parameters."""
    return LOSS_FUNCTIONS.of(loss)(loss)
