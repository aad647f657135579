"""From layers to a module, one behind the other."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from driftline.errors import InvalidInput
from driftline.networks.adapters import adapt
from driftline.networks.layers import Adaptable, Layer
from driftline.networks.modules import AddChannel
from driftline.networks.user_code import last_line


def sequential(layers: Sequence[Layer], rows: Tensor, path: str) -> tuple[nn.Sequential, tuple[int, ...]]:
    """The module of ``layers`` for example ``rows`` ``[1, *shape]``, and the shape of a row behind it.

    Raises:
        InvalidInput: it names the layer, below ``path``, that cannot take its rows.
    """
    modules: OrderedDict[str, nn.Module] = OrderedDict()
    for index, (name, layer) in enumerate(zip(layer_names(layers), layers, strict=True)):
        where = f"{path}.{index}"
        if hasattr(nn.Sequential(), name):
            message = f"{where}.name: {name!r} is a name that torch needs itself; choose another"
            raise InvalidInput(message, field=f"{where}.name", value=name)
        if layer.type == "conv2d" and rows.dim() == 3:
            modules[f"{name}_channel"] = AddChannel()
            rows = rows.unsqueeze(1)
        try:
            module = layer.build(tuple(rows.shape[1:]))
            with torch.no_grad():
                rows = module.eval()(rows)
        except (ValueError, RuntimeError, IndexError) as error:
            raise InvalidInput(
                f"{where} ({name}): it cannot take rows of shape {list(rows.shape[1:])}: {last_line(error)}",
                field=where,
                value=layer.model_dump(mode="json", exclude_none=True),
            ) from None
        modules[name] = module
        _train_as_said(module, layer, f"{where} ({name})")
    return nn.Sequential(modules), tuple(rows.shape[1:])


def _train_as_said(module: nn.Module, layer: Layer, where: str) -> None:
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
