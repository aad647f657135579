"""Copies of modules."""

from __future__ import annotations

import copy
from functools import cache
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from driftline.networks import row_history, sealed
from driftline.networks.user_code import user_code

M = TypeVar("M", bound=nn.Module)

OWN = frozenset(vars(nn.Module()))
"""What torch itself keeps in every module; most of it is hooks, of which there are none."""

UNCHANGING = (type(None), bool, int, float, str, bytes, torch.Size)
COPYING = ("__deepcopy__", "__getstate__", "__setstate__", "__reduce__", "__reduce_ex__")


def clone(module: M) -> M:
    """What ``copy.deepcopy`` gives, several times faster: that spends its time on the empty hooks of every layer."""
    found: M = _cloned(module, {})
    return found


def sibling(module: M) -> M:
    """A :func:`clone` that shares the large frozen parameters with the module, which nothing writes from then on.

    Of large tables that are written by rows it shares what neither writes.
    """
    found: M = _cloned(module, _shared(module))
    return found


def twin(module: M) -> M:
    """A :func:`sibling` that shares all parameters with a module: neither is trained."""
    memo = _shared(module)
    for parameter in module.parameters():
        if type(parameter) is nn.Parameter:
            memo[id(parameter)] = nn.Parameter(parameter.detach(), parameter.requires_grad)
    found: M = _cloned(module, memo)
    return found


def _shared(module: nn.Module) -> dict[Any, Any]:
    """What a copy of a module shares with it, by the id of what it has in its place."""
    memo: dict[Any, Any] = {}
    for table in row_history.tracked([*module.parameters(), *module.buffers()]):
        copied = row_history.shared(table)
        memo[id(table)] = nn.Parameter(copied) if isinstance(table, nn.Parameter) else copied
    for parameter in module.parameters():
        if sealed.is_constant(parameter) or sealed.is_released(parameter):
            sealed.seal(parameter)
            memo[id(parameter)] = nn.Parameter(parameter.detach(), requires_grad=False)
    return memo


def _cloned(module: nn.Module, memo: dict[Any, Any]) -> Any:
    if id(module) in memo:
        return memo[id(module)]
    if not _is_copied_as_usual(type(module)):  # type: ignore[arg-type]
        with user_code(f"the copy of a {type(module).__name__}"):
            return copy.deepcopy(module, memo)
    found = memo[id(module)] = object.__new__(type(module))
    vars(found).update({name: _part(name, value, memo) for name, value in vars(module).items()})
    return found


def _part(name: str, value: Any, memo: dict[Any, Any]) -> Any:
    if name in OWN:
        if not value:
            return type(value)()
        if type(value) is dict:
            return {name: _copied(held, memo) for name, held in value.items()}
    return _copied(value, memo)


def _copied(value: Any, memo: dict[Any, Any]) -> Any:
    kind = type(value)
    if kind in UNCHANGING:
        return value
    if isinstance(value, nn.Module):
        return _cloned(value, memo)
    if kind is nn.Parameter or (kind is Tensor and not value.requires_grad):
        return _clone(value, memo)
    return copy.deepcopy(value, memo)


def _clone(value: Any, memo: dict[Any, Any]) -> Tensor:
    """A tensor of its own; where two share memory, whole or in part, their copies do in the same way."""
    if id(value) not in memo:
        copied = _copied_memory(value.detach(), memo)
        memo[id(value)] = nn.Parameter(copied, value.requires_grad) if isinstance(value, nn.Parameter) else copied
    found: Tensor = memo[id(value)]
    return found


def _copied_memory(value: Tensor, memo: dict[Any, Any]) -> Tensor:
    # The place where deep copies of tensors remember memory: parts that copy themselves share it too.
    memories: dict[int, torch.UntypedStorage] = memo.setdefault("torch", {})
    memory = value.untyped_storage()
    if memory._cdata not in memories:
        copied = value.clone()
        row_history.inherit(copied, value)
        if memory.nbytes() == value.numel() * value.element_size() and copied.stride() == value.stride():
            memories[memory._cdata] = copied.untyped_storage()
            return copied
        memories[memory._cdata] = memory.clone()  # type: ignore[no-untyped-call]
    own = value.new_empty(0)
    return own.set_(memories[memory._cdata], value.storage_offset(), value.size(), value.stride())


@cache
def _is_copied_as_usual(kind: type[nn.Module]) -> bool:
    return all(getattr(kind, name, None) is getattr(nn.Module, name, None) for name in COPYING)
