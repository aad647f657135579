"""Cross-entropy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from driftline.classes import are_in_place
from driftline.learning.training.losses import CLASSIFICATION, Loss

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


class CrossEntropy(Loss):
    """``-log p(label)``, the label's share smoothed by ``smoothing`` (Szegedy et al. 2016).

    ``weights`` are those of the classes, in their order; 1 for those behind the last.
    """

    name: Literal["cross_entropy"] = "cross_entropy"
    smoothing: float = Field(0.0, ge=0, lt=1)
    weights: list[Annotated[float, Field(ge=0, le=1e6)]] = Field([], max_length=100_000)
    tasks: ClassVar[frozenset[str]] = CLASSIFICATION

    def __call__(self, outputs: Tensor, targets: Tensor, counts: Tensor) -> Tensor:
        from torch.nn.functional import cross_entropy

        weight = self._weight(outputs) if self.weights else None
        return cross_entropy(outputs, targets, weight, reduction="none", label_smoothing=self.smoothing)

    def _weight(self, outputs: Tensor) -> Tensor:
        found = outputs.new_ones(outputs.shape[1])
        known = self.weights[: len(found)]
        found[: len(known)] = outputs.new_tensor(known)
        return found

    def reclassed(self, indices: Sequence[int | None]) -> CrossEntropy:
        if are_in_place(indices):
            return self
        weight_of = {index: weight for index, weight in zip(indices, self.weights, strict=False) if index is not None}
        weights = [weight_of.get(index, 1.0) for index in range(max(weight_of, default=-1) + 1)]
        return self.model_copy(update={"weights": weights})

    def check(self, classes: int | None) -> None:
        if classes is not None and len(self.weights) > classes:
            raise ValueError(f"recipe.loss.weights: there are {len(self.weights)} weights for {classes} classes")
