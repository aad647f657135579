"""A module with its optimizer, and the one update that both the stream and a retrain job make."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeAlias

import torch
from torch import Tensor, nn

from driftline.learning.examples import Examples
from driftline.learning.memory import Memory
from driftline.learning.optimizers import load_state, state_of
from driftline.learning.state import named, part
from driftline.learning.strategies import Method, Strategy
from driftline.networks.build import Served
from driftline.networks.kept import Kept
from driftline.spec import ModelSpec

Change: TypeAlias = Callable[[dict[str, Tensor]], dict[str, Tensor]]


class Trainee:
    """What training changes: the weights, the optimizer's and the strategy's state, and the state of chance."""

    def __init__(self, spec: ModelSpec, module: Served, seed: int) -> None:
        self.spec = spec
        self.module = module
        self.generator = torch.Generator().manual_seed(seed)
        self.chance = torch.Generator().manual_seed(seed).get_state()
        self.renew_optimizer()
        self.method = spec.strategy.start(self)

    def renew_optimizer(self) -> None:
        """A fresh optimizer, as the recipe says."""
        self.optimizer = self.spec.recipe.optimizer.build(self.module)

    def renew_weights(self) -> None:
        """Fresh weights in every layer that knows how to make them, and a fresh optimizer."""
        for owner in (self.module.network, self.module.output):
            for layer in owner.modules():
                reset = getattr(layer, "reset_parameters", None)
                if callable(reset):
                    reset()
        self.renew_optimizer()

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        """What is trained, by name."""
        return {name: parameter for name, parameter in self.module.named_parameters() if parameter.requires_grad}

    def loss(self, examples: Examples, outputs: Tensor | None = None) -> Tensor:
        """The mean weighted loss, of the module's ``outputs`` where they are known already."""
        outputs = self.module(examples.inputs) if outputs is None else outputs
        losses = self.spec.loss(outputs, self.module.scaled_targets(examples.targets))
        return (losses * examples.weights).sum() / len(losses)

    def descend(
        self, examples: Examples, extra: Callable[[Tensor], Tensor] | None = None, change: Change | None = None
    ) -> str | None:
        """One gradient update; or the reason why it was not made: a loss or a gradient that is not finite.

        Args:
            examples: those of the loss; where there is none, ``extra`` is all of it.
            extra: gives a term beside the loss, from the outputs ``[rows, classes]``.
            change: takes the gradient by parameter, and gives the one that is followed.
        """
        _train(self.module, len(examples))
        self.optimizer.zero_grad()
        outputs = self.module(examples.inputs)
        loss = self.loss(examples, outputs) if len(examples) else outputs.new_zeros(())
        if extra is not None:
            loss = loss + extra(outputs)
        if not bool(torch.isfinite(loss)):
            return "the loss is not a finite number"
        loss.backward()
        if change is not None:
            self._follow_another(change)
        limit = self.spec.recipe.optimizer.clip
        norm = torch.nn.utils.clip_grad_norm_(self.module.parameters(), limit if limit is not None else float("inf"))
        if not bool(torch.isfinite(norm)):
            return "the gradient is not finite"
        self.optimizer.step()
        return None

    def _follow_another(self, change: Change) -> None:
        own = {name: weight.grad for name, weight in self.parameters.items() if weight.grad is not None}
        for name, gradient in change(own).items():
            self.parameters[name].grad = gradient

    def gradient(self, examples: Examples) -> dict[str, Tensor]:
        """The loss's gradient by parameter; nothing is changed."""
        _train(self.module, len(examples))
        parameters = self.parameters
        found = torch.autograd.grad(self.loss(examples), list(parameters.values()), allow_unused=True)
        return {name: value for name, value in zip(parameters, found, strict=True) if value is not None}

    @contextmanager
    def drawing(self) -> Iterator[None]:
        """Lets dropout and friends, which draw from torch's global generator, draw from this trainee's own chance."""
        outside = torch.get_rng_state()
        torch.set_rng_state(self.chance)
        try:
            yield
        finally:
            self.chance = torch.get_rng_state()
            torch.set_rng_state(outside)

    def follow(self, spec: ModelSpec, memory: Memory) -> None:
        """Goes on by another recipe; another optimizer or strategy starts anew."""
        before, self.spec = self.spec, spec
        if spec.recipe.optimizer != before.recipe.optimizer:
            self.renew_optimizer()
        if spec.strategy != before.strategy:
            self.renew_strategy(self.method, memory)

    def renew_strategy(self, before: Method[Strategy], memory: Memory) -> None:
        """Lets the spec's strategy take over from another; what it serves beside the network is not lost, or made of memory."""
        self.module.experts = self.spec.strategy.experts(self.spec, self.module.width or len(self.spec.known_classes()))
        self.method = self.spec.strategy.start(self)
        self.method.take_over(before, memory)

    def restart(self, spec: ModelSpec, module: Served) -> None:
        """Goes on from other weights, knowing nothing else of them."""
        self.spec, self.module = spec, module
        self.renew_optimizer()
        self.method = spec.strategy.start(self)
        self.method.restart()

    def replace(self, spec: ModelSpec, module: Served, kept: Sequence[Kept]) -> None:
        """Goes on with an edited module; the optimizer and the strategy keep their state for what was kept."""
        before, method = state_of(self.optimizer, self.parameters), self.method.tensors()
        self.spec, self.module = spec, module
        self.renew_optimizer()
        shapes = {name: parameter.shape for name, parameter in module.named_parameters()}
        load_state(self.optimizer, self.parameters, _carried(before, shapes, kept))
        self.method = spec.strategy.start(self)
        self.method.follow(method, lambda state: _carried(state, shapes, kept))

    def tensors(self) -> dict[str, Tensor]:
        weights = {f"module.{name}": value for name, value in self.module.state_dict().items()}
        optimizer = {f"optimizer.{name}": value for name, value in state_of(self.optimizer, self.parameters).items()}
        method = named("method", self.method.tensors())
        return {**weights, **optimizer, **method, "generator": self.generator.get_state(), "chance": self.chance}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Sets the state that :meth:`tensors` gave."""
        self.module.load_state_dict(part(tensors, "module"))
        self.renew_optimizer()
        load_state(self.optimizer, self.parameters, part(tensors, "optimizer"))
        self.method = self.spec.strategy.start(self)
        self.method.load(part(tensors, "method"))
        self.generator.set_state(tensors["generator"])
        self.chance = tensors["chance"]


def _train(module: nn.Module, rows: int) -> None:
    """Training mode. A single row has no variance: batch normalisation then takes its running one, as a frozen one does."""
    module.train()
    for layer in module.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm) and (rows == 1 or _is_frozen(layer)):
            layer.eval()


def _is_frozen(layer: nn.Module) -> bool:
    trained = [parameter.requires_grad for parameter in layer.parameters()]
    return bool(trained) and not any(trained)


def _carried(before: Mapping[str, Tensor], shapes: Mapping[str, torch.Size], kept: Sequence[Kept]) -> dict[str, Tensor]:
    """The optimizer's state for the new parameters: theirs where they were kept, zero for what is new in them."""
    owned: dict[str, dict[str, Tensor]] = {}
    for key, value in before.items():
        owner, _, quantity = key.rpartition(".")
        owned.setdefault(owner, {})[quantity] = value
    found = dict(owned.get("", {}))  # What belongs to no parameter.
    for block in kept:
        for quantity, value in owned.get(block.old, {}).items():
            key = f"{block.new}.{quantity}"
            if value.dim():
                block.copy(value, found.setdefault(key, value.new_zeros(shapes[block.new])))
            else:
                found.setdefault(key, value)
    return found
