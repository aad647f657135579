"""A loss of a user's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from driftline.errors import DriftlineError
from driftline.learning.training.losses import CLASSIFICATION, REGRESSION, Loss
from driftline.networks.user_code import imported, told
from driftline.spec.parse import FUNCTION_PATTERN

if TYPE_CHECKING:
    from torch import Tensor


class LossFailed(DriftlineError):
    """A user's own loss has raised, or has given what is no loss."""

    default_code = "loss_failed"


class Custom(Loss):
    """``function(outputs, targets, **arguments)``, which gives the loss of each row ``[batch]``.

    Only what the operator lists in ``DRIFTLINE_FACTORIES``.
    """

    name: Literal["custom"] = "custom"
    function: str = Field(pattern=FUNCTION_PATTERN)
    arguments: dict[str, Any] = Field({})
    tasks: ClassVar[frozenset[str]] = CLASSIFICATION | REGRESSION

    def __call__(self, outputs: Tensor, targets: Tensor, counts: Tensor) -> Tensor:
        try:
            losses: Tensor = imported(self.function)(outputs, targets, **self.arguments)
        except Exception as error:  # A user's own code may raise anything.
            raise LossFailed(told(error)) from error
        if getattr(losses, "shape", None) != targets.shape:
            given = list(getattr(losses, "shape", [])) or type(losses).__name__
            raise LossFailed(
                f"{self.function} gave {given} where {list(targets.shape)} was expected: a loss for each row"
            )
        if outputs.requires_grad and not losses.requires_grad:
            raise LossFailed(f"{self.function} gave a loss that does not depend on the outputs")
        return losses
