"""A loss of a user's own."""

from __future__ import annotations

from torch import Tensor

from driftline.errors import DriftlineError
from driftline.learning.training.losses import LossFunction
from driftline.networks.user_code import imported, ran_out_of_memory, reason_of, user_code
from driftline.spec.parts.losses import Custom


class LossFailed(DriftlineError):
    """A user's own loss has raised, or has given what is no loss."""

    default_code = "loss_failed"


class CustomLoss(LossFunction[Custom]):
    """What a function of a user's own gives; :class:`LossFailed` where that is no loss."""

    def __call__(self, outputs: Tensor, targets: Tensor, counts: Tensor) -> Tensor:
        name = self.parameters.function
        try:
            with user_code(name):
                losses: Tensor = imported(name)(outputs, targets, **self.parameters.arguments)
        except DriftlineError as error:
            if ran_out_of_memory(error):
                raise
            raise LossFailed(reason_of(error)) from error
        if getattr(losses, "shape", None) != targets.shape[:1]:
            given = list(getattr(losses, "shape", [])) or type(losses).__name__
            raise LossFailed(f"{name} gave {given} where {list(targets.shape[:1])} was expected: a loss for each row")
        if outputs.requires_grad and not losses.requires_grad:
            raise LossFailed(f"{name} gave a loss that does not depend on the outputs")
        return losses
