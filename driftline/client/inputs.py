"""Rows as people have them, as JSON: lists, dictionaries, data frames, tables, arrays, tensors.

None of the libraries that these come from is imported: a value of theirs is known by its module, and asked by its methods.
"""

from __future__ import annotations

import datetime
import math
import sys
from collections.abc import Callable, Mapping
from decimal import Decimal
from enum import Enum
from functools import cache
from typing import Any, Final
from uuid import UUID

import orjson

from driftline.errors import InvalidInput

_SCALARS: Final = frozenset({str, int, bool, float, type(None), datetime.datetime, datetime.date, datetime.timedelta})
_MISSING: Final = frozenset({"NaTType", "NAType"})


def encode_inputs(inputs: Any, place: str = "inputs") -> bytes:
    """The JSON of rows: ``[rows, *shape]``, a dictionary a row, or columns by name.

    In dictionaries and columns NaN, NaT, NA and None are missing: null. In the numbers of a tensor they are refused.

    Raises:
        InvalidInput: it names the row, the field and the value that cannot be sent.
    """
    rows = as_rows(inputs, place)
    return to_json(rows, place, _checked_columns if isinstance(rows, dict) else None)


def encode_row(row: Any, place: str = "inputs") -> bytes:
    """The JSON of a single row: its numbers, or its values by name."""
    if root(row) == "pandas" and hasattr(row, "to_dict"):
        return to_json(row.to_dict(), place)
    return to_json(dict(row) if isinstance(row, Mapping) else _array(row), place)


def as_rows(inputs: Any, place: str = "inputs") -> Any:
    """Rows as lists, dictionaries and arrays: what a table, a frame or a tensor holds."""
    if isinstance(inputs, Mapping):
        return {name: as_column(values, f"{place}.{name}") for name, values in inputs.items()}
    if not isinstance(inputs, list | tuple):
        if (columns := _columns(inputs, place)) is not None:
            return columns
        if hasattr(inputs, "tolist"):
            return _array(inputs)
        if not _is_list(inputs):
            raise InvalidInput(f"{place}: {_shown(inputs)} is no list of rows", field=place, value=_shown(inputs))
    return [_row(row) for row in inputs]


def as_list(inputs: Any, place: str = "inputs") -> list[Any]:
    """Rows one by one: of columns, a dictionary a row."""
    rows = as_rows(inputs, place)
    if not isinstance(rows, dict):
        return list(rows)
    lengths = {name: len(column) for name, column in rows.items()}
    if len(set(lengths.values())) > 1:
        raise InvalidInput(f"{place}: columns of different length: {lengths}", field=place, value=lengths)
    return [dict(zip(rows, row, strict=True)) for row in zip(*rows.values(), strict=True)]


def as_column(values: Any, place: str) -> Any:
    """The values of a column: a list, or an array of numbers."""
    match root(values):
        case "pandas":
            # An array of numpy's is written without a Python object for each number.
            numbers = type(values.dtype).__module__.partition(".")[0] == "numpy" and values.dtype.kind in "fiub"
            return values.to_numpy() if numbers else values.tolist()
        case "polars":
            return values.to_list()
        case "pyarrow":
            return _arrow_list(values)
    if hasattr(values, "tolist"):
        return _array(values)
    if not _is_list(values):
        raise InvalidInput(f"{place}: {_shown(values)} is no list, of a value a row", field=place, value=_shown(values))
    return list(values)


def to_json(value: Any, place: str, check: Callable[[Any, str], Any] | None = None) -> bytes:
    """The JSON of a value; ``check`` gives the same as JSON has it, or names what cannot be sent."""
    try:
        data = orjson.dumps(value, default=_plain, option=_options())
    except TypeError:
        data = None
    # What is not finite was written as null: which of them is missing and which is wrong, its place tells.
    if data is None or (b"null" in data and not _has_only_missing(value, is_columns=check is _checked_columns)):
        data = orjson.dumps((check or _checked)(value, place), option=_options())
    return data


def _options() -> int:
    """How to write. The writer would load numpy to look for its types, also where nobody has any."""
    return orjson.OPT_NAIVE_UTC | (orjson.OPT_SERIALIZE_NUMPY if "numpy" in sys.modules else 0)


def _has_only_missing(value: Any, is_columns: bool) -> bool:
    """Whether it is seen at a glance that each null is a field that is missing: so it is of most tables."""
    if isinstance(value, list):
        return all(type(row) is dict and _is_simple(row.values()) for row in value)
    if not isinstance(value, dict):
        return False
    return all(map(_is_simple, value.values())) if is_columns else _is_simple(value.values())


def _is_simple(values: Any) -> bool:
    """Whether these are values of fields, and none is infinite."""
    if root(values) == "numpy":
        return values.ndim == 1 and not bool((abs(values) == math.inf).any())
    return all(map(_is_scalar, set(map(type, values)))) and math.inf not in values and -math.inf not in values


@cache
def _is_scalar(kind: type) -> bool:
    return kind in _SCALARS or kind.__name__ in ("Timestamp", "Timedelta", "NaTType")


def root(value: Any) -> str:
    """The package that a value's type comes from."""
    return type(value).__module__.partition(".")[0]


def _columns(inputs: Any, place: str) -> dict[str, Any] | None:
    """The columns of a frame, a table or a structured array by name; None where it is none of these."""
    match root(inputs), type(inputs).__name__:
        case "pandas", "DataFrame":
            names = list(inputs.columns)
            _check_names(names, place)
            return {name: as_column(inputs[name], f"{place}.{name}") for name in names}
        case "polars", "DataFrame":
            return {name: as_column(inputs[name], f"{place}.{name}") for name in inputs.columns}
        case "numpy", _ if getattr(inputs.dtype, "names", None):
            return {name: as_column(inputs[name], f"{place}.{name}") for name in inputs.dtype.names}
        case (("pandas" | "polars"), "Series"):
            return None
    if hasattr(inputs, "column_names") and root(inputs) == "pyarrow":
        _check_names(inputs.column_names, place)
        return {name: as_column(inputs.column(name), f"{place}.{name}") for name in inputs.column_names}
    if hasattr(inputs, "__arrow_c_stream__"):
        return _columns(_arrow_table(inputs), place)
    return None


def _check_names(names: list[Any], place: str) -> None:
    for name in names:
        if not isinstance(name, str):
            hint = "give the columns names, or send frame.to_numpy() to a model of tensors"
            raise InvalidInput(
                f"{place}: the column {name!r} has no name that is text; {hint}", field=place, value=name
            )
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InvalidInput(f"{place}: there are two columns {twice!r}", field=place, value=twice)


def _arrow_table(inputs: Any) -> Any:
    try:
        import pyarrow
    except ImportError:
        message = (
            f"{type(inputs).__name__} is read by pyarrow, which is not installed; install it, or send dictionaries"
        )
        raise InvalidInput(message) from None
    return pyarrow.table(inputs)


def _arrow_list(values: Any) -> list[Any]:
    """The values of an Arrow array; of its times microseconds are kept, as Python has them."""
    import pyarrow

    if pyarrow.types.is_timestamp(values.type):
        values = values.cast(pyarrow.timestamp("us", values.type.tz), safe=False)
    elif pyarrow.types.is_duration(values.type):
        values = values.cast(pyarrow.duration("us"), safe=False)
    found: list[Any] = values.to_pylist()
    return found


def _array(values: Any) -> Any:
    """An array as it is written fastest: of numpy where it can be, else as lists."""
    if root(values) == "torch":
        try:
            return _array(values.numpy(force=True))
        except TypeError:  # A type that numpy has not, such as bfloat16.
            return values.tolist()
    if root(values) == "numpy" and values.ndim and values.dtype.kind in "fiub" and values.dtype.isnative:
        return values
    if hasattr(values, "tolist"):
        return values.tolist()
    return values if isinstance(values, list | tuple) else list(values)


def _row(row: Any) -> Any:
    """One row of a list of rows."""
    if isinstance(row, Mapping):
        return row if type(row) is dict else dict(row)
    if root(row) == "pandas" and hasattr(row, "to_dict"):
        return row.to_dict()
    return _array(row) if hasattr(row, "tolist") else row


def _plain(value: Any) -> Any:
    """A value as JSON has it: what the writer itself does not know; ``TypeError`` where there is no such."""
    kind = type(value).__name__
    if kind in _MISSING:
        return None
    if isinstance(value, datetime.datetime):
        return (value if value.tzinfo is not None else value.replace(tzinfo=datetime.UTC)).isoformat()
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, Mapping):
        return dict(value)
    if kind == "datetime64":
        # Nanoseconds would become a bare integer.
        found = value.astype("datetime64[us]").item()
        return None if found is None else _plain(found) if isinstance(found, datetime.datetime) else found
    if kind == "timedelta64":
        return None if (found := value.astype("timedelta64[us]").item()) is None else found.total_seconds()
    if root(value) == "torch" or hasattr(value, "tolist"):
        return _array(value)
    if hasattr(value, "as_py"):
        return value.as_py()
    raise TypeError(f"{type(value).__name__} cannot be sent")


def _checked(value: Any, place: str, is_field: bool = False) -> Any:
    """The same with what is missing as None; :class:`InvalidInput` names the first value that cannot be sent.

    ``is_field``: it is a value of a dictionary, which may be missing. A number of a tensor may not.
    """
    if isinstance(value, str | float | int) and not isinstance(value, Enum):
        return _scalar(value, place, is_field)
    if value is None:
        return None
    if isinstance(value, Mapping):
        return {_name(name, place): _checked(each, f"{place}.{name}", True) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_checked(each, f"{place}[{index}]") for index, each in enumerate(value)]
    if isinstance(value, Enum):
        return _checked(value.value, place, is_field)
    if isinstance(value, datetime.date | datetime.time | UUID) and not isinstance(value, datetime.datetime):
        return value
    try:
        plain = _plain(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidInput(f"{place}: {error}", field=place, value=_shown(value)) from None
    return _checked(plain.tolist() if root(plain) == "numpy" else plain, place, is_field)


def _checked_columns(columns: dict[Any, Any], place: str) -> dict[str, Any]:
    """:func:`_checked` for columns by name: each value is a row's field, unless it is a list of numbers."""
    return {
        _name(name, place): [
            _checked(each, f"{place}.{name}[{index}]", True)
            for index, each in enumerate(column.tolist() if hasattr(column, "tolist") else column)
        ]
        for name, column in columns.items()
    }


def _scalar(value: str | float | int, place: str, is_field: bool) -> str | float | int | None:
    if isinstance(value, float):
        return _number(value, place, is_field)
    if isinstance(value, str):
        return _text(value, place)
    if not -(2**63) <= value < 2**64:
        raise InvalidInput(f"{place}: {value} does not fit 64 bits", field=place, value=str(value))
    return value if isinstance(value, bool) else int(value)


def _number(value: float, place: str, is_field: bool) -> float | None:
    if math.isfinite(value):
        return value
    if is_field and math.isnan(value):
        return None
    raise InvalidInput(f"{place}: {float(value)!r} is not a finite number", field=place, value=repr(float(value)))


def _text(value: str, place: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidInput(f"{place}: {value!r} is no valid text", field=place, value=repr(value)) from None
    return value


def _name(name: Any, place: str) -> str:
    if not isinstance(name, str):
        raise InvalidInput(f"{place}: the name {name!r} is not text", field=place, value=_shown(name))
    return str(name)


def _is_list(values: Any) -> bool:
    """Whether it holds one value after the other, and is no text."""
    return hasattr(values, "__iter__") and not isinstance(values, str | bytes) and not hasattr(values, "collect")


def _shown(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 100 else f"{text[:100]}…"
