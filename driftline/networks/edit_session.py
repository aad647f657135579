"""A model while it is being edited."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init

from driftline.errors import InvalidInput
from driftline.networks.clone import sibling
from driftline.networks.model import Model
from driftline.networks.modules import joined
from driftline.networks.parameter_map import ParameterBlock, along_axis
from driftline.networks.price import OVER_BUDGET, UNLIMITED, ModelBudget
from driftline.networks.sealed import own_tensor, share
from driftline.networks.seeded import seeded
from driftline.networks.sequential import layered, network_rows
from driftline.networks.served_model import ServedModel
from driftline.networks.structure.base import Structure, path_in
from driftline.networks.structure.layered import LayeredStructure
from driftline.networks.structure.module import ModuleStructure
from driftline.networks.unit_flow import shapes
from driftline.spec import Factory, Layers, ModelSpec
from driftline.spec.classes import class_indices
from driftline.spec.network import layers_of
from driftline.spec.parts.edits import Edit


@dataclass(frozen=True)
class Sources:
    """What an edit may ask for beside the model.

    Args:
        weights: the tensors of the kept versions that edits need, by version and name.
        inputs: rows that the model was asked or taught, by input name; they tell which units are dead.
        error_of: how wrong a module is on examples that are kept from training; None where nothing is judged.
        budget: what the model may take after each edit; it is asked before the edit is carried out.
    """

    weights: Mapping[int, Mapping[str, Tensor]] = field(default_factory=dict)
    inputs: Mapping[str, Tensor] | None = None
    error_of: Callable[[ServedModel], float] | None = None
    budget: ModelBudget = UNLIMITED


@dataclass(frozen=True)
class EditResult:
    """What edits give. ``parameter_map`` names every parameter that lives on, in whole or in part; all others are new.

    Where ``keeps_function`` is not true, outputs have changed, and training or distillation has to repair them.
    """

    model: Model
    parameter_map: list[ParameterBlock] = field(default_factory=list)
    keeps_function: bool = True

    @property
    def spec(self) -> ModelSpec:
        return self.model.spec

    @property
    def classes(self) -> list[int | str]:
        return self.model.classes

    @property
    def module(self) -> ServedModel:
        return self.model.module


class EditSession:
    """The model ``before`` an edit, which stays as it is, and ``after`` it, which the edit changes.

    A tensor of another name or shape than before must be given its numbers by :meth:`set`.
    """

    def __init__(self, model: Model, sources: Sources | None = None) -> None:
        self.spec = model.spec
        self.classes = list(model.classes)
        self.before = model.module
        self.after = sibling(model.module)
        self.sources = sources or Sources()
        self.old: Mapping[str, Tensor] = model.module.state_dict()
        self.structure = self._structure()
        self._parameter_map: list[ParameterBlock] = []
        self._settled: set[str] = set()

    def _structure(self) -> Structure:
        layers, rows = layers_of(self.spec.network), network_rows(self.spec)
        if layers is None:
            return ModuleStructure(self.after.network, rows, self.after.computation.takes_names)
        return LayeredStructure(layers, self.before.network, rows)

    def restructure(self, change: Callable[[Structure], None], record: Edit) -> None:
        """Lets ``change`` change the structure; what has its name and shape as before keeps its numbers.

        A network of a user's own is built again from its factory and the edits on ``record``.
        """
        try:
            if isinstance(self.structure, ModuleStructure):
                self.sources.budget.check_growth(record, self.after)
            with seeded(0):
                change(self.structure)
                network = self._network(record)
        except InvalidInput as error:
            if error.code == OVER_BUDGET:
                raise
            raise ValueError(error.message) from None
        self.after.network = network.train(self.before.training)
        self._fit_output()
        own = self.after.state_dict()
        for name, value in self.old.items():
            new = self.new_name(name)
            if new in own and own[new].shape == value.shape and own[new].data_ptr() != value.data_ptr():
                own[new].copy_(value)

    def _network(self, record: Edit) -> nn.Module:
        network = self.spec.network
        if isinstance(self.structure, LayeredStructure):
            output = network.output if isinstance(network, Layers) else "task"
            self.spec = self.spec.changed(network=self.structure.described(output))
            self.sources.budget.check_spec(self.spec, self.classes)
            return layered(self.spec)[0]
        assert isinstance(network, Factory)
        self.spec = self.spec.changed(network=network.model_copy(update={"edits": [*network.edits, record]}))
        return self.structure.network

    def _fit_output(self) -> None:
        """Gives the output as many inputs as the network now has numbers."""
        self.structure.network = self.after.network
        size = torch.Size(self.structure.shapes()[""]).numel()
        width = self.spec.width(len(self.classes))
        output = self.after.output
        if isinstance(output, nn.Linear):
            if output.in_features != size:
                self.after.output = _linear(size, output.out_features, output.weight.requires_grad)
        elif size != width:
            raise ValueError(
                f"the network, which has its own output, would give {size} numbers where {width} are needed"
            )

    def new_name(self, name: str) -> str:
        """The name that an old tensor has now."""
        if not name.startswith("network."):
            return name
        path = name.removeprefix("network.")
        for old, new in self.structure.moves:
            if path == old or ((not old or old.endswith(".")) and path.startswith(old)):
                path = new + path[len(old) :]
        return f"network.{path}"

    def path(self, layer: str) -> str:
        """Where a layer was in the network, before."""
        return path_in(self.before.network, layer)

    def shape_before(self, layer: str | None) -> tuple[int, ...]:
        """The shape of a row after a layer, before the edit; None stands for the network's inputs."""
        rows, network = self.structure.rows, self.before.network
        if layer is None:
            return tuple(joined(rows).shape[1:])
        return shapes(network, rows, self.structure.takes_names)[self.path(layer)]

    def set_classes(self, classes: Sequence[int | str]) -> None:
        """Names the classes that the output answers now; what the recipe says of them goes along."""
        self.sources.budget.check_spec(self.spec, classes)
        recipe = self.spec.recipe.reclassed(class_indices(self.classes, classes))
        self.classes = list(classes)
        known = self.spec.classes if self.spec.classes == "open" else self.classes
        self.spec = self.spec.changed(classes=known, recipe=recipe)

    @property
    def head(self) -> nn.Linear:
        """The output layer that follows from the task; :class:`ValueError` where the network has its own."""
        if not isinstance(self.after.output, nn.Linear):
            raise ValueError('the network has its own output ("output": "own"), which stays as it is')
        return self.after.output

    @torch.no_grad()
    def set(self, name: str, value: Tensor) -> None:
        """Gives a tensor its numbers."""
        target = self.after.state_dict(keep_vars=True)[name]
        own_tensor(target)
        target.copy_(value)
        self._settled.add(name)

    def map_parameters(self, *blocks: ParameterBlock) -> None:
        """Says where an old parameter lives on, when that is not all of it under its name."""
        self._parameter_map += blocks

    def forget(self, name: str) -> None:
        """Says that a parameter begins again."""
        self._settled.add(name)
        self._parameter_map.append(ParameterBlock(name, name, ((),), ((),)))

    def rehead(self, rows: Sequence[int | None], bias: float = 0.0) -> None:
        """Gives the output layer other rows: those of old classes by their index; None for a new one, of weight zero."""
        old = self.head
        source = [row for row in rows if row is not None]
        target = [index for index, row in enumerate(rows) if row is not None]
        self.after.output = new = _linear(old.in_features, len(rows), old.weight.requires_grad)
        with torch.no_grad():
            new.bias.fill_(bias)
            new.weight[target] = old.weight[source]
            new.bias[target] = old.bias[source]
        for name in ("output.weight", "output.bias"):
            self._settled.add(name)
            self.map_parameters(along_axis(name, name, 0, source, target))

    def finish(self, keeps_function: bool) -> EditResult:
        """What the edit gives; :class:`ValueError` where shapes do not meet."""
        own = self.after.state_dict()
        for name, value in self.old.items():
            new = self.new_name(name)
            is_ours = name.startswith(("network.", "output.")) and new in own and new not in self._settled
            if is_ours and own[new].shape != value.shape:
                raise ValueError(
                    f"the shapes do not meet: {new.removeprefix('network.')} is {list(value.shape)} "
                    f"and would have to be {list(own[new].shape)}"
                )
        if _is_trained(self.before) and not _is_trained(self.after):
            raise ValueError("nothing would be left to train")
        self._share()
        return EditResult(Model(self.spec, self.classes, self.after), self._whole_map(), keeps_function)

    def _share(self) -> None:
        """Has large frozen parameters that stayed as they were once for both; what is trained is the edited module's own."""
        now = dict(self.after.named_parameters())
        for name, parameter in self.before.named_parameters():
            if (same := now.get(self.new_name(name))) is not None:
                share(same, parameter)
        for parameter in now.values():
            if parameter.requires_grad:
                own_tensor(parameter)

    def _whole_map(self) -> list[ParameterBlock]:
        """What the edit said, and every other parameter that has its name and shape."""
        said = {block.old for block in self._parameter_map}
        now = {name: parameter.shape for name, parameter in self.after.named_parameters()}
        rest = [
            ParameterBlock(name, self.new_name(name))
            for name, parameter in self.before.named_parameters()
            if name not in said and now.get(self.new_name(name)) == parameter.shape
        ]
        return [block for block in self._parameter_map if block.source != ((),)] + rest


def _is_trained(module: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in module.parameters())


def _linear(inputs: int, outputs: int, is_trained: bool) -> nn.Linear:
    """A linear layer of zeros."""
    layer: nn.Linear = skip_init(nn.Linear, inputs, outputs)  # type: ignore[no-untyped-call]
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer.requires_grad_(is_trained)
