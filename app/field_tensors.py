"""Rows of fields in the Open Inference Protocol v2: one named tensor a field."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from driftline.api.inference import InferRequest, InputTensor
from driftline.rows.fields import coder_of
from driftline.rows.rows import Rows
from driftline.spec.parts.fields import FieldsSpec, RowField, TensorField

from .inference_protocol import array_of, bytes_of, check_counts, loaded, no_bytes_left, wrong

BYTES = "BYTES"
LENGTH = struct.Struct("<I")
DATATYPES = {
    "number": "FP64",
    "boolean": "BOOL",
    "time": "FP64",
    "category": BYTES,
    "text": BYTES,
    "tensor": "FP32",
}
"""How the fields of each type are described; others are taken as well where they mean the same."""
TAKEN: Mapping[str, str] = {
    "number": "iuf",
    "boolean": "biu",
    "time": "iufS",
    "category": "biuS",
    "text": "S",
    "tensor": "iuf",
}
"""The kinds of elements that a field of each type may be given as."""


class FieldTensors:
    """Reads the inputs of requests for one model.

    A field that is not given is missing in all rows; in those that are, NaN and an empty text are.
    """

    def __init__(self, fields: FieldsSpec) -> None:
        self.fields = fields
        self._coder = coder_of(fields)

    def described(self) -> list[tuple[str, str, list[int]]]:
        """Name, datatype and shape of the tensor of each field."""
        found = []
        for name, field in self.fields.read.items():
            if not field.dropped:
                shape = field.shape if isinstance(field, TensorField) else []
                found.append((name, DATATYPES[field.type], [-1, *shape]))
        return found

    def rows(self, request: InferRequest, binary: memoryview) -> Rows:
        """The rows of a request; :class:`InvalidInput` names what does not fit."""
        columns: dict[str, list[Any]] = {}
        for tensor in request.inputs:
            if tensor.name in columns:
                raise wrong(tensor, "it is given twice")
            field = self.fields.fields.get(tensor.name)
            columns[tensor.name], binary = _column(tensor, field, binary)
        no_bytes_left(binary)
        check_counts({len(column) for column in columns.values()})
        return Rows(*self._coder.from_columns(columns))


def _column(tensor: InputTensor, field: RowField | None, binary: memoryview) -> tuple[list[Any], memoryview]:
    """The values of a tensor, one a row, and the bytes that follow it."""
    shape = list(field.shape) if isinstance(field, TensorField) else []
    if not tensor.shape:
        raise wrong(tensor, "its shape is [], and has no rows")
    if field is not None and field.is_read and (len(tensor.shape) != 1 + len(shape) or tensor.shape[1:] != shape):
        wanted = ", ".join(map(str, ["rows", *shape]))
        raise wrong(tensor, f"the shape {tensor.shape} is not [{wanted}]")
    if tensor.datatype == BYTES:
        texts, binary = _texts(tensor, binary)
        _check_kind(tensor, field, "S")
        return [text or None for text in texts], binary
    array, binary = array_of(tensor, binary)
    _check_kind(tensor, field, array.dtype.kind)
    return _values(array, field), binary


def _check_kind(tensor: InputTensor, field: RowField | None, kind: str) -> None:
    if field is None or not field.is_read:
        return
    if kind not in TAKEN[field.type]:
        raise wrong(tensor, f"a {field.type} is {DATATYPES[field.type]}, not {tensor.datatype}")
    if field.type == "time" and tensor.datatype in ("FP16", "FP32"):
        # Seconds of these years are 128 apart in float32.
        raise wrong(tensor, f"a time is FP64 or INT64: {tensor.datatype} holds too few digits to tell times apart")


def _values(array: NDArray[Any], field: RowField | None) -> list[Any]:
    if isinstance(field, TensorField):
        return list(array.astype(np.float32))
    values = array.tolist()
    return [None if value != value else value for value in values] if array.dtype.kind == "f" else values


def _texts(tensor: InputTensor, binary: memoryview) -> tuple[list[str], memoryview]:
    """The elements of a tensor of BYTES, and the bytes that follow it."""
    size = tensor.parameters.get("binary_data_size")
    if (size is None) == (tensor.data is msgspec.UNSET):
        raise wrong(tensor, 'it has either "data" or the parameter "binary_data_size"')
    if size is None:
        values = loaded(tensor, bytes(tensor.data))  # type: ignore[arg-type]
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            raise wrong(tensor, "its data is not a list of strings")
        found, rest = values, binary
    else:
        data, rest = bytes_of(tensor, size, binary)
        found = [*_read(tensor, data)]
    if len(found) != (tensor.shape[0] if tensor.shape else 0):
        raise wrong(tensor, f"the shape {tensor.shape} has {tensor.shape[0]} elements, and data has {len(found)}")
    return found, rest


def _read(tensor: InputTensor, data: memoryview) -> Iterator[str]:
    """Elements that each have their length in front."""
    place = 0
    while place < len(data):
        if place + LENGTH.size > len(data):
            raise wrong(tensor, "its bytes end within the length of an element")
        (length,) = LENGTH.unpack_from(data, place)
        place += LENGTH.size
        if place + length > len(data):
            raise wrong(tensor, "its bytes end within an element")
        try:
            yield str(data[place : place + length], "utf-8")
        except UnicodeDecodeError:
            raise wrong(tensor, "an element is not UTF-8") from None
        place += length
