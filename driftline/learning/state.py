"""Tensors by name, as parts of a larger state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def part(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """The tensors below ``name``, without it."""
    prefix = name + "."
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def named(name: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors below ``name``."""
    return {f"{name}.{key}": value for key, value in tensors.items()}
