"""Where the units of a layer go, as far as ``nn.Sequential`` says what follows it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from driftline.errors import UserCodeFailed
from driftline.networks.adapters import adapter_of
from driftline.networks.modules import Blended, Branched, floating_type, in_type, joined, logits_of
from driftline.networks.user_code import user_code

OUTPUT = "output"
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
ACTIVATIONS = (
    nn.CELU,
    nn.ELU,
    nn.GELU,
    nn.Hardsigmoid,
    nn.Hardswish,
    nn.Hardtanh,
    nn.LeakyReLU,
    nn.Mish,
    nn.PReLU,
    nn.ReLU,
    nn.SELU,
    nn.Sigmoid,
    nn.SiLU,
    nn.Softplus,
    nn.Softsign,
    nn.Tanh,
    Blended,
)
ELEMENTWISE = (*ACTIVATIONS, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.Identity)
POOLS = (
    nn.MaxPool1d,
    nn.MaxPool2d,
    nn.MaxPool3d,
    nn.AvgPool1d,
    nn.AvgPool2d,
    nn.AvgPool3d,
    nn.AdaptiveAvgPool1d,
    nn.AdaptiveAvgPool2d,
    nn.AdaptiveAvgPool3d,
    nn.AdaptiveMaxPool1d,
    nn.AdaptiveMaxPool2d,
    nn.AdaptiveMaxPool3d,
)


@dataclass(frozen=True)
class UnitPlace:
    """Where the units of a layer meet the parameters of another module.

    The numbers that the module takes from it begin at ``offset``; in the shape ``view`` they have the units on ``axis``.
    """

    path: str
    view: tuple[int, ...]
    axis: int
    offset: int = 0


@dataclass(frozen=True)
class UnitFlow:
    """What follows a layer: the normalisations that its units ``passed``, and the ``consumer``, which takes them all in."""

    passed: list[UnitPlace]
    consumer: UnitPlace


def through(network: nn.Module, rows: Mapping[str, Tensor], takes_names: bool) -> Tensor:
    """What a network gives for rows by input name."""
    given = in_type(rows, floating_type(network))
    return logits_of(network(**given) if takes_names else network(joined(given)))


def shapes(network: nn.Module, rows: Mapping[str, Tensor], takes_names: bool) -> dict[str, tuple[int, ...]]:
    """The shape of a row after each submodule that is used once in a pass, by path; the network itself has ``""``.

    :class:`ValueError` where the network cannot take the rows.
    """
    seen: dict[str, list[tuple[int, ...]]] = {}

    def note(path: str, output: object) -> None:
        if isinstance(output, Tensor):
            seen.setdefault(path, []).append(tuple(output.shape[1:]))

    hooks = [
        module.register_forward_hook(lambda _module, _input, output, path=path: note(path, output))
        for path, module in network.named_modules()
    ]
    was_training = network.training
    try:
        with user_code("the network"), torch.no_grad():
            through(network.eval(), rows, takes_names)
    except UserCodeFailed as failed:
        raise ValueError(f"the network cannot take its rows: {failed.reason}") from failed.__cause__
    finally:
        network.train(was_training)
        for hook in hooks:
            hook.remove()
    return {path: found[0] for path, found in seen.items() if len(found) == 1}


def unit_flow_after(network: nn.Module, path: str, shapes: Mapping[str, tuple[int, ...]]) -> UnitFlow:
    """Where the units of the layer at ``path`` go; :class:`ValueError` where that is not known, or they are mixed."""
    if path not in shapes:
        raise ValueError(f"{path!r} is not used exactly once in a pass")
    following, end = _following(network, path)
    _check_plain(network, path)
    shape = shapes[path]
    axis = 0 if isinstance(network.get_submodule(path), CONVOLUTIONS) else len(shape) - 1
    is_flat, passed = len(shape) == 1, []
    for where, module in following:
        if isinstance(module, ELEMENTWISE) and getattr(module, "num_parameters", 1) == 1:
            continue
        if isinstance(module, _BatchNorm) and (is_flat or axis == 0):
            passed.append(UnitPlace(where, shape, axis) if is_flat else UnitPlace(where, shape[:1], 0))
        elif isinstance(module, _BatchNorm):
            continue
        elif isinstance(module, POOLS) and not is_flat and axis == 0:
            shape = shapes[where]
        elif isinstance(module, nn.Flatten) and (module.start_dim, module.end_dim) == (1, -1):
            is_flat = True
        elif isinstance(module, nn.Linear) and (is_flat or axis == len(shape) - 1):
            _check_plain(network, where)
            return UnitFlow(passed, UnitPlace(where, shape, axis) if is_flat else UnitPlace(where, shape[-1:], 0))
        elif isinstance(module, CONVOLUTIONS) and module.groups == 1 and not is_flat and axis == 0:
            _check_plain(network, where)
            return UnitFlow(passed, UnitPlace(where, shape[:1], 0))
        else:
            raise ValueError(f"{where!r} behind it ({type(module).__name__}) does not take its units one by one")
    return UnitFlow(passed, UnitPlace(OUTPUT, shape, axis, _offset(network, end, shapes)))


def flow_of_inputs(network: nn.Module, top: str) -> tuple[list[str], str | None]:
    """Where the numbers of a flat row go in the part of a network at ``top``.

    Returns:
        The normalisations that they pass, and the layer that takes them in; None where what follows the part takes them.

    Raises:
        ValueError: something else mixes them, or changes what zero is.
    """
    passed: list[str] = []
    if not is_sequential(network.get_submodule(top)):
        raise ValueError("only the network's own code knows where its inputs go")
    for path, module in _leaves(network.get_submodule(top), top):
        if isinstance(module, nn.BatchNorm1d):
            passed.append(path)
        elif isinstance(module, nn.Linear):
            _check_plain(network, path)
            return passed, path
        elif not isinstance(module, (nn.Flatten, nn.Dropout, nn.Identity)):
            raise ValueError(f"{path!r} ({type(module).__name__}) does not take the numbers of a row one by one")
    return passed, None


def _check_plain(network: nn.Module, path: str) -> None:
    if adapter_of(network.get_submodule(path)) is not None:
        raise ValueError(f"{path!r} has an adapter; merge_adapters puts it into the weight")


def followers(network: nn.Module, path: str) -> list[tuple[str, nn.Module]]:
    """The path and the module of all that follow the one at ``path``, in order."""
    return _following(network, path)[0]


def _following(network: nn.Module, path: str) -> tuple[list[tuple[str, nn.Module]], str]:
    """All modules after the one at ``path``, in order, and the path of the whole that they belong to."""
    top = parent_of(path)
    if not path or not is_sequential(network.get_submodule(top)):
        owner = type(network.get_submodule(top)).__name__
        raise ValueError(
            f"what stands behind {path!r} is only known to {owner}.forward; it is known in an nn.Sequential"
        )
    while top and is_sequential(network.get_submodule(parent_of(top))):
        top = parent_of(top)
    leaves = list(_leaves(network.get_submodule(top), top))
    names = [name for name, _ in leaves]
    if path not in names:
        raise ValueError(f"{path!r} is a container; name the layer in it")
    return leaves[names.index(path) + 1 :], top


def _leaves(module: nn.Module, path: str) -> Iterator[tuple[str, nn.Module]]:
    if not is_sequential(module):
        yield path, module
        return
    for name, child in module.named_children():
        yield from _leaves(child, f"{path}.{name}" if path else name)


def _offset(network: nn.Module, end: str, shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Where the numbers of the part at ``end`` begin in what the network gives."""
    if not end:
        return 0
    parts = ["main", *network.branch_names] if isinstance(network, Branched) else []
    if end not in parts:
        owner = type(network.get_submodule(parent_of(end))).__name__
        raise ValueError(f"what stands behind {end!r} is only known to {owner}.forward")
    return sum(math.prod(shapes[part]) for part in parts[: parts.index(end)])


def parent_of(path: str) -> str:
    """The path of the module that holds the one at ``path``."""
    return path.rpartition(".")[0]


def is_sequential(module: nn.Module) -> bool:
    """Whether a module hands rows from child to child, and does nothing else."""
    return isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward


def unit_axis(module: nn.Module) -> int:
    """The axis of the weight on which a module has its units."""
    return 1 if isinstance(module, nn.Embedding) else 0


def unit_count(module: nn.Module) -> int:
    """How many units a module has; :class:`ValueError` where it has none."""
    weight = getattr(module, "weight", None)
    if not isinstance(weight, Tensor) or weight.dim() < 2:
        raise ValueError(f"a {type(module).__name__} has no units of its own")
    return weight.shape[unit_axis(module)]
