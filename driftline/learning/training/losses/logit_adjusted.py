"""Cross-entropy on logits that know how frequent each class is."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from driftline.learning.training.losses import CLASSIFICATION, Loss

if TYPE_CHECKING:
    from torch import Tensor


class LogitAdjusted(Loss):
    """Cross-entropy of ``logits + temperature · log prior`` (Menon et al. 2021, equation 10).

    What is served are the logits alone: the answer is then as good on rare classes as on frequent ones. The prior is the
    share of each class among the labels so far, and that of one never seen as if it came next.
    """

    name: Literal["logit_adjusted"] = "logit_adjusted"
    temperature: float = Field(1.0, ge=0, le=10)
    tasks: ClassVar[frozenset[str]] = CLASSIFICATION

    def __call__(self, outputs: Tensor, targets: Tensor, counts: Tensor) -> Tensor:
        from torch.nn.functional import cross_entropy

        prior = (counts.double() + 1) / (counts.sum() + len(counts))
        adjustment = self.temperature * prior.log().to(outputs.dtype)
        return cross_entropy(outputs + adjustment, targets, reduction="none")
