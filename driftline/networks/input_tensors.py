"""Rows as torch has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from driftline.spec import ModelSpec
from driftline.spec.tensors import BFLOAT16


def input_tensors(spec: ModelSpec, arrays: Mapping[str, NDArray[Any]]) -> dict[str, Tensor]:
    """Rows ``[rows, *shape]`` by name as tensors of the types that the spec says; they share their memory."""
    kinds = spec.tensors
    return {name: _tensor(kinds[name].dtype, array) for name, array in arrays.items()}


def _tensor(dtype: str, array: NDArray[Any]) -> Tensor:
    found = torch.from_numpy(array)
    return found.view(torch.bfloat16) if dtype == BFLOAT16 else found
