"""Rows of any length: padded to the longest that there may be, with their lengths beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from driftline.rows.number_types import array_type
from driftline.spec.tensors import TensorSpec, length_name

Arrays = dict[str, NDArray[Any]]


def padded(name: str, tensor: TensorSpec, rows: Sequence[NDArray[Any]]) -> Arrays:
    """Rows ``[length, *rest]`` of an input as ``[rows, max_length, *rest]``, filled up with zeros, and their lengths."""
    found = np.zeros((len(rows), *tensor.padded_shape), array_type(tensor.dtype).newbyteorder("="))
    for place, row in enumerate(rows):
        found[place, : len(row)] = row
    return {name: found, length_name(name): np.array([len(row) for row in rows], np.int64)}


def lengths_of(arrays: Mapping[str, NDArray[Any]], name: str) -> NDArray[np.int64] | None:
    """How long each row of an input is; None where all are as long as its shape says."""
    return arrays.get(length_name(name))


def from_bytes(name: str, tensor: TensorSpec, items: Sequence[bytes]) -> Arrays:
    """Rows of an input from their bytes, each as long as its row."""
    kind = array_type(tensor.dtype)
    return padded(name, tensor, [np.frombuffer(item, kind).reshape(-1, *tensor.padded_shape[1:]) for item in items])


def fits(tensor: TensorSpec, data: bytes) -> bool:
    """Whether bytes are a row of an input whose rows have any length."""
    element = array_type(tensor.dtype).itemsize * int(np.prod(tensor.padded_shape[1:], dtype=np.int64))
    return len(data) % element == 0 and len(data) // element <= tensor.padded_shape[0]
