"""Dates and times as people write them."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Final

from dateutil import parser

from driftline.tables.cells import Cell

DATES: Final = (
    *("%m/%d/%Y", "%d/%m/%Y", "%Y/%m/%d", "%m/%d/%y", "%d/%m/%y", "%d.%m.%Y", "%d.%m.%y", "%Y.%m.%d"),
    *("%d-%m-%Y", "%m-%d-%Y", "%d-%b-%Y", "%d-%b-%y", "%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y"),
    *("%b %d %Y", "%B %d %Y", "%a, %d %b %Y", "%a %b %d %Y", "%d/%b/%Y", "%b-%d-%Y", "%Y-%m-%d", "%Y%m%d"),
)
TIMES: Final = ("", *(f"{mark}{time}" for mark in (" ", "T", ":") for time in ("%H:%M:%S", "%H:%M", "%H:%M:%S.%f")))
HALF_DAYS: Final = (" %I:%M %p", " %I:%M:%S %p", ", %I:%M %p", " %I:%M%p")
ZONES: Final = (" %H:%M:%S %z", " %H:%M:%S%z", ":%H:%M:%S %z", " %H:%M:%S %Z", " %H:%M:%S UTC")
MONTHS: Final = ("%Y-%m", "%m/%Y", "%b %Y", "%B %Y", "%b-%Y", "%b-%y", "%Y-%b", "%Y/%m", "%a %b %d %H:%M:%S %Y")
FORMATS: Final = (*(day + time for day, time in itertools.product(DATES, (*TIMES, *HALF_DAYS, *ZONES))), *MONTHS)
"""The formats that are known, as ``strptime`` has them."""
LONGEST: Final = 40
UNITS: Final = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}
DEFAULTS: Final = (datetime(2001, 2, 3), datetime(2004, 5, 6))
"""What a text leaves open is taken from these: where both give the same, it leaves open nothing but a time of day."""
YEAR: Final = re.compile(r"(?<!\d)(?:1[5-9]|2[01])\d\d(?!\d)")


def is_iso(text: str) -> bool:
    """Whether a text is a date, or a date and time, by ISO 8601, with its marks: ``20200131`` is a number first."""
    if not 8 <= len(text) <= LONGEST or not text[:4].isdecimal() or text[4] not in "-" or not text.isascii():
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def formats_of(text: str, among: Iterable[str] = FORMATS) -> list[str]:
    """Those of the formats that a text is written in.

    >>> formats_of("31.12.2020 23:59")
    ['%d.%m.%Y %H:%M']
    """
    if not 6 <= len(text) <= LONGEST or not any(map(str.isdecimal, text)):
        return []
    return [each for each in among if _strptime(text, each) is not None]


def _strptime(text: str, layout: str) -> datetime | None:
    try:
        return datetime.strptime(text, layout)
    except ValueError:
        return None


def best_format(formats: Sequence[str], texts: Sequence[str]) -> str:
    """Of formats that all fit, the one by which the ``texts``, in their order, go back in time the least."""

    def steps_back(layout: str) -> int:
        moments = [moment for text in texts if (moment := _strptime(text, layout)) is not None]
        return sum(later < earlier for earlier, later in itertools.pairwise(moments))

    return min(formats, key=steps_back)


def is_day_first(layout: str) -> bool:
    return "%d" in layout and layout.index("%d") < max(layout.find("%m"), 0)


@lru_cache(1 << 14)
def read_words(text: str) -> datetime | None:
    """A date that is written in no format known here, if all of it stands there and the day cannot be the month."""
    if not 6 <= len(text) <= LONGEST or not YEAR.search(text):
        return None
    try:
        found = {parser.parse(text, default=each, dayfirst=first) for each in DEFAULTS for first in (False, True)}
    except (ValueError, OverflowError, TypeError):
        return None
    return found.pop() if len(found) == 1 else None


def read_moment(cell: Cell, layout: str | None = None, unit: str = "auto") -> float | None:
    """A cell as seconds since 1970, which it is in UTC unless it says otherwise; None where it is no moment.

    ``layout`` is how a text is read, as ``strptime`` has it; else as ISO 8601, as a number since 1970 in ``unit``, or as a
    date in words.
    """
    moment = as_datetime(cell, layout)
    if moment is not None:
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    if isinstance(cell, bool) or (isinstance(cell, str) and layout is not None):
        return None
    try:
        number = float(cell)
    except (TypeError, ValueError):
        return None
    return number / _scale(number, unit) if math.isfinite(number) else None


def as_datetime(cell: Cell, layout: str | None = None) -> datetime | None:
    """A cell that is, or says, a date; None for numbers since 1970 and all else."""
    if isinstance(cell, datetime):
        return cell
    if isinstance(cell, date):
        return datetime(cell.year, cell.month, cell.day)
    if layout is not None:
        return _strptime(str(cell).strip(), layout)
    if not isinstance(cell, str):
        return None
    text = cell.strip()
    try:
        return datetime.fromisoformat(text) if not text.isdecimal() or len(text) == 8 else None
    except ValueError:
        return read_words(text)


def _scale(number: float, unit: str) -> float:
    """What a number since 1970 is divided by; in which unit it is, its size says: seconds reach until the year 5138."""
    if unit != "auto":
        return UNITS[unit]
    size = abs(number)
    return 1.0 if size < 1e11 else 1e3 if size < 1e14 else 1e6 if size < 1e17 else 1e9
