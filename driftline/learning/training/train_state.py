"""What training changes: the weights, the optimizer, the counts of labels, and the sources of random draws."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from driftline.learning.examples import Examples
from driftline.learning.stateful import State, Stateful, part
from driftline.learning.training.optimizers import OptimizerFactory, load_state, state_of
from driftline.learning.training.row_levers import check_row_tables
from driftline.learning.training.row_optimizers import by_row
from driftline.networks import row_history
from driftline.networks.devices import drawing_on
from driftline.networks.edit_session import EditResult
from driftline.networks.model import Model
from driftline.networks.parameter_map import ParameterBlock
from driftline.networks.row_table import RowTable, row_tables, written_by_rows
from driftline.networks.sealed import own
from driftline.networks.served_model import ServedModel
from driftline.networks.set_tensors import set_tensors
from driftline.spec import ModelSpec
from driftline.spec.classes import ClassTable, indices_of


@dataclass(frozen=True)
class ReferenceModels:
    """Former versions that training is held to: the last champion, and the one whose answers are learned beside the labels."""

    champion: ServedModel | None = None
    teacher: ServedModel | None = None


@dataclass(frozen=True)
class ModuleEdit:
    """An edit of the module that was ``before``: which of its parameters live on in the new ones, of these ``shapes``."""

    before: ServedModel
    parameter_map: Sequence[ParameterBlock]
    shapes: Mapping[str, torch.Size]

    def carried(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What is known of each former parameter, by name, in the places of the new ones; zero for what is new in them."""
        found: dict[str, Tensor] = {}
        for block in self.parameter_map:
            if block.old in values:
                self._carry(block, values[block.old], block.new, found)
        return found

    def carried_state(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """As :meth:`carried`, of several quantities at once, named ``parameter.quantity``."""
        owned: dict[str, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            owner, _, quantity = key.rpartition(".")
            owned.setdefault(owner, {})[quantity] = value
        found: dict[str, Tensor] = {}
        for block in self.parameter_map:
            for quantity, value in owned.get(block.old, {}).items():
                self._carry(block, value, f"{block.new}.{quantity}", found)
        return found

    def _carry(self, block: ParameterBlock, value: Tensor, name: str, found: dict[str, Tensor]) -> None:
        if value.dim():
            shape = self.shapes[block.new]
            if (
                value.shape != self.before.get_parameter(block.old).shape
            ):  # Of a table some quantities are of whole rows.
                shape, block = torch.Size((shape[0], 1)), block.along_first_axis()
            block.copy(value, found.setdefault(name, value.new_zeros(shape)))
        else:
            found.setdefault(name, value)


class TrainState(Stateful):
    """A model's module with its optimizer, the labels counted, and the state of random draws.

    ``table`` has the ids of classes, ``index_of`` the place of each that the module answers. ``labels`` counts all that were
    learned; ``counts`` ``[ids]`` those of each class, up to the last that was seen. ``rng_state`` is that of torch's global
    generator while this model
    trains, ``generator`` is its own. ``parameters`` is what is trained, by name, in the optimizer's order; ``norms`` are the
    layers of batch normalisation, each with whether it is frozen; ``tables`` are the names of the parameters whose gradient is
    sparse.
    """

    STATE = ("module", "optimizer", "labels", "counts", "generator", "rng_state")
    DERIVED = ("spec", "classes", "index_of", "table", "references", "parameters", "norms", "tables")

    def __init__(self, model: Model, table: ClassTable, seed: int) -> None:
        self.table = table
        self.spec: ModelSpec
        self.classes: list[int | str]
        self.module: ServedModel
        self._take(model)
        self.references = ReferenceModels()
        self.generator = torch.Generator().manual_seed(seed)
        self.rng_state = torch.Generator().manual_seed(seed).get_state()
        self.labels = 0
        self.counts = torch.zeros(0, dtype=torch.int64)
        self.renew_optimizer()

    @property
    def model(self) -> Model:
        return Model(self.spec, self.classes, self.module)

    def renew_optimizer(self) -> None:
        """A fresh optimizer, as the recipe says; :class:`InvalidInput` where the network cannot have it."""
        check_row_tables(self.spec.recipe, self.module)
        factory = OptimizerFactory(self.spec.recipe.optimizer)
        self.parameters = {name: parameter for name, (parameter, _) in factory.trained(self.module).items()}
        self.optimizer = factory.build(self.module)
        self.tables = [name for name, _ in row_tables(self.module) if name in self.parameters]
        row_history.track(written_by_rows(self.module).values())
        has_rates = bool(factory.parameters.layers)
        self.norms = [
            (layer, _is_frozen(layer) or (has_rates and f"{path}.weight" not in self.parameters))
            for path, layer in self.module.named_modules()
            if isinstance(layer, _BatchNorm)
        ]

    def follow_recipe(self, spec: ModelSpec) -> None:
        """Goes on by another recipe; another kind of optimizer starts again."""
        former, optimizer = self.spec.recipe.optimizer, spec.recipe.optimizer
        self.spec = spec
        self.module.follow_recipe(spec.recipe)
        if optimizer != former:
            known = self.optimizer_state() if optimizer.continues(former) else {}
            self.renew_optimizer()
            load_state(self.optimizer, self.parameters, known)

    def optimizer_state(self) -> dict[str, Tensor]:
        """What the optimizer knows, by ``parameter.quantity``."""
        return state_of(self.optimizer, self.parameters)

    def renew_weights(self) -> None:
        """Fresh weights in every layer that knows how to make them, and a fresh optimizer."""
        reset_weights(self.module)
        self.renew_optimizer()

    def forget(self, name: str, place: tuple[slice | int, ...] = ()) -> None:
        """Lets the optimizer start again for a parameter, or for a place in it."""
        if name not in self.parameters:
            return
        parameter = self.parameters[name]
        for value in self.optimizer.state.get(parameter, {}).values():
            is_by_row = name in self.tables and not place
            if isinstance(value, Tensor) and (value.shape == parameter.shape or is_by_row):
                value[place or ...] = 0

    def forget_asked(self) -> None:
        """Forgets which rows of tables were asked for by passes that no update follows."""
        for _, table in self._row_tables():
            table.asked.clear()

    def admit_rows(self) -> None:
        """After an update: what came in it for the first time has rows of its own, of which the optimizer knows nothing."""
        for name, table in self._row_tables():
            if name in self.tables:
                new = table.admit(self.labels)
                known = by_row(self.optimizer.state.get(table.weight, {}))
                with row_history.writing(known, new):
                    for value in known:
                        value[new] = 0

    def _row_tables(self) -> Iterator[tuple[str, RowTable]]:
        if self.tables:
            for path, layer in self.module.named_modules():
                if isinstance(layer, RowTable):
                    yield f"{path}.weight", layer

    def count(self, examples: Examples) -> None:
        """Takes labels into ``counts``, where a row is of one class."""
        if not examples.targets.is_floating_point() and len(examples):
            # A small array takes numpy a fraction of the time that it takes torch.
            ids = examples.targets.numpy()
            missing = int(ids.max()) + 1 - self.counts.size(0)
            if missing > 0:
                self.counts = nn.functional.pad(self.counts, (0, missing))
            np.add.at(self.counts.numpy(), ids, 1)

    def discount(self, targets: Tensor) -> None:
        """Takes labels out of ``counts`` that were corrected: ids of classes ``[rows]``."""
        if len(targets):
            found = torch.bincount(targets, minlength=len(self.counts))[: len(self.counts)]
            self.counts = (self.counts - found).clamp_(min=0)

    def counts_by_output(self) -> Tensor:
        """The counts of the classes that are answered ``[classes]``; of a regression ``[0]``."""
        missing = len(self.table) - len(self.counts)
        counts = self.counts if missing <= 0 else torch.nn.functional.pad(self.counts, (0, missing))
        return counts[: len(self.classes)] if self.module.class_ids is None else counts[self.table.add(self.classes)]

    def champion_weights(self) -> dict[str, Tensor]:
        """The champion's weights and buffers by name; none while there is no champion."""
        return dict(self.references.champion.state_dict()) if self.references.champion is not None else {}

    def train_mode(self, rows: int) -> None:
        """Training mode. A single row has no variance: batch normalisation then takes its running one, as a frozen one does."""
        if not self.module.training:
            self.module.train()
        for layer, is_frozen in self.norms:
            layer.train(rows != 1 and not is_frozen)

    @contextmanager
    def drawing(self) -> Iterator[None]:
        """Lets dropout and others, which draw from torch's global generator, draw from ``rng_state``."""
        outside = torch.get_rng_state()
        torch.set_rng_state(self.rng_state)
        try:
            with drawing_on(self.module.device):
                yield
        finally:
            self.rng_state = torch.get_rng_state()
            torch.set_rng_state(outside)

    def restart(self, model: Model) -> None:
        """Goes on from the weights of ``model`` with a fresh optimizer; how wrong answers were of late is still known."""
        former = self.module
        self._take(model)
        self.module.follow_errors(former)
        self.renew_optimizer()

    def replace(self, edited: EditResult) -> ModuleEdit:
        """Goes on with an edited module; the optimizer keeps what it knows of the parameters that live on."""
        before, former = self.optimizer_state(), self.module
        self._take(edited.model)
        self.renew_optimizer()
        shapes = {name: parameter.shape for name, parameter in self.module.named_parameters()}
        edit = ModuleEdit(former, edited.parameter_map, shapes)
        load_state(self.optimizer, self.parameters, edit.carried_state(before))
        return edit

    def _take(self, model: Model) -> None:
        self.spec, self.classes, self.module = model.spec, model.classes, model.module
        model.module.follow_recipe(model.spec.recipe)
        self.index_of = indices_of(model.classes)
        model.module.set_class_ids(self.table.add(model.classes))

    def packed(self, name: str) -> Tensor | State | int:
        match name:
            case "optimizer":
                return State(self.optimizer_state(), {})
            case "generator":
                return self.generator.get_state()
            case _:
                return super().packed(name)  # type: ignore[no-any-return]

    def load_state_dict(self, state: State) -> None:
        set_tensors(self.module, part(state.tensors, "module"))
        self.renew_optimizer()
        load_state(self.optimizer, self.parameters, part(state.tensors, "optimizer"))
        self.labels, self.counts = state.data["labels"], state.tensors["counts"].clone()
        self.generator.set_state(state.tensors["generator"])
        self.rng_state = state.tensors["rng_state"].clone()


def reset_weights(module: ServedModel) -> None:
    """Draws again the weights of every layer of network and output that knows how to."""
    own(module)
    for half in (module.network, module.output):
        for layer in half.modules():
            reset = getattr(layer, "reset_parameters", None)
            if callable(reset):
                reset()


def _is_frozen(layer: nn.Module) -> bool:
    trained = [parameter.requires_grad for parameter in layer.parameters()]
    return bool(trained) and not any(trained)
