"""One binary classifier for each class."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from driftline.learning.training.losses import CLASSIFICATION, Loss

if TYPE_CHECKING:
    from torch import Tensor


class BinaryCrossEntropy(Loss):
    """One class against the rest: the binary cross-entropies of all logits, summed (Rifkin & Klautau 2004)."""

    name: Literal["bce"] = "bce"
    tasks: ClassVar[frozenset[str]] = CLASSIFICATION

    def __call__(self, outputs: Tensor, targets: Tensor, counts: Tensor) -> Tensor:
        from torch.nn.functional import binary_cross_entropy_with_logits, one_hot

        wanted = one_hot(targets, outputs.shape[1]).to(outputs.dtype)
        return binary_cross_entropy_with_logits(outputs, wanted, reduction="none").sum(1)
