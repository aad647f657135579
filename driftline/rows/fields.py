"""Rows of fields as tensors: what a value is, without anything that is learned of it."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from driftline.errors import InvalidInput
from driftline.rows import text, times
from driftline.rows.categories import category_keys
from driftline.rows.row_struct import RowStruct
from driftline.spec.parts.fields import FieldsSpec, RowField, TensorField, TimeField
from driftline.spec.row_layout import CATEGORIES, NUMBERS, STATISTICS, TEXT_TOKENS, TEXTS, RowLayout
from driftline.spec.task import LARGEST_VALUE

Row: TypeAlias = Mapping[str, Any]

NUMBER_TYPES = frozenset({int, float, type(None)})
BOOLEAN_TYPES = frozenset({bool, type(None)})
CATEGORY_TYPES = frozenset({str, int, float, bool, type(None)})
MISSING_VALUES = {NUMBERS: math.nan, STATISTICS: math.nan}
"""What stands in coded rows where there is no value; 0 in all others."""
MAX_CODERS = 256

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(dict[str, Any])

Coded: TypeAlias = tuple[dict[str, NDArray[Any]], list[bytes], Counter[str]]
"""Rows as tensors, as they are recorded, and how often each field came that there is not."""


class FieldCoder:
    """Codes rows of fields. The same row gives the same numbers in every process, for good.

    A row is *recorded* as a MessagePack map of the values that it has, in the order of the spec; tensors in it are bytes of
    float32, little-endian.

    Rows that are decoded to the :attr:`struct` are coded all at once. Those that do not fit it, or hold what is no value of
    their fields, are coded field by field, to the same result, or to an error that names the value.
    """

    def __init__(self, fields: FieldsSpec) -> None:
        self.fields = fields
        self.layout = RowLayout(fields)
        self._names = {alias: name for name, field in fields.fields.items() for alias in (name, *field.aliases)}
        self._read = [(name, field) for name, field in fields.read.items() if not field.dropped]
        self._number_fields = self._placed(self.layout.quantities, "number")
        self._boolean_fields = self._placed(self.layout.quantities, "boolean")
        self._category_fields = self._placed(self.layout.categories, "category")
        self._plain_places = sorted(place for place, _ in (*self._number_fields, *self._boolean_fields))
        self._category_places = [place for place, _ in self._category_fields]
        self._other_fields = [name for name, field in self._read if field.type in ("text", "tensor", "time")]
        self.struct = RowStruct.of(fields)

    def _placed(self, names: list[str], kind: str) -> list[tuple[int, str]]:
        """The fields of a type that still come, with their places among the ``names``."""
        fields = self.fields.fields
        return [(i, name) for i, name in enumerate(names) if fields[name].type == kind and not fields[name].dropped]

    def from_rows(self, rows: Sequence[Row], path: str = "inputs") -> Coded:
        """Rows as objects.

        Args:
            path: what the rows are called in an error; that of a single row, which has no number, ends with a dot.

        Raises:
            InvalidInput: it names the row, the field, the value, and what was expected.
        """
        known, unknown = self._names.keys(), Counter[str]()
        if not all(row.keys() <= known for row in rows):
            unknown.update(name for row in rows for name in row if name not in known)
        if unknown and self.fields.unknown == "refuse":
            where, name = next((i, name) for i, row in enumerate(rows) for name in row if name not in self._names)
            raise _refused(_where(path, where, name), rows[where][name], "a field of the model")
        columns = {name: self._column(name, field, rows) for name, field in self._read}
        tensors = self._coded(columns, len(rows), path)
        return tensors, self._recorded(columns, tensors), unknown

    def from_columns(self, columns: Mapping[str, list[Any]], path: str = "inputs") -> Coded:
        """Rows as columns by name, equally long; it raises as :meth:`from_rows` does."""
        count = len(next(iter(columns.values())))
        others = [name for name in columns if name not in self._names]
        if (others and self.fields.unknown == "refuse") or len(self._names) > len(self.fields.fields):
            return self.from_rows(
                [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)], path
            )
        missing = [None] * count
        own = {name: list(columns.get(name, missing)) for name, _ in self._read}
        tensors = self._coded(own, count, path)
        return tensors, self._recorded(own, tensors), Counter(dict.fromkeys(others, count))

    def _recorded(self, columns: dict[str, list[Any]], tensors: Mapping[str, NDArray[Any]]) -> list[bytes]:
        """Rows, by column, as they are recorded."""
        for name, field in self._read:
            if isinstance(field, TensorField):
                array = tensors[self.layout.tensor_keys[name]]
                columns[name] = [None if value is None else array[i].tobytes() for i, value in enumerate(columns[name])]
        names = list(columns)
        rows_known = [
            {name: value for name, value in zip(names, values, strict=True) if value is not None}
            for values in zip(*columns.values(), strict=True)
        ]
        try:
            return [_encoder.encode(row) for row in rows_known]
        except OverflowError:
            categories = {*self.layout.categories}
            return [
                _encoder.encode({name: _recordable(value, name in categories) for name, value in row.items()})
                for row in rows_known
            ]

    def from_structs(self, rows: Sequence[Any]) -> Coded | None:
        """Rows as the :attr:`struct` has them; None where they must be taken field by field.

        Raises:
            InvalidInput: of a time, a text or a tensor, as :meth:`from_rows` does.
        """
        assert self.struct is not None
        tensors = self._of_structs(rows, self.struct)
        for name, key in self.layout.tensor_keys.items():
            self.struct.replace(rows, name, [array.tobytes() for array in tensors[key]])
        try:
            return tensors, self.struct.records(rows), Counter()
        except OverflowError:
            return None

    def from_records(self, records: Sequence[bytes]) -> dict[str, NDArray[Any]]:
        """Recorded rows, coded."""
        if self.struct is not None and (structs := self.struct.from_records(records)) is not None:
            return self._of_structs(structs, self.struct)
        rows = [_decoder.decode(record) for record in records]
        return self._coded({name: self._column(name, field, rows) for name, field in self._read}, len(rows), "inputs")

    def are_records(self, records: Sequence[bytes]) -> bool:
        """Whether these are recorded rows."""
        if self.struct is not None and self.struct.from_records(records) is not None:
            return True
        try:
            for record in records:
                _decoder.decode(record)
        except msgspec.DecodeError:
            return False
        return True

    def as_json(self, record: bytes) -> dict[str, Any]:
        """A recorded row as a client sends it."""
        row = _decoder.decode(record)
        for name, field in self.layout.tensor_fields.items():
            if isinstance(row.get(name), bytes):
                row[name] = np.frombuffer(row[name], "<f4").reshape(field.shape).tolist()
        return row

    def _column(self, name: str, field: RowField, rows: Sequence[Row]) -> list[Any]:
        if not field.aliases:
            return [row.get(name) for row in rows]
        names = (name, *field.aliases)
        return [next((row[each] for each in names if row.get(each) is not None), None) for row in rows]

    def _coded(self, columns: Mapping[str, list[Any]], count: int, path: str) -> dict[str, NDArray[Any]]:
        found = self._missing(count)
        if self._plain_places:
            self._code_numbers(columns, found[NUMBERS], path)
        if self._category_fields:
            self._code_categories(columns, found[CATEGORIES], path)
        self._code_others(columns, found, path)
        return found

    def _of_structs(self, rows: Sequence[Any], struct: RowStruct) -> dict[str, NDArray[Any]]:
        """Rows as the struct has them, coded."""
        own = {
            NUMBERS: (self._plain_places, struct.numbers),
            CATEGORIES: (self._category_places, struct.categories),
        }
        found = {}
        for name, tensor in self.layout.tensors.items():
            places, coded = own.get(name, ([], None))
            if coded is not None and len(places) == tensor.shape[0]:
                found[name] = coded(rows)
                continue
            found[name] = np.full((len(rows), *tensor.shape), MISSING_VALUES.get(name, 0), tensor.dtype)
            if coded is not None and places:
                found[name][:, places] = coded(rows)
        if self._other_fields:
            self._code_others({name: struct.column(rows, name) for name in self._other_fields}, found, "inputs")
        return found

    def _missing(self, count: int) -> dict[str, NDArray[Any]]:
        """So many coded rows without a value."""
        return {
            name: np.full((count, *tensor.shape), MISSING_VALUES.get(name, 0), tensor.dtype)
            for name, tensor in self.layout.tensors.items()
        }

    def _code_others(self, columns: Mapping[str, list[Any]], found: dict[str, NDArray[Any]], path: str) -> None:
        """Codes texts, tensors and times, value by value."""
        layout, fields = self.layout, self.fields.fields
        for place, name in enumerate(layout.texts):
            if name in columns:
                self._texts(name, columns[name], found[TEXTS][:, place], path)
        for name, field in layout.tensor_fields.items():
            if name in columns:
                _write_tensors(name, field, columns[name], found[layout.tensor_keys[name]], path)
        for place in layout.times:
            name = layout.quantities[place]
            if name in columns:
                self._times(name, fields[name], columns[name], found[NUMBERS][:, place], path)

    def _code_numbers(self, columns: Mapping[str, list[Any]], out: NDArray[Any], path: str) -> None:
        """Numbers all at once, which is many times faster; where one is none, field by field, to say which."""
        for plain, types, largest, code in (
            (self._number_fields, NUMBER_TYPES, LARGEST_VALUE, self._numbers),
            (self._boolean_fields, BOOLEAN_TYPES, 1.0, self._booleans),
        ):
            flat = [value for _, name in plain for value in columns[name]]
            if not flat:
                continue
            if {*map(type, flat)} <= types:
                wide = _as_array(flat).reshape(len(plain), -1)
                if not (np.abs(wide) > largest).any():
                    out[:, [place for place, _ in plain]] = wide.T
                    continue
            for place, name in plain:
                code(name, columns[name], out[:, place], path)

    def _code_categories(self, columns: Mapping[str, list[Any]], out: NDArray[Any], path: str) -> None:
        flat = [value for _, name in self._category_fields for value in columns[name]]
        if not {*map(type, flat)} <= CATEGORY_TYPES:
            name, i = next(
                (name, i)
                for _, name in self._category_fields
                for i, value in enumerate(columns[name])
                if type(value) not in CATEGORY_TYPES
            )
            raise _refused(_where(path, i, name), columns[name][i], "a category (a string, a number or a boolean)")
        keys = np.array(category_keys(flat), np.int64).reshape(len(self._category_places), -1)
        out[:, self._category_places] = keys.T

    def _numbers(self, name: str, column: list[Any], out: NDArray[Any], path: str) -> None:
        for i, value in enumerate(column):
            if type(value) not in NUMBER_TYPES:
                raise _refused(_where(path, i, name), value, "a number")
            if value is not None and abs(value) > LARGEST_VALUE:
                raise _refused(_where(path, i, name), value, "a number that fits float32")
        out[:] = np.array(column, np.float64)

    def _booleans(self, name: str, column: list[Any], out: NDArray[Any], path: str) -> None:
        for i, value in enumerate(column):
            # 0 and 1 are what many databases have.
            if not (
                value is None or value is True or value is False or (type(value) in (int, float) and value in (0, 1))
            ):
                raise _refused(_where(path, i, name), value, "true or false")
        out[:] = np.array(column, np.float64)

    def _times(self, name: str, field: RowField, column: list[Any], out: NDArray[Any], path: str) -> None:
        assert isinstance(field, TimeField)
        if {*map(type, column)} <= NUMBER_TYPES:
            wide = _as_array(column)
            if np.isfinite(wide).sum() == len(column) - column.count(None):
                out[:] = times.from_numbers(wide, field.unit)
                return
        for i, value in enumerate(column):
            if value is None:
                continue
            try:
                out[i] = _seconds(value, field)
            except (ValueError, TypeError, OverflowError):
                expected = (
                    f"a time like {field.format!r}" if field.format else "a time in ISO 8601, or a number since 1970"
                )
                raise _refused(_where(path, i, name), value, expected) from None

    def _texts(self, name: str, column: list[Any], out: NDArray[Any], path: str) -> None:
        for i, value in enumerate(column):
            if value is None:
                continue
            if not isinstance(value, str):
                raise _refused(_where(path, i, name), value, "a text")
            keys = text.tokens(value, TEXT_TOKENS)
            out[i, : len(keys)] = keys


_coders: dict[str, FieldCoder] = {}
_coder_of_object: dict[int, tuple[FieldsSpec, FieldCoder]] = {}
"""Objects that were asked with before, kept so that their ids stay: comparing fields costs as much as many rows."""


def coder_of(fields: FieldsSpec) -> FieldCoder:
    """The coder of a model's fields; to make one costs more than to code some rows."""
    known = _coder_of_object.get(id(fields))
    if known is None:
        if len(_coder_of_object) >= MAX_CODERS:
            _coder_of_object.clear()
            _coders.clear()
        key = fields.model_dump_json()
        known = fields, _coders.get(key) or FieldCoder(fields)
        _coder_of_object[id(fields)], _coders[key] = known, known[1]
    return known[1]


def _write_tensors(name: str, field: TensorField, column: list[Any], out: NDArray[Any], path: str) -> None:
    """Writes the values of a tensor's column into ``out``."""
    for i, value in enumerate(column):
        if value is None:
            continue
        if isinstance(value, bytes):
            out[i] = np.frombuffer(value, "<f4").reshape(field.shape)
            continue
        where = _where(path, i, name)
        try:
            wide = np.asarray(value, np.float64)
        except (ValueError, TypeError, OverflowError):
            wide = np.empty(0)
        if list(wide.shape) != field.shape:
            raise _refused(where, value, f"an array of shape {field.shape}", code="wrong_shape")
        if wide.size and not np.abs(wide).max() <= LARGEST_VALUE:
            raise _refused(where, value, "an array of finite numbers")
        out[i] = wide


def _as_array(values: list[Any]) -> NDArray[np.float64]:
    """``[values]`` or ``[rows, values]``; infinite where one fits no float."""
    try:
        return np.array(values, np.float64)
    except OverflowError:
        return np.full(np.shape(np.array(values, object)), np.inf)


def _recordable(value: Any, is_category: bool) -> Any:
    """A whole number of more than 64 bits as what it is taken for: the text of a category, or a float."""
    if type(value) is not int or -(2**63) <= value < 2**64:
        return value
    return str(value) if is_category else float(value)


def _seconds(value: Any, field: TimeField) -> float:
    if isinstance(value, str):
        return times.from_text(value, field.format)
    if isinstance(value, bool) or not math.isfinite(value):
        raise ValueError("not a time")
    return times.from_number(value, field.unit)


def _where(path: str, row: int, name: str) -> str:
    return f"{path}{name}" if path.endswith(".") else f"{path}[{row}].{name}"


def _refused(where: str, value: Any, expected: str, code: str = "wrong_value") -> InvalidInput:
    text_of = json.dumps(value, ensure_ascii=False, default=repr)
    shown = value if isinstance(value, str | int | float | bool) else text_of
    text_of = text_of if len(text_of) <= 100 else text_of[:97] + "…"
    return InvalidInput(
        f"{where}: {text_of} is not {expected}",
        code=code,
        field=where,
        value=shown if len(str(shown)) <= 100 else text_of,
    )
