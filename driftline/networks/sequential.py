"""From layers to a module in which each takes what the one before it gives."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from driftline.errors import InvalidInput, UserCodeFailed
from driftline.networks.adapters import adapt
from driftline.networks.layers import builder
from driftline.networks.modules import AddChannel, Branched, joined
from driftline.networks.tensor_inputs import tensor_inputs
from driftline.networks.user_code import first_line, user_code
from driftline.spec import ModelSpec
from driftline.spec.network import layers_of
from driftline.spec.parts.layers import Adaptable, Conv2d, Layer
from driftline.spec.parts.presets import Preset
from driftline.spec.tensors import length_name


def layered(spec: ModelSpec) -> tuple[nn.Module, tuple[int, ...]]:
    """The network of a spec that gives layers or a preset, with fresh weights, and the shape of a row after it."""
    network, rows = layers_of(spec.network), joined(network_rows(spec))
    assert network is not None
    path = "network" if isinstance(spec.network, Preset) else "network.layers"
    main, shape = sequential(network.layers, rows, path)
    if not network.branches:
        return main, shape
    built = {name: sequential(layers, rows, f"network.branches.{name}") for name, layers in network.branches.items()}
    width = sum(int(torch.Size(size).numel()) for size in (shape, *(size for _, size in built.values())))
    return Branched(main, {name: branch for name, (branch, _) in built.items()}), (width,)


def example_rows(spec: ModelSpec) -> dict[str, Tensor]:
    """One row of zeros ``[1, *shape]`` for each input of a model."""
    lengths = {length_name(name) for name in spec.sequences}
    return {
        name: torch.full((1, *t.shape), int(name in lengths), dtype=getattr(torch, t.dtype))
        for name, t in spec.tensors.items()
    }


def network_rows(spec: ModelSpec) -> dict[str, Tensor]:
    """One row of zeros ``[1, *shape]`` for each input of its network."""
    scaled = {each.name for each in tensor_inputs(spec) if each.scale is not None}
    return {
        name: torch.zeros((1, *tensor.shape), dtype=torch.float32 if name in scaled else getattr(torch, tensor.dtype))
        for name, tensor in spec.network_inputs.items()
    }


def sequential(layers: Sequence[Layer], rows: Tensor, path: str) -> tuple[nn.Sequential, tuple[int, ...]]:
    """The module of ``layers`` for example ``rows`` ``[1, *shape]``, and the shape of a row after it.

    Raises:
        InvalidInput: it names the layer, below ``path``, that cannot take its rows.
    """
    modules: OrderedDict[str, nn.Module] = OrderedDict()
    for index, (name, layer) in enumerate(zip(layer_names(layers), layers, strict=True)):
        where = f"{path}.{index}"
        if hasattr(nn.Sequential(), name):
            message = f"{where}.name: {name!r} is a name that torch needs itself; choose another"
            raise InvalidInput(message, field=f"{where}.name", value=name)
        if isinstance(layer, Conv2d) and rows.dim() == 3:
            modules[f"{name}_channel"] = AddChannel()
            rows = rows.unsqueeze(1)
        modules[name], rows = _tried(layer, rows, name, where)
        _set_training(modules[name], layer, f"{where} ({name})")
    return nn.Sequential(modules), tuple(rows.shape[1:])


def _tried(layer: Layer, rows: Tensor, name: str, where: str) -> tuple[nn.Module, Tensor]:
    """The module of a layer, and what it gives for ``rows``."""
    try:
        # An installed package may bring layers of its own.
        with user_code(name):
            module = builder(layer).build(tuple(rows.shape[1:]))
            with torch.no_grad():
                return module, module.eval()(rows)
    except UserCodeFailed as failed:
        assert failed.__cause__ is not None
        raise InvalidInput(
            f"{where} ({name}): it cannot take rows of shape {list(rows.shape[1:])}: {first_line(failed.__cause__)}",
            field=where,
            value=layer.model_dump(mode="json", exclude_none=True),
        ) from None


def _set_training(module: nn.Module, layer: Layer, where: str) -> None:
    """Leaves out of training what is frozen, and adds an adapter."""
    if layer.frozen:
        module.requires_grad_(False)
    if isinstance(layer, Adaptable) and layer.adapter is not None:
        try:
            adapt(module, layer.adapter.rank)
        except ValueError as error:
            raise InvalidInput(f"{where}: {error}", field=where.split(" ")[0], value=layer.adapter.rank) from None


def layer_names(layers: Sequence[Layer]) -> list[str]:
    """The name of each layer: its own, or its type and a number, from 1 in order of that type."""
    taken = {layer.name for layer in layers}
    counts: Counter[str] = Counter()
    names = []
    for layer in layers:
        name = layer.name
        while name is None:
            counts[layer.type] += 1
            candidate = f"{layer.type}{counts[layer.type]}"
            name = candidate if candidate not in taken else None
        names.append(name)
    return names
