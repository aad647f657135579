"""A record's bytes as the values that stand in them."""

from __future__ import annotations

import base64
import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from driftline.errors import InvalidInput
from driftline.store.sources import RecordFormat
from driftline.tables.cells import plain

_fields = msgspec.msgpack.Decoder(dict[bytes, bytes])


@dataclass(frozen=True, slots=True)
class Decoded:
    """The values of a record by name. ``are_texts``: each is a text, whatever it stands for."""

    values: dict[str, Any]
    are_texts: bool = False


def encode_fields(fields: Mapping[bytes, bytes]) -> bytes:
    """An entry of byte strings as the bytes that the format ``fields`` has."""
    return msgspec.msgpack.encode(fields)


def encode_row(row: Mapping[str, Any]) -> bytes:
    """A row of typed values as the bytes that the format ``msgpack`` has."""
    return msgspec.msgpack.encode({name: plain(value) for name, value in row.items()}, enc_hook=str)


def decoded(raw: bytes, format: RecordFormat, columns: Sequence[str] | None = None) -> Iterator[Decoded | InvalidInput]:
    """The values that a record holds: one, or of NDJSON and CSV one a line; or why there are none."""
    pieces = [raw] if format in ("json", "msgpack", "fields") else raw.splitlines()
    for piece in pieces:
        if not piece.strip():
            if len(pieces) == 1:
                yield InvalidInput("the record is empty", field="record")
            continue
        try:
            yield _one(piece, format, columns)
        except InvalidInput as error:
            yield error
        except (msgspec.DecodeError, UnicodeDecodeError, csv.Error, RecursionError) as error:
            yield InvalidInput(f"record: not {format}: {error}", code="malformed_record", field="record")


def _one(piece: bytes, format: RecordFormat, columns: Sequence[str] | None) -> Decoded:
    if format == "fields":
        # A name or a value that is no text is shown as what it is: it is refused, and told why, by whoever needs it.
        texts = {_text(name): _text(value) for name, value in _fields.decode(piece).items()}
        return Decoded(texts, are_texts=True)
    if format == "csv":
        return Decoded(_of_line(piece.decode(), columns), are_texts=True)
    value = msgspec.msgpack.decode(piece) if format == "msgpack" else msgspec.json.decode(piece)
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        raise InvalidInput(f"record: an object is expected, not {type(value).__name__}", field="record")
    return Decoded(value)


def _of_line(line: str, columns: Sequence[str] | None) -> dict[str, str]:
    if columns is None:
        raise InvalidInput(
            "record: its cells are not those of a header, and `columns` names none",
            field="columns",
        )
    cells = next(csv.reader([line], strict=True), [])
    if len(cells) != len(columns):
        raise InvalidInput(f"record: {len(cells)} cells where there are {len(columns)} columns", field="record")
    return dict(zip(columns, cells, strict=True))


def _text(value: bytes) -> str:
    return value.decode(errors="replace")


def shown(raw: bytes, format: RecordFormat) -> str:
    """A record's bytes as a person reads them: text, else base64 after ``base64:``."""
    try:
        if format == "fields":
            return msgspec.json.encode(
                {_text(name): _text(value) for name, value in _fields.decode(raw).items()}
            ).decode()
        if format == "msgpack":
            return msgspec.json.encode(msgspec.msgpack.decode(raw)).decode()
        return raw.decode()
    except (msgspec.DecodeError, UnicodeError, TypeError, ValueError, OverflowError):
        return "base64:" + base64.b64encode(raw).decode()
