"""Learning from what a former version answers, beside the labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

from driftline.learning.examples import Examples
from driftline.networks.served_model import ServedModel
from driftline.spec.parts.distillation import Distillation
from driftline.spec.registry import Behaviour

Term: TypeAlias = Callable[[Tensor], Tensor]
"""Gives a term beside the loss, from the outputs ``[rows, classes]``."""


class DistillationTerm(Behaviour[Distillation]):
    """Holds outputs to those of a teacher."""

    def term(self, module: ServedModel, teacher: ServedModel, examples: Examples) -> Term:
        """What :func:`distilled` gives, with the recipe's weight and temperature."""
        return distilled(module, teacher, examples, self.parameters.weight, self.parameters.temperature)


def distilled(module: ServedModel, teacher: ServedModel, examples: Examples, weight: float, temperature: float) -> Term:
    """A term beside the loss, from the outputs ``[rows, classes]`` of ``module`` for ``examples``.

    It is ``weight · T² · KL(teacher ‖ module)`` at temperature ``T`` over the classes that the teacher knows, of a multi-label
    model summed over them; in a regression, and where it knows one class only, ``weight`` times the squared distance.
    """
    taught = _taught(module, teacher, examples)

    def term(outputs: Tensor) -> Tensor:
        known = min(taught.shape[1], outputs.shape[1])
        if not known:
            return outputs.new_zeros(())
        return weight * _distance(module, outputs[:, :known], taught[:, :known], temperature)

    return term


def _taught(module: ServedModel, teacher: ServedModel, examples: Examples) -> Tensor:
    """What the teacher answers, in the units of the module's outputs."""
    with torch.no_grad():
        taught: Tensor = teacher.eval()(examples.inputs)
        if teacher.target_scale is not None:
            taught = module.scaled_targets(teacher.target_scale.restore(taught))
    return taught


def _distance(module: ServedModel, outputs: Tensor, taught: Tensor, temperature: float) -> Tensor:
    if module.is_multilabel:
        theirs = (taught / temperature).sigmoid()
        excess = functional.binary_cross_entropy_with_logits(outputs / temperature, theirs, reduction="none")
        least = functional.binary_cross_entropy(theirs, theirs, reduction="none")
        return temperature**2 * (excess - least).sum(1).mean()
    if module.is_regression or taught.shape[1] < 2:
        return functional.mse_loss(outputs, taught)
    ours, theirs = (outputs / temperature).log_softmax(1), (taught / temperature).softmax(1)
    return temperature**2 * functional.kl_div(ours, theirs, reduction="batchmean")
