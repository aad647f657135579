"""Rows as structs: values are decoded, checked by type, coded and recorded without a Python call for each.

What does not fit one is no error yet: :class:`driftline.rows.fields.FieldCoder` takes it value by value, or says what is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from operator import attrgetter
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from driftline.rows.categories import category_keys
from driftline.spec.parts.fields import FieldsSpec
from driftline.spec.task import LARGEST_VALUE

MAX_FIELDS = 256
"""Of more fields, a key that comes out of order would be sought for too long."""
TYPES: dict[str, Any] = {
    "number": int | float | None,
    "boolean": bool | int | float | None,
    "category": str | int | float | bool | None,
    "time": str | int | float | None,
    "text": str | None,
}


class RowStruct:
    """The struct of a model's rows. Encoded it is the record: a map of the values that there are.

    ``type`` is the struct as a client may send it. It has no field that there is not.
    """

    def __init__(self, fields: FieldsSpec) -> None:
        read = [name for name, field in fields.read.items() if not field.dropped]
        others = [name for name in fields.fields if name not in set(read)]
        # A field may have any name, an attribute may not.
        attributes = {name: f"f{place}" for place, name in enumerate([*read, *others])}
        typed = [(attributes[name], TYPES.get(fields.fields[name].type, Any), None) for name in attributes]
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
        self._others = [attributes[name] for name in others]
        numbers, booleans, categories = (
            [attributes[name] for name in read if fields.fields[name].type == kind]
            for kind in ("number", "boolean", "category")
        )
        self._first_boolean, self._number_count = len(numbers), len(numbers) + len(booleans)
        self._category_count = len(categories)
        self._numbers = _getter([*numbers, *booleans])
        self._categories = _getter(categories)

    @classmethod
    def of(cls, fields: FieldsSpec) -> RowStruct | None:
        """None where a row may have a field under several names, or has very many."""
        has_aliases = any(field.aliases for field in fields.fields.values())
        return None if has_aliases or len(fields.fields) > MAX_FIELDS else cls(fields)

    def numbers(self, rows: Sequence[Any]) -> NDArray[np.float64] | None:
        """The numbers of rows, then the booleans ``[rows, both]``, in the order of the spec, NaN where one is missing.

        None where one is no value of its field.
        """
        try:
            found = np.array([*map(self._numbers, rows)], np.float64).reshape(len(rows), self._number_count)
        except OverflowError:
            return None
        booleans = found[:, self._first_boolean :]
        is_wrong = (np.abs(found) > LARGEST_VALUE).any() or (np.abs(booleans * (booleans - 1)) > 0).any()
        return None if is_wrong else found

    def categories(self, rows: Sequence[Any]) -> NDArray[np.int64]:
        """The keys of categories ``[rows, categories]``, in the order of the spec."""
        values = [*chain.from_iterable(map(self._categories, rows))]
        return np.array(category_keys(values), np.int64).reshape(len(rows), self._category_count)

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
        for attribute in self._others:
            for row in rows:
                setattr(row, attribute, None)
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
