"""Learning from what a former version answers, beside the labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pydantic import Field

from driftline.registry import Part

if TYPE_CHECKING:
    from torch import Tensor

    from driftline.learning.examples import Examples
    from driftline.networks.served_model import ServedModel


class Distillation(Part):
    """``weight`` times the distance to the teacher's answers, softened by ``temperature`` (Hinton et al. 2015).

    The teacher of a stream is its anchor, that of a retrain job the champion at its fork.
    """

    weight: float = Field(1.0, ge=0, le=1000)
    temperature: float = Field(2.0, gt=0, le=100)


def distilled(
    module: ServedModel, teacher: ServedModel, examples: Examples, weight: float, temperature: float
) -> Callable[[Tensor], Tensor]:
    """A term beside the loss, from the outputs ``[rows, classes]`` of ``module`` for ``examples``.

    It is ``weight · T² · KL(teacher ‖ module)`` at temperature ``T`` over the classes that the teacher knows; in a regression,
    and where it knows one class only, ``weight`` times the squared distance.
    """
    taught = _taught(module, teacher, examples)

    def term(outputs: Tensor) -> Tensor:
        known = min(taught.shape[1], outputs.shape[1])
        if not known:
            return outputs.new_zeros(())
        return weight * _distance(outputs[:, :known], taught[:, :known], temperature, module.is_regression)

    return term


def _taught(module: ServedModel, teacher: ServedModel, examples: Examples) -> Tensor:
    """What the teacher answers, in the units of the module's outputs."""
    import torch

    with torch.no_grad():
        taught: Tensor = teacher.eval()(examples.inputs)
        if teacher.target_scale is not None:
            taught = module.scaled_targets(teacher.target_scale.restore(taught))
    return taught


def _distance(outputs: Tensor, taught: Tensor, temperature: float, is_regression: bool) -> Tensor:
    from torch.nn import functional

    if is_regression or taught.shape[1] < 2:
        return functional.mse_loss(outputs, taught)
    ours, theirs = (outputs / temperature).log_softmax(1), (taught / temperature).softmax(1)
    return temperature**2 * functional.kl_div(ours, theirs, reduction="batchmean")
