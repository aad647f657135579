"""Learning without forgetting."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from driftline.learning.strategies import Method, Strategy

if TYPE_CHECKING:
    from torch import Tensor

    from driftline.learning.examples import Examples
    from driftline.learning.memory import Memory
    from driftline.learning.trainee import Trainee
    from driftline.networks.build import Served


class Lwf(Strategy):
    """Keeps answering as an older champion did (LwF, Li & Hoiem 2016): new labels, and distillation on the new inputs.

    ``strength`` weighs the distillation, at ``temperature`` (Hinton et al. 2015); in a regression it is the squared distance.
    """

    name: Literal["lwf"] = "lwf"
    strength: float = Field(1.0, ge=0, le=100)
    temperature: float = Field(2.0, gt=0, le=100)

    def start(self, trainee: Trainee) -> Method[Lwf]:
        return LwfMethod(trainee, self)


class LwfMethod(Method[Lwf]):
    def update(self, new: Examples, memory: Memory, teacher: Served | None) -> str | None:
        import torch

        if not len(new):
            return None
        if teacher is None:
            return self.trainee.descend(new)
        with torch.no_grad():
            taught = teacher.eval()(new.inputs)
            if teacher.target_scale is not None:
                taught = self.trainee.module.scaled_targets(teacher.target_scale.restore(taught))
        return self.trainee.descend(new, lambda outputs: self.strategy.strength * self._distance(outputs, taught))

    def _distance(self, outputs: Tensor, taught: Tensor) -> Tensor:
        from torch.nn import functional

        known = taught.shape[1]
        if self.trainee.module.is_regression or known < 2:
            return functional.mse_loss(outputs[:, :known], taught) if known else outputs.new_zeros(())
        heat = self.strategy.temperature
        ours, theirs = (outputs[:, :known] / heat).log_softmax(1), (taught / heat).softmax(1)
        return heat**2 * functional.kl_div(ours, theirs, reduction="batchmean")
