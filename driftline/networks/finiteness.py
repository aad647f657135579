"""Whether a module can be served: all of its numbers are finite."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from operator import is_
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from driftline.networks import row_history
from driftline.networks.kernels.finiteness import are_finite
from driftline.networks.sealed import is_constant

KINDS = (torch.float32, torch.float64)
MAY_BE_INFINITE = "limit"
"""Only a scale may have no limit."""


class Arrays(NamedTuple):
    """Where a kernel finds tensors, what kind they are, and those that it does not know."""

    addresses: NDArray[np.int64]
    counts: NDArray[np.int64]
    are_double: NDArray[np.bool_]
    others: Sequence[Tensor]


class Finiteness:
    """Looks at all weights and buffers of a module that is asked about at every label.

    What a module consists of is looked for again only where it has changed.
    """

    def __init__(self) -> None:
        self._places: list[dict[str, Any]] = []
        self._contents: list[Any] = []
        self._tensors: list[Tensor] = []
        self._pointers: list[int] = []
        self._arrays = _arrays([])
        self._tables: list[Tensor] = []

    def holds(self, module: nn.Module) -> bool:
        """Whether every number is finite."""
        contents = [*chain.from_iterable(map(dict.values, self._places))]
        is_same = len(contents) == len(self._contents) and all(map(is_, contents, self._contents))
        # A tensor may be the same object in another place.
        if not is_same or not self._places or [tensor.data_ptr() for tensor in self._tensors] != self._pointers:
            tensors = state_of(module)
            constant = [tensor for tensor in tensors if is_constant(tensor)]
            if not _holds(_arrays(constant)):
                return False
            self._tables = [table for table in row_history.tracked(tensors) if table.is_floating_point()]
            known = set(map(id, [*constant, *self._tables]))
            self._arrays = _arrays([tensor for tensor in tensors if id(tensor) not in known])
            self._tensors, self._pointers = tensors, [tensor.data_ptr() for tensor in tensors]
            self._places = [*_places_of(module)]
            self._contents = [*chain.from_iterable(map(dict.values, self._places))]
        return _holds(self._arrays) and all(map(row_history.is_finite, self._tables))

    def __deepcopy__(self, memo: dict[int, Any]) -> Finiteness:
        return Finiteness()


def _places_of(module: nn.Module) -> Iterator[dict[str, Any]]:
    """Where a module and all below it have their tensors and modules."""
    for each in module.modules():
        yield from (each._parameters, each._buffers, each._modules)


def _holds(arrays: Arrays) -> bool:
    return are_finite(*arrays[:3]) and all(bool(tensor.isfinite().all()) for tensor in arrays.others)


def state_of(module: nn.Module) -> list[Tensor]:
    """What of a module's state may become infinite."""
    found: list[Tensor] = [parameter for parameter in module._parameters.values() if parameter is not None]
    if module._buffers:
        hidden = module._non_persistent_buffers_set
        found += [
            buffer
            for name, buffer in module._buffers.items()
            if buffer is not None and name != MAY_BE_INFINITE and name not in hidden
        ]
    for child in module._modules.values():
        if child is not None:
            found += state_of(child)
    return found


def _arrays(tensors: Sequence[Tensor]) -> Arrays:
    plain = [
        tensor for tensor in tensors if tensor.dtype in KINDS and tensor.is_contiguous() and tensor.device.type == "cpu"
    ]
    addresses, counts = ([*map(of, plain)] for of in (Tensor.data_ptr, Tensor.numel))
    known = {id(tensor) for tensor in plain}
    others = [tensor for tensor in tensors if id(tensor) not in known and tensor.is_floating_point()]
    are_double = np.array([tensor.dtype == torch.float64 for tensor in plain], np.bool_)
    return Arrays(np.array(addresses, np.int64), np.array(counts, np.int64), are_double, others)
