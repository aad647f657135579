"""Single cells: what is missing, what is yes or no."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final, TypeAlias

Cell: TypeAlias = Any
"""A text, as a CSV file has it, or what a typed file holds: a number, boolean, date, list, …; None where nothing stands."""

MISSING_WORDS: Final = frozenset(
    {"", "?", "na", "n/a", "n.a.", "nan", "null", "none", "-", "\\n", "#n/a", "<na>", "nat", "--", "–", "—"}
)
"""What stands for a missing value, in lower case: also what pandas, R, SQL dumps and spreadsheets write."""
MISSING_STARTS: Final = frozenset({word[:1] for word in MISSING_WORDS} | {"N", " ", "\t", "\n", "\r", "\u00a0"})
"""A cell that begins otherwise is not missing, which is most often told by this alone."""
BOOLEAN_PAIRS: Final = (("yes", "no"), ("y", "n"), ("true", "false"), ("t", "f"), ("on", "off"), ("1", "0"))
BOOLEANS: Final = {word: place == 0 for pair in BOOLEAN_PAIRS for place, word in enumerate(pair)} | {
    "1.0": True,
    "0.0": False,
}
SHOWN: Final = 40


def is_missing(cell: Cell) -> bool:
    """Whether a cell holds no value.

    >>> [is_missing(cell) for cell in (None, " n.a. ", float("nan"), "0", 0)]
    [True, True, True, False, False]
    """
    if isinstance(cell, str):
        return cell[:1] in MISSING_STARTS and len(cell) < 12 and cell.strip().casefold() in MISSING_WORDS
    return cell is None or cell != cell


def shown(cell: Cell) -> str:
    """A cell as a message shows it: in backticks, cut where it is long."""
    text = str(cell).replace("\n", "⏎").strip()
    return f"`{text if len(text) <= SHOWN else text[: SHOWN - 1] + '…'}`"


def plain(cell: Cell) -> Cell:
    """A typed cell as what JSON has, where it stands for a number: decimals, spans of time, times of day in seconds."""
    if isinstance(cell, Decimal):
        return int(cell) if cell == cell.to_integral_value() and cell.as_tuple().exponent == 0 else float(cell)
    if isinstance(cell, timedelta):
        return cell.total_seconds()
    if isinstance(cell, time):
        return cell.hour * 3600 + cell.minute * 60 + cell.second + cell.microsecond / 1e6
    if isinstance(cell, bytes):
        try:
            return cell.decode()
        except UnicodeDecodeError:
            return cell
    return cell


def is_moment(cell: Cell) -> bool:
    """Whether a typed cell is a date, with or without a time."""
    return isinstance(cell, datetime | date)
