"""The structure of a network, and the changes that edits make of it.

A network given by layers is changed in its list of layers, and then built anew. A user's own is changed in its submodules.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from driftline.networks import adapters
from driftline.networks.clone import clone
from driftline.networks.layers import Adaptable, Adapter, Layer
from driftline.networks.layers.activations import Activation, Blend
from driftline.networks.modules import Blended, Branched, joined
from driftline.networks.sequential import layer_names, sequential
from driftline.networks.unit_flow import CONVOLUTIONS, OUTPUT, is_sequential, parent_of, shapes, unit_flow_after

if TYPE_CHECKING:
    from driftline.spec import Layers

MOST_NAMED = 20


class Structure(ABC):
    """A network whose layers go by names: those of the spec, or the paths of submodules.

    Layers of a branch are called ``branch1.…``. All methods raise a :class:`ValueError` where a layer does not fit.
    ``moves`` are the names under which old tensors stand now: of one, or of all that begin with a name that ends in a dot.
    ``added`` are the paths of new layers.
    """

    def __init__(self, network: nn.Module, rows: Mapping[str, Tensor], takes_names: bool) -> None:
        self.network = network
        self.rows = rows
        self.takes_names = takes_names
        self.moves: list[tuple[str, str]] = []
        self.added: list[str] = []

    @property
    @abstractmethod
    def names(self) -> list[str]:
        """All layers."""

    def path(self, name: str) -> str:
        """Where a layer is in the network."""
        if name not in self.names:
            known = ", ".join(self.names[:MOST_NAMED]) + (", …" if len(self.names) > MOST_NAMED else "")
            raise ValueError(f"there is no layer {name!r}; there are {known}")
        return path_in(self.network, name)

    def module(self, name: str) -> nn.Module:
        """A layer's module."""
        return self.network.get_submodule(self.path(name))

    def name(self, path: str) -> str:
        """The name of the layer that is at ``path``."""
        return next(name for name in self.names if path_in(self.network, name) == path)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of a row behind each submodule, by path."""
        return shapes(self.network, self.rows, self.takes_names)

    @abstractmethod
    def insert(self, after: str | None, layer: Layer) -> None:
        """Puts a new layer behind another, or in front of all."""

    @abstractmethod
    def remove(self, name: str) -> None:
        """Takes a layer out."""

    def swap(self, name: str, activation: Activation, blend: int | None) -> None:
        """Puts an activation in the place of another; with ``blend`` in so many updates."""
        path = self.path(name)
        self._swap(name, activation, blend)
        if blend:
            self.moves.append((f"{path}.", f"{path}.old."))

    @abstractmethod
    def _swap(self, name: str, activation: Activation, blend: int | None) -> None: ...

    @abstractmethod
    def resize(self, name: str, units: int) -> None:
        """Gives a layer another number of units, and what takes them as many inputs."""

    @abstractmethod
    def grow(self, name: str, count: int) -> None:
        """Gives an embedding another number of vectors."""

    @abstractmethod
    def absorb(self, name: str, next_name: str, has_bias: bool) -> None:
        """Takes the layer behind a linear or convolution layer into it."""

    @abstractmethod
    def freeze(self, name: str, is_frozen: bool) -> None:
        """Lets a layer's weights stay, or be trained."""

    def adapt(self, name: str, rank: int | None) -> None:
        """Gives a layer an adapter; None puts it into the weight."""
        weight, original = f"{self.path(name)}.weight", f"{self.path(name)}.parametrizations.weight.original"
        self._adapt(name, rank)
        self.moves.append((original, weight) if rank is None else (weight, original))

    @abstractmethod
    def _adapt(self, name: str, rank: int | None) -> None: ...

    @abstractmethod
    def join(self, layers: Sequence[Layer]) -> None:
        """Adds a branch of layers."""

    @property
    def free_branch(self) -> str:
        """A name for a new branch."""
        taken = {name.partition(".")[0] for name in self.names}
        return next(name for number in itertools.count(1) if (name := f"branch{number}") not in taken)


def path_in(network: nn.Module, name: str) -> str:
    """Where the layer called ``name`` is in a network."""
    if not isinstance(network, Branched):
        return name
    branch, _, rest = name.partition(".")
    return name if rest and branch in network.branch_names else f"main.{name}"


class LayeredStructure(Structure):
    """A network given by layers. ``network`` is the one before: the layers change, and it stays as it is."""

    def __init__(self, spec: Layers, network: nn.Module, rows: Mapping[str, Tensor]) -> None:
        super().__init__(network, rows, takes_names=False)
        self.lists = {"": _named(spec.layers), **{name: _named(layers) for name, layers in spec.branches.items()}}

    @property
    def names(self) -> list[str]:
        return [f"{branch}.{layer.name}" if branch else str(layer.name) for branch, layer in self._all()]

    def _all(self) -> list[tuple[str, Layer]]:
        return [(branch, layer) for branch, layers in self.lists.items() for layer in layers]

    def layer(self, name: str) -> Layer:
        """A layer as the spec has it."""
        layers, index = self._find(name)
        return layers[index]

    def insert(self, after: str | None, layer: Layer) -> None:
        layers, index = self._find(after) if after is not None else (self.lists[""], -1)
        layers[:] = _named([*layers[: index + 1], layer, *layers[index + 1 :]])
        branch = (after or "").rpartition(".")[0]
        name = str(layers[index + 1].name)
        self.added.append(path_in(self.network, f"{branch}.{name}" if branch else name))

    def remove(self, name: str) -> None:
        layers, index = self._find(name)
        del layers[index]

    def _swap(self, name: str, activation: Activation, blend: int | None) -> None:
        layers, index = self._find(name)
        old = layers[index]
        if not isinstance(old, Activation):
            raise ValueError(f"the layer {name!r} is no activation")
        faded = Blend(old=old, steps=blend) if blend else None
        layers[index] = activation.model_copy(update={"name": old.name, "frozen": old.frozen, "blend": faded})

    def resize(self, name: str, units: int) -> None:
        field = self.layer(name).units
        if field is None:
            raise ValueError(f"the layer {name!r} has no units of its own")
        unit_flow_after(self.network, self.path(name), self.shapes())
        self._change(name, **{field: units})

    def grow(self, name: str, count: int) -> None:
        self._change(name, count=count)

    def absorb(self, name: str, next_name: str, has_bias: bool) -> None:
        gone = self.layer(next_name)
        width = {gone.units: getattr(gone, gone.units)} if gone.units is not None else {}
        self._change(name, **width, bias=has_bias)
        self.remove(next_name)

    def freeze(self, name: str, is_frozen: bool) -> None:
        self._change(name, frozen=is_frozen)

    def _adapt(self, name: str, rank: int | None) -> None:
        if not isinstance(self.layer(name), Adaptable):
            raise ValueError(f"the layer {name!r} takes no adapter; linear and convolution layers do")
        self._change(name, adapter=Adapter(rank=rank) if rank is not None else None)

    def join(self, layers: Sequence[Layer]) -> None:
        if len(self.lists) == 1:
            self.moves.append(("", "main."))
        self.lists[self.free_branch] = _named(layers)

    def described(self, output: str) -> Layers:
        """The network as a spec."""
        from driftline.spec import Layers, parse

        main, *branches = ([layer.model_dump() for layer in layers] for layers in self.lists.values())
        return parse(
            Layers,
            {"layers": main, "branches": dict(zip(list(self.lists)[1:], branches, strict=True)), "output": output},
        )

    def _find(self, name: str) -> tuple[list[Layer], int]:
        self.path(name)
        branch, _, rest = name.rpartition(".")
        layers = self.lists[branch]
        return layers, [layer.name for layer in layers].index(rest)

    def _change(self, name: str, **fields: object) -> None:
        layers, index = self._find(name)
        layers[index] = layers[index].model_copy(update=fields)


def _named(layers: Sequence[Layer]) -> list[Layer]:
    """Layers with their names in them: names by type and order would change when others come and go."""
    return [layer.model_copy(update={"name": name}) for name, layer in zip(layer_names(layers), layers, strict=True)]


class ModuleStructure(Structure):
    """A user's own network, changed in place."""

    @property
    def names(self) -> list[str]:
        paths = [path for path, _ in self.network.named_modules() if path and "parametrizations" not in path.split(".")]
        if isinstance(self.network, Branched):
            return [path.removeprefix("main.") for path in paths if path not in ("main", *self.network.branch_names)]
        return paths

    def insert(self, after: str | None, layer: Layer) -> None:
        if after is None:
            raise ValueError('a network of your own has no first layer; say "after" which one')
        path = self.path(after)
        behind = self.shapes().get(path)
        if behind is None:
            raise ValueError(f"{after!r} is not used exactly once in a pass")
        new, owner = layer.build(behind), self.network.get_submodule(parent_of(path))
        if is_sequential(owner):
            self.added.append(self._insert_in(owner, path, layer, new))
        else:
            self._put(path, nn.Sequential(self.network.get_submodule(path), new))
            self.moves.append((f"{path}.", f"{path}.0."))
            self.added.append(f"{path}.1")

    def _insert_in(self, owner: nn.Module, after: str, layer: Layer, new: nn.Module) -> str:
        """Puts a module into an ``nn.Sequential`` behind the one at ``after``; gives its path."""
        children = list(owner._modules.items())
        name = layer.name or next(
            name for number in itertools.count(1) if not hasattr(owner, name := f"{layer.type}{number}")
        )
        if hasattr(owner, name):
            raise ValueError(f"there is a {name!r} already")
        index = [child for child, _ in children].index(after.rpartition(".")[2]) + 1
        owner._modules = OrderedDict([*children[:index], (name, new), *children[index:]])
        return f"{parent_of(after)}.{name}".removeprefix(".")

    def remove(self, name: str) -> None:
        path = self.path(name)
        owner = self.network.get_submodule(parent_of(path))
        if is_sequential(owner) and len(owner._modules) > 1:
            del owner._modules[path.rpartition(".")[2]]
        else:
            self._put(path, nn.Identity())

    def _swap(self, name: str, activation: Activation, blend: int | None) -> None:
        new = activation.build(())
        self._put(self.path(name), Blended(self.module(name), new, blend) if blend else new)

    def resize(self, name: str, units: int) -> None:
        path = self.path(name)
        flow = unit_flow_after(self.network, path, self.shapes())
        self._put(path, _resized(self.module(name), units=units))
        for place in flow.passed:
            size = (*place.view[: place.axis], units, *place.view[place.axis + 1 :])
            self._put(place.path, _resized(self.network.get_submodule(place.path), units=torch.Size(size).numel()))
        view, axis, path = flow.consumer.view, flow.consumer.axis, flow.consumer.path
        if path != OUTPUT:
            inputs = torch.Size((*view[:axis], units, *view[axis + 1 :])).numel()
            self._put(path, _resized(self.network.get_submodule(path), inputs=inputs))

    def grow(self, name: str, count: int) -> None:
        grown = clone(self.module(name))
        assert isinstance(grown, nn.Embedding)
        grown.num_embeddings = count
        _set(grown, "weight", grown.weight.new_zeros((count, grown.embedding_dim)))
        self._put(self.path(name), grown)

    def absorb(self, name: str, next_name: str, has_bias: bool) -> None:
        next_module = self.module(next_name)
        units = next_module.out_features if isinstance(next_module, nn.Linear) else None
        new = _resized(self.module(name), units=units)
        bias = nn.Parameter(torch.zeros(unit_count(new))) if has_bias else None
        new.register_parameter("bias", bias)
        self._put(self.path(name), new)
        self.remove(next_name)

    def freeze(self, name: str, is_frozen: bool) -> None:
        self.module(name).requires_grad_(not is_frozen)

    def _adapt(self, name: str, rank: int | None) -> None:
        if rank is not None:
            adapters.adapt(self.module(name), rank)
        else:
            adapters.merge(self.module(name))

    def join(self, layers: Sequence[Layer]) -> None:
        branch, _ = sequential(layers, joined(self.rows), "branch")
        if isinstance(self.network, Branched):
            name = self.free_branch
            self.network.branch_names.append(name)
            self.network.add_module(name, branch)
        else:
            self.network = Branched(self.network, {self.free_branch: branch})
            self.moves.append(("", "main."))

    def _put(self, path: str, module: nn.Module) -> None:
        if not path:
            raise ValueError("the network is one module; there is no layer in it")
        owner, name = self.network.get_submodule(parent_of(path)), path.rpartition(".")[2]
        module.train(self.network.training)
        setattr(owner, name, module)


def _resized(module: nn.Module, units: int | None = None, inputs: int | None = None) -> nn.Module:
    """A module with other sizes; the weights mean nothing yet."""
    sized = clone(module)
    if isinstance(sized, _BatchNorm):
        assert units is not None
        sized.num_features = units
        for name, value in [*sized.named_parameters(), *sized.named_buffers()]:
            if value.dim():
                _set(sized, name, value.new_ones(units))
        return sized
    if isinstance(sized, nn.Embedding):
        assert units is not None
        sized.embedding_dim = units
        _set(sized, "weight", sized.weight.new_zeros((sized.num_embeddings, units)))
        return sized
    if not isinstance(sized, (nn.Linear, *CONVOLUTIONS)) or getattr(sized, "groups", 1) != 1:
        raise ValueError(f"a {type(module).__name__} cannot be given another size")
    new = (units or sized.weight.shape[0], inputs or sized.weight.shape[1])
    kind = "features" if isinstance(sized, nn.Linear) else "channels"
    setattr(sized, f"out_{kind}", new[0])
    setattr(sized, f"in_{kind}", new[1])
    _set(sized, "weight", sized.weight.new_zeros((*new, *sized.weight.shape[2:])))
    if sized.bias is not None:
        _set(sized, "bias", sized.bias.new_zeros(new[0]))
    return sized


def unit_axis(module: nn.Module) -> int:
    """The axis of the weight on which a module has its units."""
    return 1 if isinstance(module, nn.Embedding) else 0


def unit_count(module: nn.Module) -> int:
    """How many units a module has; :class:`ValueError` where it has none."""
    weight = getattr(module, "weight", None)
    if not isinstance(weight, Tensor) or weight.dim() < 2:
        raise ValueError(f"a {type(module).__name__} has no units of its own")
    return weight.shape[unit_axis(module)]


def _set(module: nn.Module, name: str, value: Tensor) -> None:
    """Sets a parameter or buffer of another shape."""
    old = getattr(module, name)
    is_trained = old.requires_grad
    new = nn.Parameter(value, is_trained) if isinstance(old, nn.Parameter) else value
    setattr(module, name, new)
