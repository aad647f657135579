"""Rows as arrays, and as they are recorded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from driftline.rows.fields import coder_of
from driftline.rows.number_types import array_type, as_numbers, as_type
from driftline.rows.sequences import fits, from_bytes, lengths_of
from driftline.spec import SINGLE_INPUT, ModelSpec
from driftline.spec.tensors import length_name

MISFIT = "the inputs do not have the model's shape"

Recorded = dict[str, bytes | list[bytes]]
"""Rows as a prediction's record has them: of each tensor the bytes of all rows, or, of fields, each row by itself."""


@dataclass(frozen=True)
class Rows:
    """Rows ``[rows, *shape]`` by the name of the tensor.

    ``records`` is each row as it was sent, where it has fields (:class:`driftline.rows.fields.FieldCoder`); ``unknown`` how
    often each field came that the model does not have.
    """

    tensors: dict[str, NDArray[Any]]
    records: list[bytes] | None = None
    unknown: Mapping[str, int] = field(default_factory=dict)
    keys: ClassVar[Sequence[str | None] | None] = None
    """The names that their user gave them: those of :class:`KeyedRows`."""

    def __len__(self) -> int:
        return len(next(iter(self.tensors.values())))

    def __getitem__(self, rows: slice) -> Rows:
        records = self.records[rows] if self.records is not None else None
        return Rows({name: array[rows] for name, array in self.tensors.items()}, records)

    @classmethod
    def joined(cls, parts: Sequence[Rows]) -> Rows:
        """The rows of all parts, in order."""
        if len(parts) == 1:
            return parts[0]
        tensors = {name: np.concatenate([part.tensors[name] for part in parts]) for name in parts[0].tensors}
        if parts[0].records is None:
            return cls(tensors)
        return cls(tensors, [record for part in parts for record in part.records or ()])

    def recorded(self) -> Recorded:
        """The rows as a prediction's record has them."""
        if self.records is not None:
            return {SINGLE_INPUT: self.records}
        return {
            name: array.tobytes() if lengths is None else [_bytes(array, lengths, row) for row in range(len(array))]
            for name, array, lengths in self._given()
        }

    def item(self, row: int) -> dict[str, bytes]:
        """One row as an item of the log has it."""
        if self.records is not None:
            return {SINGLE_INPUT: self.records[row]}
        return {
            name: array[row].tobytes() if lengths is None else _bytes(array, lengths, row)
            for name, array, lengths in self._given()
        }

    def _given(self) -> Iterator[tuple[str, NDArray[Any], NDArray[Any] | None]]:
        """Tensors as they were sent: by name, padded, with the lengths of their rows where these differ."""
        lengths = {name: lengths_of(self.tensors, name) for name in self.tensors}
        told = {id(each) for each in lengths.values() if each is not None}
        for name, array in self.tensors.items():
            if id(array) not in told:
                yield name, array, lengths[name]


def _bytes(array: NDArray[Any], lengths: NDArray[Any], row: int) -> bytes:
    """A row of any length, without what it is filled up with."""
    return bytes(array[row, : lengths[row]].tobytes())


@dataclass(frozen=True)
class KeyedRows(Rows):
    """Rows to which labels can refer by ``keys``, their user's own names of them; None for a row without one."""

    keys: Sequence[str | None] | None = None  # type: ignore[misc]


def joined_for(spec: ModelSpec, parts: Sequence[Rows]) -> Rows:
    """The rows of all parts, in order. Where fields were added while some of them waited, they are coded again."""
    if spec.fields is None or len(parts) == 1:
        return Rows.joined(parts)
    shapes = [{name: array.shape[1:] for name, array in part.tensors.items()} for part in parts]
    if all(shape == shapes[0] for shape in shapes):
        return Rows.joined(parts)
    records = [record for part in parts for record in part.records or ()]
    return Rows(coder_of(spec.fields).from_records(records), records)


def recorded_names(spec: ModelSpec) -> list[str]:
    """What the row of an item consists of, by name, in the order of the spec."""
    return [SINGLE_INPUT] if spec.fields is not None else list(spec.given_tensors)


def from_items(spec: ModelSpec, items: Sequence[Mapping[str, bytes]]) -> dict[str, NDArray[Any]]:
    """The rows of items of the log, as tensors ``[rows, *shape]`` by name."""
    if spec.fields is not None:
        return coder_of(spec.fields).from_records([item[SINGLE_INPUT] for item in items])
    found: dict[str, NDArray[Any]] = {}
    for name, tensor in spec.given_tensors.items():
        if tensor.is_sequence:
            found |= from_bytes(name, tensor, [item[name] for item in items])
            continue
        kind = array_type(tensor.dtype)
        array = np.frombuffer(bytearray().join([item[name] for item in items]), kind)
        found[name] = array.astype(kind.newbyteorder("="), copy=False).reshape(len(items), *tensor.padded_shape)
    return found


def made_up(spec: ModelSpec, fill: int) -> Rows:
    """One row that is ``fill`` throughout, to try a network on. Of fields all but numbers and tensors are missing."""
    if spec.fields is None:
        # Of a sequence at least one place is not filled up.
        fills = dict.fromkeys(spec.tensors, fill) | {length_name(name): 1 for name in spec.sequences}
        made = {name: np.full((1, *tensor.shape), fills[name]) for name, tensor in spec.tensors.items()}
        return Rows({name: as_type(array, spec.tensors[name].dtype, name) for name, array in made.items()})
    row: dict[str, Any] = dict.fromkeys(spec.layout.numbers, fill)
    row |= {name: np.full(field.shape, fill).tolist() for name, field in spec.layout.tensor_fields.items()}
    return Rows(*coder_of(spec.fields).from_rows([row]))


def zeros(spec: ModelSpec, rows: int) -> Rows:
    """Rows of zeros, as a module takes them; sequences of one."""
    lengths = {length_name(name) for name in spec.sequences}
    return Rows(
        {
            name: np.full((rows, *tensor.shape), int(name in lengths), array_type(tensor.dtype).newbyteorder("="))
            for name, tensor in spec.tensors.items()
        }
    )


def misfits(spec: ModelSpec, items: Sequence[Mapping[str, bytes]]) -> dict[int, str]:
    """Why rows of items do not fit the spec, by their places, as when it was edited after their acknowledgement."""
    if spec.fields is not None:
        coder = coder_of(spec.fields)
        are_named = [item.keys() == {SINGLE_INPUT} for item in items]
        if all(are_named) and coder.are_records([item[SINGLE_INPUT] for item in items]):
            return {}
        return {
            place: "the inputs are not a row of fields"
            for place, item in enumerate(items)
            if not (are_named[place] and coder.are_records([item[SINGLE_INPUT]]))
        }
    if spec.sequences:
        return {place: MISFIT for place, item in enumerate(items) if not _fits(spec, item)}
    sizes = {name: tensor.size * array_type(tensor.dtype).itemsize for name, tensor in spec.given_tensors.items()}
    return {
        place: MISFIT for place, item in enumerate(items) if {name: len(data) for name, data in item.items()} != sizes
    }


def _fits(spec: ModelSpec, item: Mapping[str, bytes]) -> bool:
    return item.keys() == spec.given_tensors.keys() and all(
        fits(tensor, item[name])
        if tensor.is_sequence
        else len(item[name]) == tensor.size * array_type(tensor.dtype).itemsize
        for name, tensor in spec.given_tensors.items()
    )


def item_as_json(spec: ModelSpec, item: Mapping[str, bytes]) -> Any:
    """The row of an item as a client sends it."""
    if spec.fields is not None:
        return coder_of(spec.fields).as_json(item[SINGLE_INPUT])
    rows = {
        name: as_numbers(np.frombuffer(item[name], array_type(tensor.dtype)), tensor.dtype)
        .reshape([-1 if size is None else size for size in tensor.shape])
        .tolist()
        for name, tensor in spec.given_tensors.items()
    }
    return rows if isinstance(spec.inputs, dict) else rows[SINGLE_INPUT]
