"""Adapters in the format of PEFT (Hugging Face): ``adapter_config.json`` and ``adapter_model.safetensors``.

PEFT's update of a weight is ``lora_alpha / r · B · A``; here it is ``up · down``. What is written has ``lora_alpha = r``. The
output layer of a model, which PEFT knows nothing of, stands in the same file by its own names; PEFT passes over it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn.utils import parametrize

from driftline.errors import InvalidInput
from driftline.networks.adapters import LowRank, adapter_of, weight_name
from driftline.networks.served_model import ServedModel

PREFIX = "base_model.model."
NETWORK, OUTPUT = "network.", "output."
FIELD = "network.adapter.peft"
_TENSOR = re.compile(r"base_model\.model\.(.+)\.(?:lora_([AB])\.weight|lora_embedding_([AB]))")
PLAIN = {
    "bias": "none",
    "use_dora": False,
    "modules_to_save": None,
    "rank_pattern": None,
    "alpha_pattern": None,
    "lora_bias": False,
    "trainable_token_indices": None,
    "target_parameters": None,
}
"""What a configuration may say of these; all else would be another kind of adapter."""


def exported(module: ServedModel) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The configuration and the tensors of a model's adapters, as PEFT has them.

    Raises:
        InvalidInput: it has none, or one that PEFT has no form for.
    """
    found = dict(_adapters(module.network))
    if not found:
        raise InvalidInput("the model has no adapter; one on a base has", code="no_adapter", field="model")
    tensors: dict[str, Tensor] = {}
    for path, (layer, adapter) in found.items():
        _check_kind(path, layer)
        down, up = (each.detach().cpu() for each in (adapter.down, adapter.up))
        tensors |= {PREFIX + path + name: tensor.contiguous() for name, tensor in _as_peft(layer, down, up).items()}
    tensors |= {OUTPUT + name: tensor.cpu() for name, tensor in module.output.state_dict().items()}
    return _config(module.network, found), tensors


def _adapters(network: nn.Module) -> Iterator[tuple[str, tuple[nn.Module, LowRank]]]:
    for path, layer in network.named_modules():
        if (adapter := adapter_of(layer)) is not None:
            yield path, (layer, adapter)


def _check_kind(path: str, layer: nn.Module) -> None:
    if isinstance(layer, nn.MultiheadAttention) or getattr(layer, "groups", 1) > 1:
        kind = parametrize.type_before_parametrizations(layer).__name__
        message = f"PEFT has no form for the adapter of {path!r}, a {kind} whose projections or groups are one weight"
        raise InvalidInput(message, code="no_adapter", field="model", value=path)


def _is_turned(layer: nn.Module) -> bool:
    """Whether the weight of a layer lies the other way than that of a linear one, as an embedding's does."""
    return isinstance(layer, nn.Embedding) or parametrize.type_before_parametrizations(layer).__name__ == "Conv1D"


def _as_peft(layer: nn.Module, down: Tensor, up: Tensor) -> dict[str, Tensor]:
    first, second = (up.T, down.T) if _is_turned(layer) else (down, up)
    if isinstance(layer, nn.Embedding):
        return {".lora_embedding_A": first, ".lora_embedding_B": second}
    return {".lora_A.weight": first, ".lora_B.weight": second.reshape(*second.shape, *(1,) * (first.dim() - 2))}


def _config(network: nn.Module, found: Mapping[str, tuple[nn.Module, LowRank]]) -> dict[str, Any]:
    ranks = {path: len(adapter.down) for path, (_, adapter) in found.items()}
    rank = max(ranks.values())
    others = {path: each for path, each in ranks.items() if each != rank}
    paths = [path for path, _ in network.named_modules()]
    is_clear = not any(path not in ranks and path.endswith(tuple(f".{each}" for each in ranks)) for path in paths)
    return {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": None,
        "inference_mode": True,
        "r": rank,
        "lora_alpha": rank,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": any(_is_turned(layer) and not isinstance(layer, nn.Embedding) for layer, _ in found.values()),
        # A name stands for all paths that end in it; an expression for what it matches as a whole.
        "target_modules": [*ranks] if is_clear else "|".join(map(re.escape, ranks)),
        "modules_to_save": None,
        "rank_pattern": others,
        "alpha_pattern": dict(others),
    }


def described(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> tuple[int, list[str]]:
    """The rank of an adapter that PEFT has written, and the paths of the layers that have one.

    Raises:
        InvalidInput: it is of another kind, or of several ranks.
    """
    if config.get("peft_type") != "LORA":
        raise _misfit(f"peft_type is {config.get('peft_type')!r}, and LORA is what a model can have")
    for name, usual in PLAIN.items():
        if config.get(name) and config[name] != usual:
            raise _misfit(f"{name} is {config[name]!r}, and {usual!r} is what a model can have")
    rank = config.get("r")
    if not isinstance(rank, int) or rank < 1:
        raise _misfit(f"r is {rank!r}, not a rank")
    alpha = config.get("lora_alpha", rank)
    if not isinstance(alpha, int | float) or isinstance(alpha, bool):
        raise _misfit(f"lora_alpha is {alpha!r}, not a number")
    paths = dict.fromkeys(match[1] for name in tensors if (match := _TENSOR.fullmatch(name)))
    if not paths:
        raise _misfit("its file has no tensor of an adapter, as base_model.model.PATH.lora_A.weight is one")
    return rank, [*paths]


def imported(config: Mapping[str, Any], tensors: Mapping[str, Tensor], module: ServedModel) -> dict[str, Tensor]:
    """The tensors of a module with fresh adapters that take an adapter of PEFT's, by the names of the module.

    Raises:
        InvalidInput: a tensor is of no layer, or of another shape.
    """
    layers = dict(_adapters(module.network))
    rank, alpha = int(config["r"]), float(config.get("lora_alpha", config["r"]))
    scale = alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name.startswith(OUTPUT):
            found[name] = tensor
            continue
        match = _TENSOR.fullmatch(name)
        if match is None or match[1] not in layers:
            raise _misfit(f"{name} is of no layer that has an adapter")
        layer, adapter = layers[match[1]]
        is_first = (match[2] or match[3]) == "A"
        own = adapter.down if is_first != _is_turned(layer) else adapter.up
        turned = tensor.T if _is_turned(layer) else tensor
        if turned.numel() != own.numel() or turned.shape[:2] != own.shape[:2]:
            raise _misfit(f"{name} has the shape {list(tensor.shape)}, which does not fit its layer")
        quantity = "down" if own is adapter.down else "up"
        value = turned.reshape(own.shape).to(own.dtype) * (1.0 if is_first else scale)
        found[f"{NETWORK}{match[1]}.parametrizations.{weight_name(layer)}.0.{quantity}"] = value
    return found


def _misfit(reason: str) -> InvalidInput:
    return InvalidInput(f"{FIELD}: {reason}", code="wrong_adapter", field=FIELD)
