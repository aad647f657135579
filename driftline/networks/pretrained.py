"""Weights that a module did not make itself: trained elsewhere, or served by a former version beside another strategy."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from driftline.networks import bundle
from driftline.networks.experts.mixture import Mixture
from driftline.networks.experts.regression import RegressionMixture
from driftline.networks.experts.serving import EXPERTS
from driftline.networks.served_model import ServedModel

INTERVALS = "intervals."


def load(module: ServedModel, weights: Mapping[str, Tensor]) -> None:
    """Sets a fresh module's tensors by name.

    Without ``scale.…`` they were trained on inputs as they are, and the running scale stays out of their way. Without the
    ``experts.…`` of the module's own strategy, these begin again, and so do intervals without ``intervals.…``.

    Raises:
        InvalidInput: a tensor is missing, of another shape, unknown, or not finite.
    """
    bundle.load(module, _with_experts(module, _with_intervals(module, _with_scales(module, weights))))


def _with_scales(module: ServedModel, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    if any(name.startswith("scale.") for name in weights):
        return dict(weights)
    for scale in module.scale.values():
        scale.fix()  # type: ignore[operator]
    if module.target_scale is not None:
        module.target_scale.fix()
    own = {name: tensor for name, tensor in module.state_dict().items() if name.startswith(("scale.", "target_scale."))}
    return {**own, **weights}


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
