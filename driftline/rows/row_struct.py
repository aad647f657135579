"""Rows as structs: values are decoded, checked by type, coded and recorded without a Python call for each.

What does not fit one is no error yet: :class:`driftline.rows.fields.FieldCoder` takes it value by value, or says what is wrong.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from itertools import chain
from operator import attrgetter
from typing import Annotated, Any, Final, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from driftline.rows.categories import category_keys, known_keys
from driftline.spec.parts.fields import FieldsSpec
from driftline.spec.task import LARGEST_VALUE

MAX_FIELDS = 256
"""Of more fields, a key that comes out of order would be sought for too long."""
MISSING: Final = math.nan
"""What a number or a boolean is that did not come: this very object, which is not encoded."""
_Whole = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_Real = Annotated[float, msgspec.Meta(ge=-LARGEST_VALUE, le=LARGEST_VALUE)]
_ZeroOrOne = Annotated[float, msgspec.Meta(ge=0, le=1, multiple_of=1)]
TYPES: dict[str, Any] = {
    "number": _Whole | _Real | None,
    "boolean": bool | Literal[0, 1] | _ZeroOrOne | None,
    "category": str | int | float | bool | None,
    "time": str | int | float | None,
    "text": str | None,
}
PACKED: Final = ("number", "boolean")
"""The types whose values are numbers as they come."""


class RowStruct:
    """The struct of a model's rows. Encoded it is the record: a map of the values that there are.

    ``type`` is the struct as a client may send it. It has no field that there is not, and no number that is none of its field.
    """

    def __init__(self, fields: FieldsSpec) -> None:
        read = [name for name, field in fields.read.items() if not field.dropped]
        others = [name for name in fields.fields if name not in set(read)]
        # A field may have any name, an attribute may not.
        attributes = {name: f"f{place}" for place, name in enumerate([*read, *others])}
        types = {name: fields.fields[name].type for name in attributes}
        typed = [
            (attributes[name], TYPES.get(kind, Any), MISSING if kind in PACKED else None)
            for name, kind in types.items()
        ]
        options: dict[str, Any] = {
            "rename": {attribute: name for name, attribute in attributes.items()},
            "omit_defaults": True,
            "gc": False,
        }
        self.type: Any = msgspec.defstruct("Row", typed, forbid_unknown_fields=True, **options)
        # A record may have fields that are dropped since.
        self._decoder = msgspec.msgpack.Decoder(msgspec.defstruct("RecordedRow", typed[: len(read)], **options))
        self._encoder = msgspec.msgpack.Encoder()
        self._attributes = attributes
        self._others = [(attribute, default) for attribute, _, default in typed[len(read) :]]
        self._numbers = [attributes[name] for name in read if types[name] in PACKED]
        self._numbers_of = _getter(self._numbers)
        self._pack = struct.Struct(f"{len(self._numbers)}d").pack
        categories = [attributes[name] for name in read if types[name] == "category"]
        self._categories_of, self._category_count = _getter(categories), len(categories)

    @classmethod
    def of(cls, fields: FieldsSpec) -> RowStruct | None:
        """None where a row may have a field under several names, or has very many."""
        has_aliases = any(field.aliases for field in fields.fields.values())
        return None if has_aliases or len(fields.fields) > MAX_FIELDS else cls(fields)

    def numbers(self, rows: Sequence[Any]) -> NDArray[np.float64]:
        """The numbers and booleans of rows ``[rows, both]``, in the order of the spec, NaN where one is missing."""
        pack, numbers_of = self._pack, self._numbers_of
        try:
            data = bytearray().join([pack(*numbers_of(row)) for row in rows])
        except struct.error:
            self._set_missing(rows)
            data = bytearray().join([pack(*numbers_of(row)) for row in rows])
        return np.frombuffer(data, np.float64).reshape(len(rows), len(self._numbers))

    def _set_missing(self, rows: Sequence[Any]) -> None:
        """Gives numbers that came as ``null`` the value of those that did not come."""
        for attribute in self._numbers:
            for row in rows:
                if getattr(row, attribute) is None:
                    setattr(row, attribute, MISSING)

    def categories(self, rows: Sequence[Any]) -> NDArray[np.int64]:
        """The keys of categories ``[rows, categories]``, in the order of the spec."""
        values, shape = [*chain.from_iterable(map(self._categories_of, rows))], (len(rows), self._category_count)
        keys = known_keys(values)
        return (np.array(category_keys(values), np.int64) if keys is None else keys).reshape(shape)

    def column(self, rows: Sequence[Any], name: str) -> list[Any]:
        """The values of a field."""
        return [*map(attrgetter(self._attributes[name]), rows)]

    def replace(self, rows: Sequence[Any], name: str, values: Sequence[Any]) -> None:
        """Gives a field other values, where it has any."""
        attribute = self._attributes[name]
        for row, value in zip(rows, values, strict=True):
            if getattr(row, attribute) is not None:
                setattr(row, attribute, value)

    def records(self, rows: Sequence[Any]) -> list[bytes]:
        """Rows as they are recorded; :class:`OverflowError` where a whole number has more than 64 bits."""
        for attribute, missing in self._others:
            for row in rows:
                setattr(row, attribute, missing)
        return [*map(self._encoder.encode, rows)]

    def from_records(self, records: Sequence[bytes]) -> list[Any] | None:
        """Recorded rows; None where one has a value of another type, as when its field was of one."""
        try:
            return [*map(self._decoder.decode, records)]
        except msgspec.DecodeError:
            return None


def _getter(attributes: Sequence[str]) -> Callable[[Any], tuple[Any, ...]]:
    """Gives some attributes of a row."""
    if len(attributes) > 1:
        return attrgetter(*attributes)
    # Of one attribute that would give the value alone.
    return lambda row: tuple(getattr(row, attribute) for attribute in attributes)
