"""Rows as arrays, and as they are recorded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from driftline.rows.fields import coder_of
from driftline.spec import SINGLE_INPUT, ModelSpec

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
        return {name: array.tobytes() for name, array in self.tensors.items()}

    def item(self, row: int) -> dict[str, bytes]:
        """One row as an item of the log has it."""
        if self.records is not None:
            return {SINGLE_INPUT: self.records[row]}
        return {name: array[row].tobytes() for name, array in self.tensors.items()}


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
    return [SINGLE_INPUT] if spec.fields is not None else list(spec.tensors)


def from_items(spec: ModelSpec, items: Sequence[Mapping[str, bytes]]) -> dict[str, NDArray[Any]]:
    """The rows of items of the log, as tensors ``[rows, *shape]`` by name."""
    if spec.fields is not None:
        return coder_of(spec.fields).from_records([item[SINGLE_INPUT] for item in items])
    found = {}
    for name, tensor in spec.tensors.items():
        data = b"".join([item[name] for item in items])
        array = np.frombuffer(bytearray(data), dtype=np.dtype(tensor.dtype).newbyteorder("<"))
        found[name] = array.astype(tensor.dtype, copy=False).reshape(len(items), *tensor.shape)
    return found


def made_up(spec: ModelSpec, fill: int) -> Rows:
    """One row that is ``fill`` throughout, to try a network on. Of fields all but numbers and tensors are missing."""
    if spec.fields is None:
        return Rows({name: np.full((1, *tensor.shape), fill, tensor.dtype) for name, tensor in spec.tensors.items()})
    row: dict[str, Any] = dict.fromkeys(spec.layout.numbers, fill)
    row |= {name: np.full(field.shape, fill).tolist() for name, field in spec.layout.tensor_fields.items()}
    return Rows(*coder_of(spec.fields).from_rows([row]))


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
    sizes = {name: tensor.size * (4 if tensor.dtype == "float32" else 8) for name, tensor in spec.tensors.items()}
    return {
        place: "the inputs do not have the model's shape"
        for place, item in enumerate(items)
        if {name: len(data) for name, data in item.items()} != sizes
    }


def item_as_json(spec: ModelSpec, item: Mapping[str, bytes]) -> Any:
    """The row of an item as a client sends it."""
    if spec.fields is not None:
        return coder_of(spec.fields).as_json(item[SINGLE_INPUT])
    rows = {
        name: np.frombuffer(item[name], np.dtype(tensor.dtype).newbyteorder("<")).reshape(tensor.shape).tolist()
        for name, tensor in spec.tensors.items()
    }
    return rows if isinstance(spec.inputs, dict) else rows[SINGLE_INPUT]
