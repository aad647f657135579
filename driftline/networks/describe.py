"""What a model consists of, and what edits would make of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from driftline.networks.edit_session import Sources
from driftline.networks.edits import apply_all
from driftline.networks.model import Model
from driftline.networks.modules import Branched
from driftline.networks.price import state_bytes
from driftline.networks.sequential import example_rows, network_rows
from driftline.networks.served_model import ServedModel
from driftline.networks.unit_flow import OUTPUT, shapes
from driftline.networks.user_code import user_code
from driftline.spec import Factory, ModelSpec
from driftline.spec.parts.edits import Edit


def describe(model: Model) -> dict[str, Any]:
    """A model's layers, and what they cost.

    Returns:
        ``layers``, in order: ``name``, ``type``, ``shape`` of a row after it (None where it is not used exactly once),
        ``parameters`` and how many of them are ``trained``. Of the whole: ``parameters``, ``trained``, ``bytes`` of weights
        and buffers, and ``flops``, the floating-point operations of matrix products and convolutions for one row.
    """
    spec, module = model.spec, model.module
    shape_of = shapes(module.network, network_rows(spec), module.computation.takes_names)
    layers = [
        _layer(path.removeprefix("main."), part, shape_of.get(path))
        for path, part in module.network.named_modules()
        if path and _is_layer(spec, module.network, path, part)
    ]
    width = spec.width(len(model.classes))
    output = [] if isinstance(module.output, nn.Identity) else [_layer(OUTPUT, module.output, (width,))]
    size = {"bytes": state_bytes(module), "flops": _flops(spec, module)}
    return {"layers": [*layers, *output], **_parameters(module), **size}


def describe_edits(edits: Sequence[Edit], before: Model, sources: Sources | None = None) -> dict[str, Any]:
    """What edits would do: ``{"before", "after", "keeps_function"}``, as :func:`describe` gives them; nothing is changed."""
    after = apply_all(edits, before, sources)
    return {
        "before": describe(before),
        "after": describe(after.model),
        "keeps_function": after.keeps_function,
    }


def _is_layer(spec: ModelSpec, network: nn.Module, path: str, part: nn.Module) -> bool:
    """Whether a module is one of the spec's layers; of a user's own network, whether it has no submodule but an adapter."""
    if "parametrizations" in path.split("."):
        return False
    if isinstance(spec.network, Factory):
        return all(name == "parametrizations" for name, _ in part.named_children())
    return path.count(".") == (1 if isinstance(network, Branched) else 0)


def _layer(name: str, module: nn.Module, shape: tuple[int, ...] | None) -> dict[str, Any]:
    kind = type(module).__name__.removeprefix("Parametrized")
    return {"name": name, "type": kind, "shape": None if shape is None else list(shape), **_parameters(module)}


def _parameters(module: nn.Module) -> dict[str, int]:
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in module.parameters()]
    return {
        "parameters": sum(size for size, _ in sizes),
        "trained": sum(size for size, is_trained in sizes if is_trained),
    }


def _flops(spec: ModelSpec, module: ServedModel) -> int:
    """Counted by torch over one row in evaluation mode."""
    was_training = module.training
    counter = FlopCounterMode(display=False)
    try:
        with user_code("the network"), torch.no_grad(), counter:
            module.eval()(example_rows(spec))
    finally:
        module.train(was_training)
    return int(counter.get_total_flops())
