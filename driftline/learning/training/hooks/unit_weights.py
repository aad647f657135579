"""Where the units of a layer stand in its weights."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from driftline.networks.served_model import ServedModel


def weights_of_units(module: ServedModel) -> Iterator[tuple[str, nn.Parameter, int]]:
    """The weights of each layer that has units, by their name, with the axis along which the units stand."""
    for path, layer in module.named_modules():
        if isinstance(layer, nn.Linear | nn.Embedding | _ConvNd):
            yield f"{path}.weight", layer.weight, 1 if isinstance(layer, _ConvTransposeNd) else 0  # type: ignore[misc]
