"""Parses inputs from JSON to typed rows, once, at the edge: no check is repeated after this."""

from __future__ import annotations

import contextlib
import json
import math
import re
from collections.abc import Sequence
from functools import reduce
from typing import Any, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from driftline.errors import InvalidInput
from driftline.ingest.sequence_rows import check_tokenizer, sequences
from driftline.rows.fields import FieldCoder, coder_of
from driftline.rows.number_types import as_type, is_whole
from driftline.rows.rows import Rows
from driftline.spec import SINGLE_INPUT, ModelSpec, TensorSpec
from driftline.spec.row_layout import RowTensor
from driftline.support import json_text

AnyTensor = TensorSpec | RowTensor

_LARGEST = float(np.finfo(np.float32).max)


def json_type(spec: ModelSpec, *, batched: bool) -> Any:
    """The JSON type of ``inputs``: nested lists of numbers, by name where inputs are named; of fields, objects."""
    if spec.fields is not None:
        return Any
    if not isinstance(spec.inputs, dict):
        return _nested(spec.given_tensors[SINGLE_INPUT], batched)
    fields = [(name, _nested(tensor, batched)) for name, tensor in spec.inputs.items()]
    return msgspec.defstruct("Inputs", fields, forbid_unknown_fields=True)


def _nested(tensor: TensorSpec, batched: bool) -> Any:
    if tensor.is_sequence:
        return list[Any] if batched else Any
    number: type = int if is_whole(tensor.dtype) else float
    return reduce(lambda inner, _: list[inner], range(len(tensor.shape) + batched), number)  # type: ignore[valid-type]


def check_tokenizers(spec: ModelSpec) -> None:
    """:class:`InvalidInput` where a tokenizer that a spec names cannot be had."""
    for name, tensor in spec.sequences.items():
        check_tokenizer(tensor, _path(spec, name))


class RowReader:
    """Reads the rows of one model from what JSON was decoded to."""

    def __init__(self, spec: ModelSpec) -> None:
        self.spec = spec
        self._coder = coder_of(spec.fields) if spec.fields is not None else None

    @property
    def struct(self) -> Any:
        """The type of a row of fields that :meth:`structs` takes; None where there is none."""
        return self._coder.struct.type if self._coder is not None and self._coder.struct is not None else None

    def structs(self, rows: list[Any]) -> Rows | None:
        """Rows as structs; None where :meth:`batch` has to take them, or to say what is wrong."""
        assert self._coder is not None
        coded = self._coder.from_structs(rows) if rows else None
        return Rows(*coded) if coded is not None else None

    def batch(self, value: Any) -> Rows:
        """The decoded ``inputs`` of a predict call.

        Raises:
            InvalidInput: it names the input or field, the row, and the shape or value that does not fit.
        """
        if self._coder is not None:
            return (
                Rows(*self._coder.from_columns(_columns(value)))
                if isinstance(value, dict)
                else _of_fields(self._coder, _objects(value))
            )
        spec = self.spec
        arrays: dict[str, NDArray[Any]] = {}
        for name, tensor in spec.given_tensors.items():
            column = getattr(value, name) if isinstance(spec.inputs, dict) else value
            if tensor.is_sequence:
                places = [f"[{row}]" for row in range(len(column))]
                arrays |= sequences(name, tensor, column, _path(spec, name), places)
            else:
                arrays[name] = _array(tensor, column, _path(spec, name))
        rows = {name: len(array) for name, array in arrays.items()}
        if len(set(rows.values())) > 1:
            raise InvalidInput(f"inputs: columns of different length: {rows}", field="inputs", value=rows)
        if not next(iter(rows.values())):
            raise _no_row()
        return Rows(arrays)

    def row(self, value: Any) -> Rows:
        """The decoded ``inputs`` of one feedback item."""
        if self._coder is not None:
            if not isinstance(value, dict):
                raise _not_an_object("inputs", value)
            return _of_fields(self._coder, [value], "inputs.")
        spec, named = self.spec, isinstance(self.spec.inputs, dict)
        arrays: dict[str, NDArray[Any]] = {}
        for name, tensor in spec.given_tensors.items():
            row = [getattr(value, name) if named else value]
            if tensor.is_sequence:
                arrays |= sequences(name, tensor, row, _path(spec, name), [""])
            else:
                arrays[name] = _array(tensor, row, _path(spec, name))
        return Rows(arrays)

    def rows(self, values: Sequence[Any]) -> list[Rows | InvalidInput]:
        """The decoded ``inputs`` of some feedback items; each is read, or refused, by itself."""
        if self._coder is not None and len(values) > 1 and all(isinstance(value, dict) for value in values):
            with contextlib.suppress(InvalidInput):
                together = _of_fields(self._coder, [*values], "item.inputs")
                if not together.unknown:
                    return [together[place : place + 1] for place in range(len(values))]
        return [self._row_or_error(value) for value in values]

    def _row_or_error(self, value: Any) -> Rows | InvalidInput:
        try:
            return self.row(value)
        except InvalidInput as error:
            return error


def _of_fields(coder: FieldCoder, rows: list[dict[str, Any]], path: str = "inputs") -> Rows:
    return Rows(*coder.from_rows(rows, path))


def _objects(value: Any) -> list[dict[str, Any]]:
    """Rows as objects."""
    if not isinstance(value, list):
        raise InvalidInput(
            f"inputs: a list of objects, or columns by name, is expected, not {_shown(value)}",
            field="inputs",
            value=value,
        )
    if not value:
        raise _no_row()
    for index, row in enumerate(value):
        if not isinstance(row, dict):
            raise _not_an_object(f"inputs[{index}]", row)
    return value


def _columns(columns: dict[str, Any]) -> dict[str, list[Any]]:
    """Columns by name, equally long."""
    for name, column in columns.items():
        if not isinstance(column, list):
            where = f"inputs.{name}"
            message = (
                f"{where}: a list, one value a row, is expected, not {_shown(column)}; rows as objects go in a list"
            )
            raise InvalidInput(message, field=where, value=column)
    rows = {name: len(column) for name, column in columns.items()}
    if len(set(rows.values())) > 1:
        raise InvalidInput(f"inputs: columns of different length: {rows}", field="inputs", value=rows)
    if not any(rows.values()):
        raise _no_row()
    return columns


def _no_row() -> InvalidInput:
    return InvalidInput("inputs: there is no row", field="inputs", value=[])


def _not_an_object(where: str, value: Any) -> InvalidInput:
    message = f"{where}: a row is an object of fields by name, not {_shown(value)}"
    return InvalidInput(message, code="wrong_value", field=where, value=_shown(value))


def _shown(value: Any) -> str:
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= 100 else text[:97] + "…"


def _path(spec: ModelSpec, name: str) -> str:
    return f"inputs.{name}" if isinstance(spec.inputs, dict) else SINGLE_INPUT


def _array(tensor: AnyTensor, value: list[Any], path: str) -> NDArray[Any]:
    try:
        wide = np.asarray(value, dtype=np.int64 if is_whole(tensor.dtype) else np.float64)
    except OverflowError:
        raise InvalidInput(f"{path}: a number does not fit {tensor.dtype}", field=path) from None
    except ValueError:
        wide = np.empty(0)
    if wide.shape[1:] != tuple(tensor.shape):
        raise _wrong_shape(tensor, value, path)
    if tensor.dtype == "int64":
        return wide
    return as_float32(wide, path) if tensor.dtype == "float32" else as_type(wide, tensor.dtype, path)


def as_float32(wide: NDArray[Any], path: str) -> NDArray[np.float32]:
    """Numbers as float32; :class:`InvalidInput` names the first that is not finite there."""
    # Not (a <= b) is also true for NaN.
    if wide.size and not np.abs(wide).max() <= _LARGEST:
        where = np.unravel_index(int(np.argmin(np.abs(wide) <= _LARGEST)), wide.shape)
        number = float(wide[where])
        field = path + "".join(f"[{index}]" for index in where)
        raise InvalidInput(f"{field}: {number!r} is not a finite float32", field=field, value=repr(number))
    return wide.astype(np.float32)


def _wrong_shape(tensor: AnyTensor, value: list[Any], path: str) -> InvalidInput:
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


EXPECTED = {
    "object": "an object",
    "array": "a list",
    "float": "a number",
    "int": "a whole number",
    "str": "a string",
    "bool": "true or false",
    "null": "null",
}
"""What msgspec calls the types of JSON, in words."""


T = TypeVar("T")


def decoded(decoder: msgspec.json.Decoder[T], data: bytes, field: str = "body") -> T:
    """A JSON text as a type; :class:`InvalidInput` says what is wrong with it."""
    try:
        return decoder.decode(data)
    except json_text.UNREADABLE as error:
        raise malformed(error, data, field) from None


def malformed(error: Exception, body: bytes, field: str = "body") -> InvalidInput:
    """The error for a ``body`` that msgspec refuses: the field, its value and what is expected, where it says so."""
    if not isinstance(error, msgspec.ValidationError):
        return json_text.broken(error, body, field)
    message, _, path = str(error).partition(" - at `$")
    steps = path.rstrip("`").lstrip(".")
    where = steps or field
    if "[...]" in steps and (beyond := _beyond_range(body)) is not None:
        return InvalidInput(
            f"{beyond[0]}: {beyond[1]}: {message[:1].lower()}{message[1:]}", field=beyond[0], value=beyond[1]
        )
    if not message.startswith("Expected `"):
        return InvalidInput(f"{where}: {message[:1].lower()}{message[1:]}", field=where)
    expected = " or ".join(EXPECTED.get(name, name) for name in message.split("`")[1].split(" | "))
    try:
        shown = _shown(_at(body, steps))
    except json_text.UNREADABLE as other:
        return malformed(other, body, field)
    return InvalidInput(f"{where}: {shown} is not {expected}", field=where, value=shown)


class _Digits(str):
    """A number as it is written, of which a float can hold no more than that it is too large."""


def _digits(text: str) -> _Digits | float:
    return _Digits(text) if math.isinf(float(text)) else 0.0


def _beyond_range(body: bytes) -> tuple[str, str] | None:
    """Where the first number stands that no float can hold, and how it is written: msgspec does not name keys of objects."""
    try:
        whole = json.loads(body, parse_float=_digits, parse_int=len)
    except (ValueError, RecursionError):  # What follows it is no JSON.
        return None
    waiting = [("", whole)]
    for place, value in waiting:
        if isinstance(value, _Digits):
            return place, str(value)[:40]
        parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        waiting += [
            (f"{place}[{key}]" if isinstance(key, int) else f"{place}.{key}".lstrip("."), part) for key, part in parts
        ]
    return None


def _at(body: bytes, path: str) -> Any:
    """What stands at a path like ``inputs[0].tenure`` of JSON."""
    value = msgspec.json.decode(body)
    for key, index in re.findall(r"([^.\[\]]+)|\[(\d+)\]", path):
        try:
            value = value[int(index)] if index else value[key]
        except (KeyError, IndexError, TypeError):
            # A name may hold a dot; msgspec writes it as it is.
            break
    return value
