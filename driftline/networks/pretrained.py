"""Weights that a module did not make itself: trained elsewhere, or served by a former version beside another strategy."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from driftline.errors import InvalidInput
from driftline.networks import bundle
from driftline.networks.experts.mixture import Mixture
from driftline.networks.experts.regression import RegressionMixture
from driftline.networks.experts.serving import EXPERTS
from driftline.networks.row_table import RowTable
from driftline.networks.served_model import ServedModel

INTERVALS = "intervals."
NETWORK, OUTPUT = "network.", "output."


def load(module: ServedModel, weights: Mapping[str, Tensor]) -> None:
    """Sets a fresh module's tensors by name.

    Without ``scale.…`` they were trained on inputs as they are, and the running scale stays out of their way. Without the
    ``experts.…`` of the module's own strategy, these begin again, and so do intervals without ``intervals.…``. Names are those
    of a version, or those of the network by itself, whose output layer then begins with fresh weights. Of tensors that are one
    in the network, one is enough.

    Raises:
        InvalidInput: a tensor is missing, of another shape, unknown, or not finite; or two differ that are one in the network.
    """
    weights = _with_shared(module, _named_as_served(module, weights))
    weights = _with_rows(module, _with_scales(module, weights))
    bundle.load(module, _with_experts(module, _with_intervals(module, weights)))


def begin_with(module: ServedModel, tensors: Mapping[str, Tensor]) -> None:
    """Sets some tensors of a fresh module, of another model's. With that one's output it answers as that one's network did.

    Raises:
        InvalidInput: a tensor is of another shape, or unknown.
    """
    has_output = any(name.startswith(OUTPUT) for name in tensors)
    if has_output and isinstance(module.experts, Mixture | RegressionMixture):
        module.experts.rely_on_network()
    bundle.load(module, {**module.state_dict(), **tensors})


def _named_as_served(module: ServedModel, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    if (
        any(name.startswith((NETWORK, OUTPUT)) for name in weights)
        or not weights.keys() & module.network.state_dict().keys()
    ):
        return weights
    fresh = {OUTPUT + name: tensor for name, tensor in module.output.state_dict().items()}
    return fresh | {NETWORK + name: tensor for name, tensor in weights.items()}


def _with_shared(module: ServedModel, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    found, first = dict(weights), dict[tuple[object, ...], str]()
    own = module.state_dict()
    # Those that are given come first, so that they are what the others are filled in from.
    for name in sorted(own, key=lambda name: name not in weights):
        tensor = own[name]
        if not tensor.numel():
            continue
        twin = first.setdefault((tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride()), name)
        if twin == name or twin not in weights:
            continue
        if not torch.equal(found.setdefault(name, weights[twin]), weights[twin]):
            message = f"weights: {name}: it is one tensor with {twin} in the network, and another one in the file"
            raise InvalidInput(message, code="wrong_weights", field="weights", value=name)
    return found


def _with_scales(module: ServedModel, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    if any(name.startswith("scale.") for name in weights):
        return dict(weights)
    for scale in module.scale.values():
        scale.fix()  # type: ignore[operator]
    if module.target_scale is not None:
        module.target_scale.fix()
    own = {name: tensor for name, tensor in module.state_dict().items() if name.startswith(("scale.", "target_scale."))}
    return {**own, **weights}


def _with_rows(module: ServedModel, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Every row of a table that was trained elsewhere is known."""
    found = dict(weights)
    for path, layer in module.named_modules():
        if isinstance(layer, RowTable):
            found.setdefault(f"{path}.learned_at", torch.zeros_like(layer.learned_at))
            found.setdefault(f"{path}.labels", torch.zeros_like(layer.labels))
    return found


def _with_intervals(module: ServedModel, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    if any(name.startswith(INTERVALS) for name in weights):
        return dict(weights)
    own = {name: tensor for name, tensor in module.state_dict().items() if name.startswith((INTERVALS, "error_unit"))}
    return {**own, **weights}


def _with_experts(module: ServedModel, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    network = {name: tensor for name, tensor in weights.items() if not name.startswith(EXPERTS)}
    if not isinstance(module.experts, Mixture | RegressionMixture):
        return network
    own = {name.removeprefix(EXPERTS): tensor for name, tensor in weights.items() if name.startswith(EXPERTS)}
    fitted = module.experts.fitted(own)
    if fitted is None:
        module.experts.rely_on_network()
        fitted = module.experts.state_dict()
    return network | {EXPERTS + name: tensor for name, tensor in fitted.items()}
