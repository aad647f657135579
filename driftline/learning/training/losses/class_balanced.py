"""Cross-entropy that is fair to rare classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from driftline.learning.training.losses import CLASSIFICATION, Loss

if TYPE_CHECKING:
    from torch import Tensor


class ClassBalanced(Loss):
    """Cross-entropy weighted by ``(1 - beta) / (1 - beta^n)``, with ``n`` labels of a class so far (Cui et al. 2019).

    The weights of the classes that have been seen are 1 on average.
    """

    name: Literal["class_balanced"] = "class_balanced"
    beta: float = Field(0.999, ge=0, lt=1)
    tasks: ClassVar[frozenset[str]] = CLASSIFICATION

    def __call__(self, outputs: Tensor, targets: Tensor, counts: Tensor) -> Tensor:
        from torch.nn.functional import cross_entropy

        weights = self.weights(counts).to(outputs.dtype)
        return weights[targets] * cross_entropy(outputs, targets, reduction="none")

    def weights(self, counts: Tensor) -> Tensor:
        """The weight of each class ``[classes]``; one that was never seen has that of a class seen once."""
        found = (1 - self.beta) / (1 - self.beta ** counts.double().clamp(min=1))
        seen = found[counts > 0]
        return found / seen.mean() if len(seen) else found
