"""Tensors and plain data: a learner's whole state, and the parts of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from torch import Tensor

    from driftline.networks.build import ServedModel

Former: TypeAlias = "Callable[[Mapping[str, Tensor], int], ServedModel]"
"""Makes a former module of the learner's network from its tensors and its width."""


@dataclass(frozen=True)
class State:
    """A learner's whole state: tensors, and plain data that JSON keeps bit for bit."""

    tensors: dict[str, Tensor]
    data: dict[str, Any]


def part(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """The tensors below ``name``, without it."""
    prefix = name + "."
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def named(name: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors below ``name``."""
    return {f"{name}.{key}": value for key, value in tensors.items()}
