"""Parses inputs from JSON to typed rows, once, at the edge: no check is repeated after this."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from driftline.errors import InvalidInput
from driftline.spec import SINGLE_INPUT, ModelSpec, TensorSpec

Rows = dict[str, NDArray[Any]]

_NUMBER: dict[str, type] = {"float32": float, "int64": int}
_LARGEST = float(np.finfo(np.float32).max)


def json_type(spec: ModelSpec, *, batched: bool) -> Any:
    """The JSON type of ``inputs``: nested lists of numbers, by name where inputs are named."""
    if not isinstance(spec.inputs, dict):
        return _nested(spec.inputs, batched)
    fields = [(name, _nested(tensor, batched)) for name, tensor in spec.inputs.items()]
    return msgspec.defstruct("Inputs", fields, forbid_unknown_fields=True)


def _nested(tensor: TensorSpec, batched: bool) -> Any:
    depth = len(tensor.shape) + batched
    return reduce(lambda inner, _: list[inner], range(depth), _NUMBER[tensor.dtype])  # type: ignore[valid-type]


def batch(spec: ModelSpec, value: Any) -> Rows:
    """The decoded ``inputs`` of a predict call as arrays ``[rows, *shape]`` by input name.

    Raises:
        InvalidInput: it names the input, the row, and the shape or number that does not fit.
    """
    arrays = {
        name: _array(tensor, getattr(value, name) if isinstance(spec.inputs, dict) else value, _path(spec, name))
        for name, tensor in spec.tensors.items()
    }
    rows = {name: len(array) for name, array in arrays.items()}
    if len(set(rows.values())) > 1:
        raise InvalidInput(f"inputs: columns of different length: {rows}", field="inputs", value=rows)
    if not next(iter(rows.values())):
        raise InvalidInput("inputs: there is no row", field="inputs", value=[])
    return arrays


def row(spec: ModelSpec, value: Any) -> dict[str, bytes]:
    """The decoded ``inputs`` of one feedback item as bytes by input name."""
    named = isinstance(spec.inputs, dict)
    return {
        name: _array(tensor, [getattr(value, name) if named else value], _path(spec, name)).tobytes()
        for name, tensor in spec.tensors.items()
    }


def row_as_json(spec: ModelSpec, data: Mapping[str, bytes]) -> Any:
    """The row that :func:`row` made bytes of, as nested lists; by name where inputs are named."""
    rows = {
        name: np.frombuffer(data[name], np.dtype(tensor.dtype).newbyteorder("<")).reshape(tensor.shape).tolist()
        for name, tensor in spec.tensors.items()
    }
    return rows if isinstance(spec.inputs, dict) else rows[SINGLE_INPUT]


def _path(spec: ModelSpec, name: str) -> str:
    return f"inputs.{name}" if isinstance(spec.inputs, dict) else SINGLE_INPUT


def _array(tensor: TensorSpec, value: list[Any], path: str) -> NDArray[Any]:
    try:
        wide = np.asarray(value, dtype=np.float64 if tensor.dtype == "float32" else np.int64)
    except OverflowError:
        raise InvalidInput(f"{path}: a number does not fit {tensor.dtype}", field=path) from None
    except ValueError:
        wide = np.empty(0)
    if wide.shape[1:] != tuple(tensor.shape):
        raise _wrong_shape(tensor, value, path)
    if tensor.dtype == "int64":
        return wide
    return as_float32(wide, path)


def as_float32(wide: NDArray[Any], path: str) -> NDArray[np.float32]:
    """Numbers as float32; :class:`InvalidInput` names the first that is not finite there."""
    # Not (a <= b) is also true for NaN.
    if wide.size and not np.abs(wide).max() <= _LARGEST:
        where = np.unravel_index(int(np.argmin(np.abs(wide) <= _LARGEST)), wide.shape)
        number = float(wide[where])
        field = path + "".join(f"[{index}]" for index in where)
        raise InvalidInput(f"{field}: {number!r} is not a finite float32", field=field, value=repr(number))
    return wide.astype(np.float32)


def _wrong_shape(tensor: TensorSpec, value: list[Any], path: str) -> InvalidInput:
    for index, element in enumerate(value):
        shape = _shape(element)
        if shape != tensor.shape:
            return InvalidInput(
                f"{path}[{index}]: a row of shape {shape} where {tensor.shape} is expected",
                code="wrong_shape",
                field=f"{path}[{index}]",
                value=shape,
                expected=tensor.shape,
            )
    return InvalidInput(f"{path}: there is no row", field=path, value=[])


def _shape(value: Any) -> list[int] | str:
    try:
        return list(np.shape(value))
    except ValueError:
        return "ragged"


def malformed(error: msgspec.DecodeError, field: str = "body") -> InvalidInput:
    """The error for a body that msgspec refuses, with the path of the field where it names one."""
    text = str(error)
    if isinstance(error, msgspec.ValidationError):
        message, _, path = text.partition(" - at `$")
        where = path.rstrip("`").lstrip(".") or field
        return InvalidInput(f"{where}: {message[:1].lower()}{message[1:]}", field=where)
    return InvalidInput(f"{field}: not JSON: {text}", code="malformed_json", field=field)
