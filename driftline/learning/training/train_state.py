"""A module with its optimizer, and the one update that both the stream and a retrain job make."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from driftline.classes import added, are_in_place, class_indices
from driftline.learning.examples import Examples
from driftline.learning.replay.buffers import ReplayBuffer
from driftline.learning.stateful import named, part
from driftline.learning.training.distillation import distilled
from driftline.learning.training.losses import loss_function
from driftline.learning.training.optimizers import load_state, state_of
from driftline.learning.training.strategies import Strategy, StrategyRuntime
from driftline.learning.training.weight_hooks import WeightHooks
from driftline.networks.build import ServedModel
from driftline.networks.edits import Edited
from driftline.networks.edits.add_classes import AddClasses
from driftline.networks.parameter_map import ParameterBlock
from driftline.spec import ModelSpec

Change: TypeAlias = Callable[[dict[str, Tensor]], dict[str, Tensor]]


@dataclass(frozen=True)
class ReferenceModels:
    """Former versions that a train state is held to: the last champion, and the one whose answers it learns beside the labels."""

    champion: ServedModel | None = None
    teacher: ServedModel | None = None


class TrainState:
    """What training changes: the weights, the state of all that changes them, the labels counted, and the state of chance.

    ``classes`` are those that the module answers, in order. ``counts`` ``[classes]`` holds how many labels of
    each class have been learned, up to the last that was seen.
    ``parameters`` is what is trained, by name, in the optimizer's order; ``norms`` are the layers of batch normalisation,
    each with whether it is frozen.
    """

    def __init__(self, spec: ModelSpec, classes: Sequence[int | str], module: ServedModel, seed: int) -> None:
        self.spec = spec
        self.classes = list(classes)
        self.module = module
        self.references = ReferenceModels()
        self.generator = torch.Generator().manual_seed(seed)
        self.rng_state = torch.Generator().manual_seed(seed).get_state()
        self.labels = 0
        self.counts = torch.zeros(0, dtype=torch.int64)
        self.schedule = spec.recipe.optimizer.schedule.start(0)
        self.renew_optimizer()
        self.strategy_runtime = spec.strategy.start(self)
        self.weight_hooks = WeightHooks(self)

    def renew_optimizer(self) -> None:
        """A fresh optimizer, as the recipe says."""
        recipe = self.spec.recipe.optimizer
        self.parameters = {name: parameter for name, (parameter, _) in recipe.trained(self.module).items()}
        self.optimizer = recipe.build(self.module)
        self.norms = [
            (layer, _is_frozen(layer) or (bool(recipe.layers) and f"{path}.weight" not in self.parameters))
            for path, layer in self.module.named_modules()
            if isinstance(layer, nn.modules.batchnorm._BatchNorm)
        ]

    def renew_weights(self) -> None:
        """Fresh weights in every layer that knows how to make them, and a fresh optimizer."""
        reset_weights(self.module)
        self.renew_optimizer()

    def forget(self, name: str, place: tuple[slice | int, ...] = ()) -> None:
        """Lets the optimizer start anew for a parameter, or for a place in it."""
        if name not in self.parameters:
            return
        parameter = self.parameters[name]
        for value in self.optimizer.state.get(parameter, {}).values():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                value[place or ...] = 0

    def observe(self, new: Examples) -> None:
        """Lets the counts, the schedule and the method follow labels that are about to be learned."""
        self.strategy_runtime.observe(new)
        self.count(new)
        self.labels += len(new)

    def count(self, examples: Examples) -> None:
        """Takes labels into ``counts``."""
        if not self.module.is_regression and len(examples):
            found = torch.bincount(examples.targets, minlength=len(self.counts))
            found[: len(self.counts)] += self.counts
            self.counts = found

    def score(self, error: float) -> None:
        """Takes in the error of a prediction that was served."""
        self.spec.recipe.optimizer.schedule.score(self.schedule, error)

    def alarm(self, replay_buffer: ReplayBuffer) -> None:
        """The world has changed."""
        self.spec.recipe.optimizer.schedule.alarm(self.schedule, self.labels)
        self.weight_hooks.alarm()
        self.strategy_runtime.alarm(replay_buffer)

    def candidate(self) -> ServedModel:
        """What is put to the gate and served: the module, or the mean of its weights where the recipe averages."""
        return self.weight_hooks.candidate()

    @property
    def learning_rate(self) -> float:
        """The rate of the next update, as the schedule has it; that of a layer is a share of it."""
        recipe = self.spec.recipe.optimizer
        return recipe.learning_rate * recipe.schedule.factor(self.schedule, self.labels)

    def champion_weights(self) -> dict[str, Tensor]:
        """The champion's weights and buffers by name; none while there is no champion."""
        return dict(self.references.champion.state_dict()) if self.references.champion is not None else {}

    def loss(self, examples: Examples, outputs: Tensor | None = None) -> Tensor:
        """The mean weighted loss, of the module's ``outputs`` where they are known already."""
        outputs = self.module(examples.inputs) if outputs is None else outputs
        counts = self._counts_up_to(0 if self.module.is_regression else outputs.shape[1])
        losses = loss_function(self.spec.loss)(outputs, self.module.scaled_targets(examples.targets), counts)
        return (losses * examples.weights).mean()

    def _counts_up_to(self, classes: int) -> Tensor:
        missing = classes - len(self.counts)
        return self.counts[:classes] if missing <= 0 else torch.nn.functional.pad(self.counts, (0, missing))

    def training_step(
        self, examples: Examples, extra: Callable[[Tensor], Tensor] | None = None, change: Change | None = None
    ) -> str | None:
        """One gradient update; or the reason why it was not made: a loss or a gradient that is not finite.

        Args:
            examples: those of the loss; where there is none, ``extra`` is all of it.
            extra: gives a term beside the loss, from the outputs ``[rows, classes]``.
            change: takes the gradient by parameter, and gives the one that is followed.
        """
        self._train(len(examples))
        for weight in self.parameters.values():
            weight.grad = None
        outputs = self.module(examples.inputs)
        loss = self.loss(examples, outputs) if len(examples) else outputs.new_zeros(())
        if extra is not None:
            loss = loss + extra(outputs)
        if len(examples) and (term := self._distilled(examples)) is not None:
            loss = loss + term(outputs)
        if not math.isfinite(loss.item()):
            return "the loss is not a finite number"
        loss.backward()
        if change is not None:
            self._follow_another(change)
        self.weight_hooks.gradient()
        if not self._clip():
            return "the gradient is not finite"
        self.spec.recipe.optimizer.set_rate(self.optimizer, self.learning_rate)
        self.optimizer.step()
        self.weight_hooks.updated(examples)
        return None

    def _clip(self) -> bool:
        """Bounds the gradient's norm as the recipe says; whether it is finite."""
        norm = get_total_norm([weight.grad for weight in self.parameters.values() if weight.grad is not None])
        length, limit = norm.item(), self.spec.recipe.optimizer.clip
        if limit is not None and length > limit:
            clip_grads_with_norm_(self.parameters.values(), limit, norm)
        return math.isfinite(length)

    def _distilled(self, examples: Examples) -> Callable[[Tensor], Tensor] | None:
        """The term by which the outputs are held to the teacher's, where the recipe says so."""
        recipe, teacher = self.spec.recipe.distillation, self.references.teacher
        if recipe is None or teacher is None:
            return None
        return distilled(self.module, teacher, examples, recipe.weight, recipe.temperature)

    def _train(self, rows: int) -> None:
        """Training mode. A single row has no variance: batch normalisation then takes its running one, as a frozen one does."""
        if not self.module.training:
            self.module.train()
        for layer, is_frozen in self.norms:
            layer.train(rows != 1 and not is_frozen)

    def _follow_another(self, change: Change) -> None:
        own = {name: weight.grad for name, weight in self.parameters.items() if weight.grad is not None}
        for name, gradient in change(own).items():
            self.parameters[name].grad = gradient

    def gradient(self, examples: Examples) -> dict[str, Tensor]:
        """The loss's gradient by parameter; nothing is changed."""
        self._train(len(examples))
        parameters = self.parameters
        found = torch.autograd.grad(self.loss(examples), list(parameters.values()), allow_unused=True)
        return {name: value for name, value in zip(parameters, found, strict=True) if value is not None}

    @contextmanager
    def drawing(self) -> Iterator[None]:
        """Lets dropout and friends, which draw from torch's global generator, draw from this train state's own chance."""
        outside = torch.get_rng_state()
        torch.set_rng_state(self.rng_state)
        try:
            yield
        finally:
            self.rng_state = torch.get_rng_state()
            torch.set_rng_state(outside)

    def follow_recipe(self, spec: ModelSpec, remembered: Examples) -> None:
        """Goes on by another recipe; another optimizer, strategy, schedule or rule starts anew, from what is ``remembered``."""
        before, self.spec = self.spec, spec
        former, optimizer = before.recipe.optimizer, spec.recipe.optimizer
        if optimizer != former:
            kept = state_of(self.optimizer, self.parameters) if optimizer.continues(former) else {}
            self.renew_optimizer()
            load_state(self.optimizer, self.parameters, kept)
        if optimizer.schedule != former.schedule:
            self.schedule = optimizer.schedule.start(self.labels)
        if spec.strategy != before.strategy:
            self.renew_strategy(self.strategy_runtime, remembered)
        self.weight_hooks.follow_recipe()

    def renew_strategy(self, before: StrategyRuntime[Strategy], remembered: Examples) -> None:
        """Lets the spec's strategy take over from another; what it serves beside the network is not lost, or made of memory."""
        self.module.experts = self.spec.strategy.experts(self.spec, self.module.width)
        self.strategy_runtime = self.spec.strategy.start(self)
        self.strategy_runtime.warm_start_from(before, remembered)

    def leave_experts(self) -> None:
        """Goes on without what the strategy serves beside the network; :meth:`renew_strategy` brings it back."""
        self.module.experts = None
        self.strategy_runtime = self.spec.strategy.start(self)

    def restart(self, spec: ModelSpec, classes: Sequence[int | str], module: ServedModel) -> None:
        """Goes on from weights that answer these ``classes``, knowing nothing else of them; other present ones come behind."""
        self._take(_with_classes(Edited(spec, list(classes), module), added(classes, self.classes)))
        self.renew_optimizer()
        self.strategy_runtime = self.spec.strategy.start(self)
        self.strategy_runtime.restart()
        self.weight_hooks.follow_recipe()
        self.weight_hooks.restart()

    def add_classes(self, classes: Sequence[int | str]) -> None:
        """Answers more classes."""
        if classes:
            self.replace(_with_classes(Edited(self.spec, self.classes, self.module), classes))

    def replace(self, edited: Edited) -> None:
        """Goes on with an edited module; the optimizer and the strategy keep their state for what was kept."""
        before, strategy_runtime, former = (
            state_of(self.optimizer, self.parameters),
            self.strategy_runtime.tensors(),
            self.module,
        )
        self._take(edited)
        self.renew_optimizer()
        kept, shapes = edited.kept, {name: parameter.shape for name, parameter in self.module.named_parameters()}
        load_state(self.optimizer, self.parameters, _carried(before, shapes, kept))
        self.strategy_runtime = self.spec.strategy.start(self)
        self.strategy_runtime.after_edit(strategy_runtime, lambda state: _carried(state, shapes, kept))
        self.weight_hooks.follow_edit(former, lambda state: _carried(state, shapes, kept))

    def _take(self, edited: Edited) -> None:
        self.counts = _reclassed(self.counts, class_indices(self.classes, edited.classes))
        self.spec, self.classes, self.module = edited.spec, edited.classes, edited.module

    def tensors(self) -> dict[str, Tensor]:
        schedule = {name: torch.tensor(value, dtype=torch.float64) for name, value in self.schedule.items()}
        return {
            **named("module", self.module.state_dict()),
            **named("optimizer", state_of(self.optimizer, self.parameters)),
            **named("method", self.strategy_runtime.tensors()),
            **named("upkeep", self.weight_hooks.tensors()),
            **named("schedule", schedule),
            "counts": self.counts,
            "labels": torch.tensor(self.labels),
            "generator": self.generator.get_state(),
            "chance": self.rng_state,
        }

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Sets the state that :meth:`tensors` gave."""
        self.module.load_state_dict(part(tensors, "module"))
        self.renew_optimizer()
        load_state(self.optimizer, self.parameters, part(tensors, "optimizer"))
        self.strategy_runtime = self.spec.strategy.start(self)
        self.strategy_runtime.load(part(tensors, "method"))
        self.weight_hooks.load(part(tensors, "upkeep"))
        self.schedule = {name: value.item() for name, value in part(tensors, "schedule").items()}
        self.counts, self.labels = tensors["counts"].clone(), int(tensors["labels"])
        self.generator.set_state(tensors["generator"])
        self.rng_state = tensors["chance"]


def _with_classes(edited: Edited, more: Sequence[int | str]) -> Edited:
    return AddClasses(classes=list(more)).apply(edited.spec, edited.classes, edited.module) if more else edited


def _reclassed(counts: Tensor, indices: Sequence[int | None]) -> Tensor:
    """Counts of classes by their new indices; those of classes that are gone go."""
    if are_in_place(indices):
        return counts
    pairs = [(index, count) for index, count in zip(indices, counts.tolist(), strict=False) if index is not None]
    found = torch.zeros(max((index + 1 for index, _ in pairs), default=0), dtype=counts.dtype)
    for index, count in pairs:
        found[index] = count
    return found


def reset_weights(module: ServedModel) -> None:
    """Draws the weights of every layer of network and output anew that knows how to."""
    for half in (module.network, module.output):
        for layer in half.modules():
            reset = getattr(layer, "reset_parameters", None)
            if callable(reset):
                reset()


def _is_frozen(layer: nn.Module) -> bool:
    trained = [parameter.requires_grad for parameter in layer.parameters()]
    return bool(trained) and not any(trained)


def _carried(
    before: Mapping[str, Tensor], shapes: Mapping[str, torch.Size], kept: Sequence[ParameterBlock]
) -> dict[str, Tensor]:
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
