"""The structure of a user's own network: its submodules, by their paths."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Collection, Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from driftline.networks import adapters
from driftline.networks.clone import clone
from driftline.networks.layers import builder
from driftline.networks.modules import Blended, Branched, joined
from driftline.networks.row_table import NEVER, RowTable
from driftline.networks.sequential import sequential
from driftline.networks.structure.base import Structure
from driftline.networks.unit_flow import CONVOLUTIONS, OUTPUT, is_sequential, parent_of, unit_count, unit_flow_after
from driftline.spec.parts.layers import Activation, Layer


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
        shape = self.shapes().get(path)
        if shape is None:
            raise ValueError(f"{after!r} is not used exactly once in a pass")
        new, owner = builder(layer).build(shape), self.network.get_submodule(parent_of(path))
        if is_sequential(owner):
            self.added.append(self._insert_in(owner, path, layer, new))
        else:
            self._put(path, nn.Sequential(self.network.get_submodule(path), new))
            self.moves.append((f"{path}.", f"{path}.0."))
            self.added.append(f"{path}.1")

    def _insert_in(self, owner: nn.Module, after: str, layer: Layer, new: nn.Module) -> str:
        """Puts a module into an ``nn.Sequential``, next to the one at ``after``; gives its path."""
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
        new = builder(activation).build(())
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
        if isinstance(grown, RowTable):
            grown.learned_at = torch.full((count,), NEVER)
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

    def can_adapt(self, name: str) -> bool:
        return adapters.can_have(self.module(name))

    def freeze_all_but(self, adapted: Collection[str]) -> None:
        adapters.freeze_all_else(self.network)

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


def _set(module: nn.Module, name: str, value: Tensor) -> None:
    """Sets a parameter or buffer of another shape."""
    old = getattr(module, name)
    is_trained = old.requires_grad
    new = nn.Parameter(value, is_trained) if isinstance(old, nn.Parameter) else value
    setattr(module, name, new)
