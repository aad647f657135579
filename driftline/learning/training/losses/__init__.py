"""The losses a recipe can name, one file each."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from driftline.registry import Part, Registry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

CLASSIFICATION = frozenset({"classification"})
REGRESSION = frozenset({"regression"})


class Loss(Part):
    """What training makes small. ``tasks`` are those it is for."""

    name: str
    tasks: ClassVar[frozenset[str]]

    def __call__(self, outputs: Tensor, targets: Tensor, counts: Tensor) -> Tensor:
        """The loss of each row.

        Args:
            outputs: logits ``[batch, classes]``, or values ``[batch, 1]`` of a regression.
            targets: class indices ``[batch]`` int64, or values ``[batch]`` float32.
            counts: how many labels of each class have been learned, ``[classes]`` int64; of a regression ``[0]``.

        Returns:
            ``[batch]``, finite for finite outputs.
        """
        raise NotImplementedError

    def reclassed(self, indices: Sequence[int | None]) -> Loss:
        """The same loss for classes with other indices (:func:`driftline.classes.class_indices`)."""
        return self

    def check(self, classes: int | None) -> None:
        """:class:`ValueError` where it does not fit so many classes; None is any number of them."""


LOSSES = Registry(Loss, __name__)
