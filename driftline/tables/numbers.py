"""Numbers as people write them: ``1,234``, ``1.234,56``, ``$5``, ``5 €``, ``3 %``, ``(12)``."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, Literal, NamedTuple, TypeAlias

Number: TypeAlias = int | float
DecimalMark: TypeAlias = Literal[".", ","]

SPACES: Final = " \u00a0\u2009\u202f"
CURRENCIES: Final = "$€£¥₹₽₺₩¢₫₴₪₱"
PLAIN: Final = re.compile(r"[+-]?(?:[0-9]+(\.[0-9]*)?|(\.[0-9]+))(?:[eE][+-]?[0-9]+)?")
PLAIN_CHARACTERS: Final = frozenset("0123456789.-")
LONGEST_PLAIN: Final = 40
"""Digits that are finite for certain."""


def _pattern(decimal: str, group: str) -> re.Pattern[str]:
    marks = rf"[{re.escape(group)}{SPACES}'’]"
    indian = "[1-9][0-9]?(?:,[0-9]{2})+,[0-9]{3}|" if group == "," else ""
    whole = rf"(?:[1-9][0-9]{{0,2}}(?P<mark>{marks})[0-9]{{3}}(?:(?P=mark)[0-9]{{3}})*|{indian}[0-9]+)"
    point = re.escape(decimal)
    space = f"[{SPACES}]*"
    money = rf"(?P<money{{}}>[{CURRENCIES}]|US\$|USD|EUR|GBP|CHF|JPY)?"
    return re.compile(
        rf"(?P<open>\()?(?P<sign1>[-+−])?{space}{money.format(1)}{space}(?P<sign2>[-+−])?"
        rf"(?P<body>{whole}(?:{point}[0-9]*)?|{point}[0-9]+)(?P<power>[eE][+-]?[0-9]+)?"
        rf"{space}(?P<percent>%)?{money.format(2)}(?P<close>\))?"
    )


PATTERNS: Final = {".": _pattern(".", ","), ",": _pattern(",", ".")}


def parse_number(text: str, decimal: DecimalMark) -> Number | None:
    """The number that a text stands for; None where it stands for none.

    A currency is left out and ``3 %`` is 3; parentheses are a minus; thousands may be parted by the other mark, by spaces or
    apostrophes, also in Indian groups. ``inf`` and numbers that overflow are none.

    >>> parse_number("1,234.5", "."), parse_number("1.234,50 €", ","), parse_number("($ 12)", "."), parse_number("3 %", ".")
    (1234.5, 1234.5, -12, 3)
    """
    if decimal == "." and PLAIN.fullmatch(text):
        return _finite(float(text) if not text.lstrip("+-").isdecimal() else _integer(text))
    found = PATTERNS[decimal].fullmatch(text)
    if found is None or (found["open"] is None) != (found["close"] is None) or (found["sign1"] and found["sign2"]):
        return None
    if found["money1"] and found["money2"]:
        return None
    body = found["body"]
    whole, mark, fraction = body.partition(decimal)
    digits = re.sub("[^0-9]", "", whole)
    power = found["power"] or ""
    value = _finite(float(f"{digits or '0'}.{fraction or '0'}{power}") if mark or power else _integer(digits))
    is_negative = (found["sign1"] or found["sign2"] or "+") in "-−" or found["open"]
    return -value if is_negative and value is not None else value


def _integer(digits: str) -> Number:
    """Beyond 64 bits, which JSON parsers do not take, a float."""
    return int(digits) if len(digits) < 19 else float(digits)


def _finite(value: Number) -> Number | None:
    return value if math.isfinite(value) else None


def plain_numbers(cells: Sequence[Any], decimal: DecimalMark = ".") -> list[Number | None] | None:
    """Many cells at once, of which each is a text that is an unadorned number, or empty; None where one is something else.

    It gives what :func:`parse_number` gives for each, at a tenth of the time.
    """
    try:
        characters = set("".join(cells))
    except TypeError:
        return None
    allowed = PLAIN_CHARACTERS if decimal == "." else PLAIN_CHARACTERS - {"."}
    if not characters <= allowed or max(map(len, cells), default=0) > LONGEST_PLAIN:
        return None
    try:
        return [
            None if not text else int(text) if len(text) < 19 and text.lstrip("-").isdecimal() else float(text)
            for text in cells
        ]
    except ValueError:
        return None


class Reading(NamedTuple):
    """A text as a number: with a point before the fraction, with a comma; ``how`` says how it is written, beyond digits."""

    point: Number | None
    comma: Number | None
    how: str | None

    @property
    def is_number(self) -> bool:
        return self.point is not None or self.comma is not None

    @property
    def evidence(self) -> DecimalMark | Literal["either"] | None:
        """The mark that it is written with; ``either``: two numbers, by which it is; None: it does not matter."""
        if self.point is None or self.comma is None:
            return None if self.point is self.comma else "." if self.comma is None else ","
        return "either" if self.point != self.comma else None

    def of(self, decimal: DecimalMark) -> Number | None:
        return self.point if decimal == "." else self.comma


NOT_A_NUMBER: Final = Reading(None, None, None)


@lru_cache(1 << 16)
def read_number(text: str) -> Reading:
    """A text as a number, by either mark of decimals."""
    if not text or not any(map(str.isdigit, text)):
        return NOT_A_NUMBER
    point = parse_number(text, ".")
    if found := PLAIN.fullmatch(text):
        # Only three digits after the point may be thousands.
        is_clear = "." in text and len(text.rpartition(".")[2]) != 3
        return Reading(point, None if is_clear else parse_number(text, ","), None)
    comma = parse_number(text, ",")
    found = PATTERNS["." if point is not None else ","].fullmatch(text)
    if found is None or (point is None and comma is None):
        return NOT_A_NUMBER
    how = (
        ("%" if found["percent"] else None)
        or found["money1"]
        or found["money2"]
        or ("parentheses" if found["open"] else None)
        or ("thousands" if found["mark"] or (point is not None and "," in text) else None)
        or ("comma" if "," in text else "signs")
    )
    return Reading(point, comma, how)


class DecimalEvidence(NamedTuple):
    """How many cells of a column are written with a point, with a comma, and with a mark that may be either."""

    point: int
    comma: int
    either: int
    example: str | None

    @property
    def decides(self) -> DecimalMark | None:
        if not self.point and not self.comma:
            return None
        return "." if self.point >= self.comma else ","


def evidence(texts: Mapping[str, int] | Iterable[str]) -> DecimalEvidence:
    """What the texts of a column say of its decimals; a mapping counts each text."""
    counts: Counter[str] = Counter()
    example = None
    for text, count in Counter(texts).items() if not isinstance(texts, Mapping) else texts.items():
        found = read_number(text.strip()).evidence
        if found is not None:
            counts[found] += count
        if found == "either" and example is None:
            example = text.strip()
    return DecimalEvidence(counts["."], counts[","], counts["either"], example)


def decide_decimals(columns: Mapping[str, DecimalEvidence]) -> dict[str, DecimalMark]:
    """The mark of decimals of each column: its own cells decide, else the other columns, else a point.

    In a file whose separator is a comma, decimals with a comma would have to be quoted; with a semicolon they are common.
    """
    point = sum(1 for each in columns.values() if each.decides == ".")
    comma = sum(1 for each in columns.values() if each.decides == ",")
    usual: DecimalMark = "," if comma > point else "."
    return {name: each.decides or usual for name, each in columns.items()}
