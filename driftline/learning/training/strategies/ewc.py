"""Elastic weight consolidation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from driftline.learning.training.strategies import Strategy, StrategyRuntime

if TYPE_CHECKING:
    from torch import Tensor

    from driftline.learning.examples import Examples
    from driftline.learning.replay.buffers import ReplayBuffer
    from driftline.learning.training.train_state import TrainState
    from driftline.networks.served_model import ServedModel


class Ewc(Strategy):
    """Holds on to the weights that mattered (online EWC, Schwarz et al. 2018, after Kirkpatrick et al. 2017).

    The penalty is ``strength / 2 · Σ F (θ − θ*)²``. Every ``every`` labels the weights of then become ``θ*``; the importance
    ``F`` is the mean squared gradient, of which a share of ``decay`` is kept from one time to the next.
    """

    name: Literal["ewc"] = "ewc"
    strength: float = Field(100.0, ge=0, le=1e9)
    decay: float = Field(0.9, ge=0, le=1)
    every: int = Field(512, ge=1, le=1_000_000)

    def start(self, train_state: TrainState) -> StrategyRuntime[Ewc]:
        return EwcRuntime(train_state, self)


class EwcRuntime(StrategyRuntime[Ewc]):
    """``gathered`` is the sum of squared gradients since the last consolidation, over ``labels`` labels."""

    def __init__(self, train_state: TrainState, strategy: Ewc) -> None:
        import torch

        super().__init__(train_state, strategy)
        self.importance = {name: torch.zeros_like(weight) for name, weight in self._weights()}
        self.gathered = {name: torch.zeros_like(weight) for name, weight in self._weights()}
        self.center = {name: weight.detach().clone() for name, weight in self._weights()}
        self.labels = 0

    def _weights(self) -> list[tuple[str, Tensor]]:
        return [(name, weight) for name, weight in self.train_state.module.named_parameters() if weight.requires_grad]

    def update(self, new: Examples, replay_buffer: ReplayBuffer, teacher: ServedModel | None) -> str | None:
        return self.train_state.training_step(new, self._penalty) if len(new) else None

    def _penalty(self, outputs: Tensor) -> Tensor:
        terms = [(self.importance[name] * (weight - self.center[name]) ** 2).sum() for name, weight in self._weights()]
        return self.strategy.strength / 2 * sum(terms, outputs.new_zeros(()))

    def end_step(self, new: Examples, replay_buffer: ReplayBuffer) -> None:
        if not len(new):
            return
        for name, gradient in self.train_state.gradient(new).items():
            self.gathered[name] += len(new) * gradient**2
        self.labels += len(new)
        if self.labels >= self.strategy.every:
            self._consolidate()

    def _consolidate(self) -> None:
        for name, weight in self._weights():
            fresh = self.gathered[name] / self.labels
            self.importance[name] = self.strategy.decay * self.importance[name] + fresh
            self.gathered[name].zero_()
            self.center[name] = weight.detach().clone()
        self.labels = 0

    def tensors(self) -> dict[str, Tensor]:
        import torch

        kinds = {"importance": self.importance, "gathered": self.gathered, "center": self.center}
        found = {f"{name}.{kind}": value for kind, values in kinds.items() for name, value in values.items()}
        return {**found, "labels": torch.tensor(self.labels)}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        for kind, values in (("importance", self.importance), ("gathered", self.gathered), ("center", self.center)):
            values.update({name: tensors[f"{name}.{kind}"].clone() for name in values if f"{name}.{kind}" in tensors})
        self.labels = int(tensors.get("labels", 0))
