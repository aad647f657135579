"""JSON as it is taken on every way in: UTF-8 of bounded depth, numbers of 64 bits, and each name once.

Routes, streams, sources, files and the command line all read by these rules, so that the same bytes have the same answer
everywhere. What is read at full speed by another parser is held to them by :func:`check` and :func:`check_names`.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final, NoReturn

import msgspec

from driftline.errors import InvalidInput
from driftline.support.lines import without_bom

MAX_DEPTH: Final = 100
"""Lists and objects that may stand in one another."""
MAX_TOKENS: Final = 500_000
"""Brackets, strings and commas that are looked at one by one before a broken list is given up."""
EXPLAINED_BYTES: Final = 2**16
"""A longer text that is not JSON is not read again to say what is wrong with it."""
SMALLEST_INTEGER, LARGEST_INTEGER = -(2**63), 2**63 - 1
MALFORMED: Final = "malformed_json"
UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OverflowError)
"""What msgspec raises where bytes are not JSON or MessagePack, or not of a type."""

_STRUCTURE = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[\]{},]', re.DOTALL)
_CLOSING = {ord("]"): ord("["), ord("}"): ord("{")}
_QUOTE, _COMMA = ord('"'), ord(",")
_COLON = re.compile(rb"\s*:\s*")


def loads(data: bytes | str, field: str = "body") -> Any:
    """The value of a JSON text; :class:`InvalidInput` says why it is none.

    >>> loads('{"a": 1, "a": 2}')
    Traceback (most recent call last):
    driftline.errors.InvalidInput: body: the name 'a' is given twice
    """
    text = _encoded(data, field)
    check(text, field)
    return _read(_Reader(field), text, field)


def values(data: bytes, field: str = "body") -> Any:
    """The same at full speed, for what is checked again by the type that it has to fit: an integer of more than 64 bits, which
    a field of numbers takes, stays as it is written.

    >>> values(b'{"amount": 2.50}')
    {'amount': 2.5}
    """
    text = without_bom(data)
    check(text, field)
    try:
        value = msgspec.json.decode(text)
        names = count_names(value)
    except (msgspec.DecodeError, OverflowError):
        return _read(_Exact(field), text, field)
    check_names(text, names, field)
    return value


def count_names(value: Any) -> int:
    """The names in all objects of a value; :class:`OverflowError` where an integer in it is larger than msgspec writes."""
    if isinstance(value, dict):
        return len(value) + sum(map(count_names, value.values()))
    if isinstance(value, list):
        return sum(map(count_names, value))
    if isinstance(value, int) and not SMALLEST_INTEGER <= value < 2**64:
        raise OverflowError(shortened(str(value)))
    return 0


def _read(reader: _Reader, text: bytes, field: str) -> Any:
    try:
        value = reader.decode(text.decode())
    except json.JSONDecodeError as error:
        raise _malformed(field, f"not JSON: {error}") from None
    if b"\\u" in text:
        _check_characters(value, field)
    return value


def check(data: bytes, field: str = "body") -> None:
    """Refuses a text that is not UTF-8, or in which too many lists and objects stand in one another."""
    if not data.isascii():
        try:
            data.decode()
        except UnicodeDecodeError as error:
            raise _malformed(
                field, f"not JSON: the byte {data[error.start]:#04x} at {error.start} is not UTF-8"
            ) from None
    if data.count(b"[") + data.count(b"{") > MAX_DEPTH and _is_too_deep(data):
        raise _malformed(field, f"more than {MAX_DEPTH} lists and objects stand in one another")


def check_names(data: bytes, names: int, field: str = "body") -> None:
    """Refuses JSON that gives a name twice in one object; ``names`` are those that it was decoded to, in all objects."""
    # Where a text has as many names as were found in it, as in nearly all cases, none was passed over.
    if data.count(b'":') != names:
        _Names(field).decode(data.decode())


def broken(error: Exception, data: bytes, field: str) -> InvalidInput:
    """Why a parser has given up on a text, where it does not say so by an error of its own."""
    try:
        check(data, field)
        if len(data) <= EXPLAINED_BYTES:
            loads(data, field)
    except InvalidInput as found:
        return found
    return _malformed(field, f"not JSON: {error}")


def elements(data: bytes, name: str) -> list[bytes] | None:
    """The elements of the list in ``{name: […]}``, cut apart where they are broken inside but for brackets and quotes.

    None: where one element ends and the next begins cannot be told.
    """
    head = re.match(rb'\s*\{\s*"%b"\s*:\s*\[' % name.encode(), data)
    if head is None:
        return None
    found, begin, depth = list[bytes](), head.end(), 0
    for token, place, depth in _structure(data, begin):
        if depth < 0 or (depth == 0 and token == _COMMA):
            found.append(data[begin:place].strip())
            begin = place + 1
        if depth < 0:
            is_whole = token == ord("]") and data[place + 1 :].strip() == b"}"
            return (found if found != [b""] else []) if is_whole else None
    return None


def member(data: bytes, name: str) -> Any:
    """The text of a field of a broken object, as far as it can be told; None where it cannot."""
    wanted = b'"%b"' % name.encode()
    for token, place, depth in _structure(data, 0):
        if token == _QUOTE and depth == 1 and data.startswith(wanted, place):
            colon = _COLON.match(data, place + len(wanted))
            value = _STRUCTURE.match(data, colon.end()) if colon is not None else None
            if value is not None and data[value.start()] == _QUOTE:
                try:
                    return loads(value[0], name)
                except InvalidInput:
                    return None
    return None


def _structure(data: bytes, start: int) -> Iterator[tuple[int, int, int]]:
    """The strings, brackets and commas of a text, with their places and the depth after them; it ends where brackets do not
    match, where a string has no end, and after the bracket that closes what was open at ``start``."""
    stack: list[int] = []
    for count, found in enumerate(_STRUCTURE.finditer(data, start)):
        token, place = data[found.start()], found.start()
        if count > MAX_TOKENS:
            return
        if token in _CLOSING:
            if not stack:
                yield token, place, -1
                return
            if stack.pop() != _CLOSING[token]:
                return
        elif token == _QUOTE:
            if found.end() - place < 2 or data[found.end() - 1] != _QUOTE:
                return
        elif token != _COMMA:
            stack.append(token)
        yield token, place, len(stack)


def _is_too_deep(data: bytes) -> bool:
    depth = 0
    for found in _STRUCTURE.finditer(data):
        token = data[found.start()]
        if token in _CLOSING:
            depth -= 1
        elif token not in (_QUOTE, _COMMA):
            depth += 1
            if depth > MAX_DEPTH:
                return True
    return False


class _Names(json.JSONDecoder):
    """Python's own parser, which looks for names that are given twice, and leaves numbers as they are."""

    def __init__(self, field: str) -> None:
        self.field = field
        options: dict[str, Any] = {"parse_int": str, "parse_float": str} | self._numbers()
        super().__init__(object_pairs_hook=self._object, **options)

    def _numbers(self) -> dict[str, Any]:
        return {}

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            ((twice, _),) = Counter(name for name, _ in pairs).most_common(1)
            raise _malformed(self.field, f"the name {shortened(twice)!r} is given twice")
        return found


class _Reader(_Names):
    """The same, which also reads numbers, and refuses what are none."""

    def _numbers(self) -> dict[str, Any]:
        return {"parse_int": self._integer, "parse_float": self._number, "parse_constant": self._constant}

    def _integer(self, text: str) -> Any:
        if len(text) > 20 or not SMALLEST_INTEGER <= (value := int(text)) <= LARGEST_INTEGER:
            message = f"{self.field}: the integer {shortened(text)} has more than 64 bits"
            raise InvalidInput(message, field=self.field, value=shortened(text))
        return value

    def _number(self, text: str) -> float:
        value = float(text)
        if not math.isfinite(value):
            raise InvalidInput(f"{self.field}: the number {shortened(text)} is too large", field=self.field)
        return value

    def _constant(self, text: str) -> NoReturn:
        raise _malformed(self.field, f"not JSON: {text} is no number")


class _Exact(_Reader):
    """The same, which leaves an integer of more than 64 bits as it is written."""

    def _integer(self, text: str) -> Any:
        is_long = len(text) > 20 or not SMALLEST_INTEGER <= int(text) <= LARGEST_INTEGER
        return msgspec.Raw(text.encode()) if is_long else int(text)


def _check_characters(value: Any, field: str) -> None:
    """Refuses half of a surrogate pair, which is no character."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise _malformed(field, f"not JSON: {shortened(ascii(value))} holds half a character") from None
    elif isinstance(value, dict):
        for name, each in value.items():
            _check_characters(name, field)
            _check_characters(each, field)
    elif isinstance(value, list):
        for each in value:
            _check_characters(each, field)


def shortened(text: str, length: int = 100) -> str:
    """A text of at most ``length`` characters."""
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _encoded(data: bytes | str, field: str) -> bytes:
    if not isinstance(data, str):
        return without_bom(data)
    try:
        return without_bom(data.encode())
    except UnicodeEncodeError:
        raise _malformed(field, "not JSON: it holds half a character") from None


def _malformed(field: str, reason: str) -> InvalidInput:
    return InvalidInput(f"{field}: {reason}", code=MALFORMED, field=field)
