"""Tensors of the Open Inference Protocol v2: as JSON, or as bytes after a JSON header."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import orjson
from numpy.typing import NDArray

from driftline.api.inference import InferRequest, InputTensor
from driftline.errors import InvalidInput
from driftline.ingest.rows import decoded, malformed
from driftline.rows.number_types import as_numbers, as_type, is_whole
from driftline.rows.rows import Rows
from driftline.rows.sequences import padded
from driftline.spec import ModelSpec, TensorSpec
from driftline.spec.tensors import BFLOAT16
from driftline.support import json_text
from driftline.support.lines import without_bom

from .json_rows import flat_numbers, is_finite

DATATYPES = {
    name: np.dtype(code)
    for name, code in {
        "BOOL": "?",
        **{"INT8": "<i1", "INT16": "<i2", "INT32": "<i4", "INT64": "<i8"},
        **{"UINT8": "<u1", "UINT16": "<u2", "UINT32": "<u4", "UINT64": "<u8"},
        **{"FP16": "<f2", "FP32": "<f4", "FP64": "<f8", "BF16": "<u2"},
    }.items()
}


BF16 = "BF16"
"""The upper halves of FP32, which numpy has not."""

OF_TENSORS = {
    **{"float32": "FP32", "float16": "FP16", "bfloat16": BF16},
    **{"int64": "INT64", "int32": "INT32", "uint8": "UINT8"},
}

MAX_DIMENSIONS = 32
MAX_LENGTH_DIGITS = 12

_decoder = msgspec.json.Decoder(InferRequest)


def decode(body: bytes, header_length: bytes | None) -> tuple[InferRequest, memoryview]:
    """A request's JSON, and the bytes after it; ``header_length`` is the header Inference-Header-Content-Length."""
    length = len(body)
    if header_length is not None:
        is_number = header_length.isdigit() and len(header_length) <= MAX_LENGTH_DIGITS
        if not is_number or int(header_length) > len(body):
            shown = json_text.shortened(header_length.decode("latin-1"))
            raise InvalidInput(
                f"Inference-Header-Content-Length: {shown!r} is not a length within the body of {len(body)} bytes",
                field="Inference-Header-Content-Length",
                value=shown,
            )
        length = int(header_length)
    text = body if length == len(body) else body[:length]
    try:
        request = decoded(_decoder, without_bom(text))
    except InvalidInput as error:
        message = f"the request is not as the protocol has it: {error.message}"
        raise InvalidInput(message, code=error.code, **error.details) from None
    return request, memoryview(body)[length:]


class Tensors:
    """Reads the inputs of requests for one model."""

    def __init__(self, spec: ModelSpec) -> None:
        self.spec = spec

    def described(self) -> list[tuple[str, str, list[int]]]:
        """Name, datatype and shape of each input."""
        return [
            (name, OF_TENSORS[tensor.dtype], [-1, *(-1 if size is None else size for size in tensor.shape)])
            for name, tensor in self.spec.given_tensors.items()
        ]

    def rows(self, request: InferRequest, binary: memoryview) -> Rows:
        """The rows of a request; :class:`InvalidInput` names what does not fit."""
        return _rows(self.spec, request, binary)


def _rows(spec: ModelSpec, request: InferRequest, binary: memoryview) -> Rows:
    """The request's inputs as arrays ``[rows, *shape]`` in the spec's dtypes; :class:`InvalidInput` names what does not fit."""
    wanted = spec.given_tensors
    found: dict[str, NDArray[Any]] = {}
    for tensor in request.inputs:
        if tensor.name not in wanted:
            raise wrong(tensor, f"the model has no such input; it has {', '.join(map(repr, wanted))}")
        if tensor.name in found:
            raise wrong(tensor, "it is given twice")
        array, binary = array_of(tensor, binary)
        found |= _fitted(tensor, array, wanted[tensor.name])
    no_bytes_left(binary)
    for name in wanted:
        if name not in found:
            raise InvalidInput(f"input {name!r} is missing", field=f"inputs.{name}")
    check_counts({len(array) for array in found.values()})
    return Rows(found)


def no_bytes_left(binary: memoryview) -> None:
    """Refuses a body that is longer than its inputs."""
    if len(binary):
        raise InvalidInput(f"{len(binary)} bytes are left after the last binary input", field="inputs")


def check_counts(counts: set[int]) -> None:
    """Refuses inputs of different numbers of rows, and of none."""
    if len(counts) > 1:
        raise InvalidInput(f"the inputs have different numbers of rows: {sorted(counts)}", field="inputs")
    if not counts or 0 in counts:
        raise InvalidInput("there is no row", field="inputs", value=[])


def array_of(tensor: InputTensor, binary: memoryview) -> tuple[NDArray[Any], memoryview]:
    """A tensor of the request, and the bytes that follow it."""
    dtype = DATATYPES.get(tensor.datatype)
    if dtype is None:
        known = ", ".join(DATATYPES)
        raise wrong(tensor, f"the datatype {tensor.datatype!r} is not one that this model takes: {known}")
    if len(tensor.shape) > MAX_DIMENSIONS:
        raise wrong(tensor, f"the shape has {len(tensor.shape)} dimensions, and {MAX_DIMENSIONS} is the most")
    if tensor.shape and min(tensor.shape) < 0:
        raise wrong(tensor, f"the shape {tensor.shape} has a negative size")
    if 0 in tensor.shape:
        raise wrong(tensor, f"the shape {tensor.shape} has no element: there is no row")
    if "shared_memory_region" in tensor.parameters:
        raise wrong(tensor, "shared memory is not supported")
    count, size = math.prod(tensor.shape), tensor.parameters.get("binary_data_size")
    if (size is None) == (tensor.data is msgspec.UNSET):
        raise wrong(tensor, 'it has either "data" or the parameter "binary_data_size"')
    if size is None:
        return _from_json(tensor, dtype, count), binary
    if size != count * dtype.itemsize:
        raise wrong(
            tensor,
            f"binary_data_size {size!r} is not the {count * dtype.itemsize} bytes of {tensor.datatype} {tensor.shape}",
        )
    data, rest = bytes_of(tensor, size, binary)
    array = np.frombuffer(data, dtype).reshape(tensor.shape)
    return (as_numbers(array, BFLOAT16) if tensor.datatype == BF16 else array), rest


def bytes_of(tensor: InputTensor, size: Any, binary: memoryview) -> tuple[memoryview, memoryview]:
    """The first ``size`` bytes, which are a tensor's, and those that follow them."""
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise wrong(tensor, f"binary_data_size {size!r} is not a number of bytes")
    if size > len(binary):
        raise wrong(tensor, f"binary_data_size {size} is more than the {len(binary)} bytes that are left in the body")
    return binary[:size], binary[size:]


def _from_json(tensor: InputTensor, dtype: np.dtype[Any], count: int) -> NDArray[Any]:
    """The elements of a tensor's data, whether it is nested or flat. Floats stay float64 until it is known that they fit."""
    data = bytes(tensor.data)  # type: ignore[arg-type]
    dtype = DATATYPES["FP32"] if tensor.datatype == BF16 else dtype
    values: Any = flat_numbers(data, dtype.kind, tensor.shape) if dtype.kind in "if" else None
    if values is None:
        values = _elements(tensor, data, {"b": bool, "i": int, "u": int, "f": float}[dtype.kind])
    if len(values) != count:
        raise wrong(tensor, f"the shape {tensor.shape} has {count} elements, and data has {len(values)}")
    if dtype.kind in "iu" and count:
        limits = np.iinfo(dtype)
        if max(values) > limits.max or min(values) < limits.min:
            raise wrong(tensor, f"a number of its data does not fit {tensor.datatype}")
    return np.asarray(values, np.float64 if dtype.kind == "f" else dtype).reshape(tensor.shape)


def _elements(tensor: InputTensor, data: bytes, kind: type) -> list[Any]:
    """Checks element by element what :func:`flat_numbers` does not take; :class:`InvalidInput` names one of a wrong type."""
    values = loaded(tensor, data)
    if isinstance(values, list) and any(isinstance(value, list) for value in values):
        values = _flattened(tensor, values)
    try:
        return list(msgspec.convert(values, list[kind]))  # type: ignore[valid-type]
    except msgspec.ValidationError as error:
        reason = malformed(error, msgspec.json.encode(values), "it").message
        raise wrong(tensor, f"its data is not {tensor.datatype}: {reason}") from None


def _flattened(tensor: InputTensor, values: list[Any]) -> list[Any]:
    """The elements of nested data, whose lists must be those of the shape: cut otherwise, it would be another tensor."""
    rows = [values]
    for depth, size in enumerate(tensor.shape):
        for row in rows:
            if not isinstance(row, list) or len(row) != size:
                shown = f"{len(row)} elements" if isinstance(row, list) else "no list"
                raise wrong(tensor, f"its data has {shown} at depth {depth}, where the shape {tensor.shape} has {size}")
        rows = [element for row in rows for element in row]
    return rows


def _fitted(tensor: InputTensor, array: NDArray[Any], wanted: TensorSpec) -> dict[str, NDArray[Any]]:
    """A copy of the array in the spec's dtype; of a sequence, all of whose rows are then as long, with their lengths."""
    if not wanted.is_sequence:
        return {tensor.name: _in_type(tensor, array, wanted.shape, wanted.dtype)}
    longest = wanted.padded_shape[0]
    if array.ndim < 2 or not 0 < array.shape[1] <= longest:
        raise wrong(tensor, f"the shape {tensor.shape} is not [rows, length, …] with a length of 1 to {longest}")
    found = _in_type(tensor, array, [array.shape[1], *wanted.shape[1:]], wanted.dtype)
    return padded(tensor.name, wanted, list(found))


def _in_type(tensor: InputTensor, array: NDArray[Any], shape: Sequence[int | None], dtype: str) -> NDArray[Any]:
    if list(array.shape[1:]) != list(shape) or not array.ndim:
        raise wrong(tensor, f"the shape {tensor.shape} is not [rows, {', '.join(map(str, shape))}]".replace(", ]", "]"))
    if is_whole(dtype):
        if array.dtype.kind == "f":
            raise wrong(tensor, f"the model takes whole numbers, not {tensor.datatype}")
        limits = np.iinfo(dtype)
        if array.size and (array.max() > limits.max or array.min() < limits.min):
            raise wrong(tensor, f"a number does not fit {OF_TENSORS[dtype]}")
        return array.astype(dtype)
    if dtype == "float32":
        with np.errstate(over="ignore"):
            narrow = array.astype(np.float32)
        if not is_finite(narrow):
            raise wrong(tensor, "a number is not a finite float32")
        return narrow
    try:
        return as_type(array.astype(np.float64), dtype, tensor.name)
    except InvalidInput as error:
        raise wrong(tensor, f"a number is not a finite {dtype}") from error


def loaded(tensor: InputTensor, data: bytes) -> Any:
    """The data of a tensor from its JSON."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise wrong(tensor, f"its data is not JSON: {error}") from None


def wrong(tensor: InputTensor, reason: str) -> InvalidInput:
    return InvalidInput(f"input {tensor.name!r}: {reason}", field=f"inputs.{tensor.name}")


Output = tuple[str, NDArray[Any] | Sequence[str], list[int]]
"""An output's datatype, elements and shape. The elements of BYTES are strings."""


def encode(head: dict[str, Any], outputs: Mapping[str, Output], binary: Collection[str]) -> tuple[bytes, int | None]:
    """An answer's body, and the length of its JSON where bytes follow it: the outputs that are named in ``binary``."""
    described, parts = [], []
    for name, (datatype, elements, shape) in outputs.items():
        entry: dict[str, Any] = {"name": name, "datatype": datatype, "shape": shape}
        if name in binary:
            part = _bytes(datatype, elements)
            entry["parameters"] = {"binary_data_size": len(part)}
            parts.append(part)
        else:
            entry["data"] = elements if datatype == "BYTES" else np.ascontiguousarray(elements).reshape(-1)
        described.append(entry)
    text = orjson.dumps({**head, "outputs": described}, option=orjson.OPT_SERIALIZE_NUMPY)
    return (text, None) if not parts else (b"".join([text, *parts]), len(text))


def _bytes(datatype: str, elements: NDArray[Any] | Sequence[str]) -> bytes:
    if datatype != "BYTES":
        return np.ascontiguousarray(elements, DATATYPES[datatype]).tobytes()
    texts = [text.encode() for text in elements]
    return b"".join([len(text).to_bytes(4, "little") + text for text in texts])
