"""The losses a recipe can name, one file each."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from driftline.registry import Part, Registry

if TYPE_CHECKING:
    from torch import Tensor


class Loss(Part):
    """What training makes small. ``tasks`` are those it is for."""

    name: str
    tasks: ClassVar[frozenset[str]]

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The loss of each row.

        Args:
            outputs: logits ``[batch, classes]``, or values ``[batch, 1]`` of a regression.
            targets: class indices ``[batch]`` int64, or values ``[batch]`` float32.

        Returns:
            ``[batch]``, finite for finite outputs.
        """
        raise NotImplementedError


LOSSES = Registry(Loss, __name__)
