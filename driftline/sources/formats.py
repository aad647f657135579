"""A record's bytes as the values that stand in them."""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from driftline.errors import InvalidInput
from driftline.store.sources import RecordFormat
from driftline.support import json_text
from driftline.support.json_text import UNREADABLE
from driftline.support.lines import lines, without_bom
from driftline.tables.cells import plain

BY_SCHEMA = frozenset({"avro", "protobuf"})
"""Formats whose records are read by :mod:`driftline.sources.schemas`."""
_fields = msgspec.msgpack.Decoder(dict[bytes, bytes])


class Decoded(msgspec.Struct, frozen=True, gc=False):
    """The values of a record by name. ``are_texts``: each is a text, whatever it stands for. ``json``: as it was written."""

    values: dict[str, Any]
    are_texts: bool = False
    json: bytes | None = None


def encode_fields(fields: Mapping[bytes, bytes]) -> bytes:
    """An entry of byte strings as the bytes that the format ``fields`` has."""
    return msgspec.msgpack.encode(fields)


def encode_row(row: Mapping[str, Any]) -> bytes:
    """A row of typed values as the bytes that the format ``msgpack`` has."""
    values = {name: plain(value) for name, value in row.items()}
    try:
        return msgspec.msgpack.encode(values, enc_hook=str)
    except OverflowError:
        return msgspec.msgpack.encode(_narrow(values), enc_hook=str)


def _narrow(value: Any) -> Any:
    """The value, in which whole numbers of more than 64 bits are the numbers of a field, or texts where these end too."""
    if isinstance(value, dict):
        return {name: _narrow(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_narrow(each) for each in value]
    if not isinstance(value, int) or -(2**63) <= value < 2**64:
        return value
    return float(value) if abs(value) < 10**300 else str(value)


def decoded(raw: bytes, format: RecordFormat, columns: Sequence[str] | None = None) -> Iterator[Decoded | InvalidInput]:
    """The values that a record holds: one, or of NDJSON and CSV one a line; or why there are none."""
    if format == "csv":
        yield from _of_csv(raw, columns)
        return
    if format == "fields":
        yield _of_fields(raw)
        return
    pieces = lines(raw) if format == "ndjson" else [without_bom(raw)] if format == "json" else [raw]
    if not any(piece.strip() for piece in pieces):
        yield InvalidInput("the record is empty", field="record")
        return
    for piece in pieces:
        try:
            yield _one(piece, format)
        except InvalidInput as error:
            yield error
        except UNREADABLE as error:
            yield _malformed(format, error)


def _one(piece: bytes, format: RecordFormat) -> Decoded:
    is_json = format != "msgpack"
    value = json_text.values(piece, "record") if is_json else msgspec.msgpack.decode(piece)
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        raise InvalidInput(f"record: an object is expected, not {type(value).__name__}", field="record")
    return Decoded(value, json=piece if is_json else None)


def _of_fields(raw: bytes) -> Decoded | InvalidInput:
    """The texts of an entry. One that is no text is shown as what it is: it is refused, and told why, by whoever needs it."""
    try:
        return Decoded(_texts(raw), are_texts=True)
    except UNREADABLE as error:
        return _malformed("fields", error)


def _of_csv(raw: bytes, columns: Sequence[str] | None) -> Iterator[Decoded | InvalidInput]:
    if columns is None:
        yield InvalidInput("record: its cells are not those of a header, and `columns` names none", field="columns")
        return
    try:
        text = without_bom(raw).decode()
    except UnicodeDecodeError as error:
        yield _malformed("csv", error)
        return
    # A cell in quotes goes on over the end of a line.
    rows, found = csv.reader(io.StringIO(text, newline="\n"), strict=True), 0
    while True:
        try:
            cells = next(rows)
        except StopIteration:
            break
        except csv.Error as error:
            found += 1
            yield _malformed("csv", error)
            continue
        if not any(cells):
            continue
        found += 1
        if len(cells) != len(columns):
            yield InvalidInput(f"record: {len(cells)} cells where there are {len(columns)} columns", field="record")
        else:
            yield Decoded(dict(zip(columns, cells, strict=True)), are_texts=True)
    if not found:
        yield InvalidInput("the record is empty", field="record")


def _malformed(format: RecordFormat, error: Exception) -> InvalidInput:
    return InvalidInput(f"record: not {format}: {error}", code="malformed_record", field="record")


def _texts(raw: bytes) -> dict[str, str]:
    return {
        name.decode(errors="replace"): value.decode(errors="replace") for name, value in _fields.decode(raw).items()
    }


def shown(raw: bytes, format: RecordFormat) -> str:
    """A record's bytes as a person reads them: text, else base64 after ``base64:``."""
    try:
        if format == "fields":
            return msgspec.json.encode(_texts(raw)).decode()
        if format == "msgpack":
            return msgspec.json.encode(msgspec.msgpack.decode(raw)).decode()
        return raw.decode() if format not in BY_SCHEMA else _base64(raw)
    except (msgspec.DecodeError, UnicodeError, TypeError, ValueError, OverflowError):
        return _base64(raw)


def _base64(raw: bytes) -> str:
    return "base64:" + base64.b64encode(raw).decode()
