"""The body of a predict call: from JSON to typed rows, without a Python object for each number."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from functools import cached_property, lru_cache
from operator import itemgetter
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from driftline.errors import InvalidInput
from driftline.ingest import rows as inputs
from driftline.ingest.keys import Key, are_keys, with_keys
from driftline.rows.number_types import as_type, is_whole
from driftline.rows.rows import Rows
from driftline.spec import SINGLE_INPUT, ModelSpec
from driftline.support import json_text
from driftline.support.lines import without_bom

LONG_BYTES = 2**11


def is_finite(array: NDArray[np.float32]) -> bool:
    """Whether all numbers are finite. Their sum tells, in one pass, unless it overflows."""
    return math.isfinite(np.add.reduce(array, axis=None)) or bool(np.isfinite(array).all())


def count_bytes(data: bytes, byte: bytes) -> int:
    """How often a byte occurs. ``bytes.count`` takes longer the oftener it does."""
    if len(data) < LONG_BYTES:
        return data.count(byte)
    return int(np.count_nonzero(np.frombuffer(data, np.uint8) == byte[0]))


class _Parsers(threading.local):
    """The fast parser, which each thread has for itself: one at a time has a document open in it."""

    def __init__(self) -> None:
        try:
            from simdjson import Parser
        except ImportError:  # No wheel for this Python: the precise parser takes everything.
            self.fast: Any = None
        else:
            self.fast = Parser()


_parsers = _Parsers()


class BodyDecoder:
    """Parses ``{"inputs": …, "keys": …}`` for one spec.

    A fast parser takes what fits the spec exactly. The rest goes to a precise parser, which accepts it or says where it is
    wrong.
    """

    def __init__(self, spec: ModelSpec) -> None:
        self.spec = spec
        self._rows = inputs.RowReader(spec)
        self._takes_names = isinstance(spec.inputs, dict)
        self._brackets = {name: _brackets_a_row(tensor.shape) for name, tensor in spec.tensors.items()}

    @property
    def on_loop_bytes(self) -> int:
        """The most bytes of a body that take no longer than a millisecond or so: a field takes longer than a number."""
        return 2**12 if self.spec.fields is not None else 2**16

    def may_exceed(self, body: bytes, most: int) -> bool:
        """Whether a body may have more than ``most`` rows: each takes two bytes, and a comma stands between two."""
        return len(body) > 2 * most and count_bytes(body, b",") >= most

    def count(self, body: bytes) -> int:
        """How many rows a body has, which none is read for; 0 where that cannot be told."""
        try:
            inputs = _uncoded.decode(body).inputs
        except json_text.UNREADABLE:
            return 0
        return len(inputs) if isinstance(inputs, list) else max(map(len, inputs.values()), default=0)

    def decode(self, body: bytes) -> Rows:
        """The rows of a body; :class:`InvalidInput` names the input or field, the row, and what does not fit."""
        rows = self.decode_fast(body)
        return rows if rows is not None else self.decode_precisely(body)

    def decode_fast(self, body: bytes) -> Rows | None:
        """What the fast parser makes of a body; None where it does not take it."""
        if self.spec.fields is not None:
            return self._decode_structs(body)
        return self._decode_tensors(body) if _parsers.fast is not None and not self.spec.sequences else None

    def _decode_structs(self, body: bytes) -> Rows | None:
        if self._struct_decoder is None:
            return None
        try:
            decoded = self._struct_decoder.decode(body)
            rows = self._rows.structs(decoded.inputs)
            if rows is None or rows.records is None:
                return None
            # A struct keeps the last of two values under one name, and does not tell.
            others = 1 + (decoded.keys is not None)
            named, kept = count_bytes(body, b":") - others, _count_values(rows.records)
            if named != kept and named != kept + body.count(b"null"):
                found = others + sum(map(len, _named_rows.decode(body).inputs))
                if body.count(b'":') != found:
                    return None
        except json_text.UNREADABLE:
            return None
        return rows if decoded.keys is None else with_keys(rows, decoded.keys)

    @cached_property
    def _struct_decoder(self) -> msgspec.json.Decoder[Any] | None:
        """Parses rows of fields that fit their types; it is the same for all versions of a model."""
        return _struct_decoder(self._rows.struct) if self._rows.struct is not None else None

    def _decode_tensors(self, body: bytes) -> Rows | None:
        try:
            document = _parsers.fast.parse(body)
            if len(document) == 1:
                return self._arrays(document["inputs"], body)
            # A key with a bracket in it is left to the precise parser.
            keys = document["keys"].as_list()
            rows = self._arrays(document["inputs"], body, 1) if len(document) == 2 and are_keys(keys) else None
        except (AttributeError, InvalidInput, KeyError, RuntimeError, TypeError, ValueError):
            return None
        return None if rows is None else with_keys(rows, keys)

    def _arrays(self, value: Any, body: bytes, others: int = 0) -> Rows | None:
        """The rows of a body in which are so many ``others`` brackets; None where they do not fit the spec exactly."""
        if self._takes_names and len(value) != len(self._brackets):
            return None
        columns = {name: value[name] for name in self._brackets} if self._takes_names else {SINGLE_INPUT: value}
        count = len(next(iter(columns.values())))
        # As many brackets as the rows have: no number is in a list of its own.
        brackets = others + sum(1 + count * a_row for a_row in self._brackets.values())
        if not count or body.count(b"[") != brackets:
            return None
        found = {name: _array(tensor, columns[name], count) for name, tensor in self.spec.tensors.items()}
        return None if any(array is None for array in found.values()) else Rows(found)  # type: ignore[arg-type]

    def decode_precisely(self, body: bytes) -> Rows:
        """What the precise parser makes of a body; :class:`InvalidInput` where it does not fit."""
        body = without_bom(body)
        found = inputs.decoded(self._decoder, body)
        has_names = self._takes_names or self.spec.fields is not None
        names = 1 + (found.keys is not None) + (_count_names(found.inputs) if has_names else 0)
        json_text.check_names(body, names)
        return with_keys(self._rows.batch(found.inputs), found.keys)

    @cached_property
    def _decoder(self) -> msgspec.json.Decoder[Any]:
        return _body_decoder(inputs.json_type(self.spec, batched=True))


def _body_decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    fields: list[Any] = [("inputs", kind), ("keys", list[Key | None] | None, None)]
    return msgspec.json.Decoder(msgspec.defstruct("PredictBody", fields, forbid_unknown_fields=True))


class _Uncoded(msgspec.Struct):
    """Rows of which only their number is known."""

    inputs: list[msgspec.Raw] | dict[str, list[msgspec.Raw]]


_uncoded = msgspec.json.Decoder(_Uncoded)

_named_rows = _body_decoder(list[dict[str, msgspec.Raw]])


_bytes_of: list[Callable[[bytes], int]] = [itemgetter(place) for place in range(3)]


def _count_values(records: list[bytes]) -> int:
    """How many values recorded rows have: a MessagePack map says so at its beginning, in four bits or in two bytes."""
    heads = [*map(_bytes_of[0], records)]
    if max(heads) < 0x90:
        return sum(heads) - 0x80 * len(heads)
    large = records if min(heads) == 0xDE else [record for record in records if record[0] == 0xDE]
    small = sum(head & 0x0F for head in heads if head < 0x90) if len(large) < len(heads) else 0
    return small + 256 * sum(map(_bytes_of[1], large)) + sum(map(_bytes_of[2], large))


def _count_names(value: Any) -> int:
    """The names in rows of fields, columns by name, or a struct of tensors."""
    if isinstance(value, msgspec.Struct):
        return len(value.__struct_fields__)
    if isinstance(value, dict):
        return len(value) + sum(map(_count_names, value.values()))
    if isinstance(value, list) and value and isinstance(value[0], dict | list):
        return sum(map(_count_names, value))
    return 0


@lru_cache(maxsize=256)
def _struct_decoder(row: Any) -> msgspec.json.Decoder[Any]:
    return _body_decoder(list[row])


def flat_numbers(data: bytes, kind: str, shape: list[int]) -> NDArray[Any] | None:
    """The numbers of a JSON list, flat or nested as ``shape`` is, as float64 (``f``) or int64 (``i``); None where it is
    anything else."""
    if _parsers.fast is None:
        return None
    lists = data.count(b"[")
    try:
        document = _parsers.fast.parse(data)
        if lists != 1 and not (lists == _brackets_a_row(shape) and _has_shape(document, shape)):
            return None
        buffer = document.as_buffer(of_type="d" if kind == "f" else "i")
    except (AttributeError, RuntimeError, TypeError, ValueError):
        return None
    return np.frombuffer(buffer, np.float64 if kind == "f" else np.int64)


def _brackets_a_row(shape: list[int]) -> int:
    """How many lists one row of ``shape`` consists of."""
    lists, within = 0, 1
    for size in shape:
        lists, within = lists + within, within * size
    return lists


def _array(tensor: inputs.AnyTensor, column: Any, count: int) -> NDArray[Any] | None:
    """The rows of one input; None where the precise parser has to check."""
    if not _has_shape(column, [count, *tensor.shape]):
        return None
    shape = (count, *tensor.shape)
    wide: NDArray[Any]
    if is_whole(tensor.dtype):
        wide = np.frombuffer(column.as_buffer(of_type="i"), np.int64)
    else:
        wide = np.frombuffer(column.as_buffer(of_type="d"), np.float64)
    if tensor.dtype != "float32":
        if len(wide) != count * tensor.size:
            return None
        # A number that does not fit is told by the precise parser.
        return as_type(wide.reshape(shape), tensor.dtype, "")
    with np.errstate(over="ignore"):
        narrow = wide.astype(np.float32)
    return narrow.reshape(shape) if len(wide) == count * tensor.size and is_finite(narrow) else None


def _has_shape(array: Any, shape: list[int]) -> bool:
    return len(array) == shape[0] and (len(shape) == 1 or all(_has_shape(row, shape[1:]) for row in array))
