"""The share of the learning rate that each layer has."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from driftline.errors import InvalidInput

FIELD = "recipe.optimizer.layers"


def layer_rates(
    module: nn.Module, layers: Mapping[str, float], discriminative: float | None
) -> dict[str, tuple[nn.Parameter, float]]:
    """The parameters of ``module`` that learn, by name, each with its share of the learning rate.

    Args:
        layers: shares by the name of a layer or the path of a submodule; the longest that fits a parameter counts. What has
            a share of 0 is left out.
        discriminative: the fraction of the rate of the layer that follows it that a layer has besides.

    Raises:
        InvalidInput: there is no such layer, or none that learns.
    """
    names = [name for name, parameter in module.named_parameters() if parameter.requires_grad]
    if not names:
        message = "network: all its weights are frozen, and no output layer follows: there is nothing to learn"
        raise InvalidInput(message, code="nothing_to_learn", field="network")
    depths = _depths(names)
    given = {_prefix(layer, share, names): share for layer, share in layers.items()}
    found = {}
    for name, parameter in module.named_parameters():
        if name not in depths:
            continue
        fitting = [prefix for prefix in given if name.startswith(prefix)]
        share = given[max(fitting, key=len)] if fitting else 1.0
        share *= (discriminative or 1.0) ** depths[name]
        if share:
            found[name] = (parameter, share)
    if not found:
        raise InvalidInput(
            f"{FIELD}: every layer is frozen, there is nothing to learn", field=FIELD, value=dict(layers)
        )
    return found


def layer_names(names: list[str]) -> list[str]:
    """The layers that own parameters of these names, in order: ``linear1``, ``output``."""
    return list(dict.fromkeys(name.rpartition(".")[0].removeprefix("network.") for name in names))


def _depths(names: list[str]) -> dict[str, int]:
    """How many layers follow that of each parameter."""
    layers = layer_names(names)
    following = {layer: len(layers) - 1 - index for index, layer in enumerate(layers)}
    return {name: following[layer_names([name])[0]] for name in names}


def _prefix(layer: str, share: float, names: list[str]) -> str:
    for prefix in (f"{layer}.", f"network.{layer}."):
        if any(name.startswith(prefix) for name in names):
            return prefix
    known = ", ".join(layer_names(names))
    field = f"{FIELD}.{layer}"
    raise InvalidInput(f"{field}: there is no layer {layer!r} that learns; there are {known}", field=field, value=share)
