"""What a column is, from its profile, with all that may be wrong about it."""

from __future__ import annotations

import re
import shlex
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from driftline.spec.parts.fields import FIELDS, IgnoredField, RowField
from driftline.tables.cells import BOOLEAN_PAIRS, Cell, shown
from driftline.tables.doubt import Doubt
from driftline.tables.fields import CellReader, Unreadable, reader_of
from driftline.tables.moments import best_format, is_day_first, read_words
from driftline.tables.numbers import DecimalMark
from driftline.tables.profile import ColumnProfile, Seen

FEW_ROWS: Final = 20
MOSTLY: Final = 0.95
CODES: Final = 20
MANY_VALUES: Final = 100
ID_NAME: Final = re.compile(r"(?i:(^|[\W_])(id|ids|uuid|guid)([\W_]|$))|[a-z](Id|ID)$")
CODE_NAME: Final = re.compile(r"(?i)(zip|postal|post_?code|plz|code)s?$")
TIME_NAME: Final = re.compile(r"(?i)(time|date|stamp|epoch|_at$|_ts$|^ts$)")
COUNTED_NAME: Final = re.compile(r"(?i)(year|month|week|day|date|time|hour|quarter|period|age)")
EPOCHS: Final = {"s": (4e8, 4.2e9), "ms": (4e11, 4.2e12), "us": (4e14, 4.2e15), "ns": (4e17, 4.2e18)}
"""Of 1982 to 2103 since 1970, in each unit."""
UNIT_NAMES: Final = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
DAY: Final = re.compile(r"(19|20)\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])")


@dataclass
class ColumnDecision:
    """What a column is: a field as a spec has it, and the doubts about it."""

    field: str | dict[str, Any]
    doubts: list[Doubt]

    @property
    def kind(self) -> str:
        return self.field if isinstance(self.field, str) else str(self.field["type"])

    @property
    def parsed(self) -> RowField:
        return FIELDS.parse(self.field)


def decide(
    profile: ColumnProfile, decimal: DecimalMark, forced: str | dict[str, Any] | None, in_order: Callable[[], list[str]]
) -> ColumnDecision:
    """What a column is. ``forced`` is what the user says; ``in_order`` gives texts of it in the order of the file."""
    found = ColumnDecision(forced, []) if forced is not None else _kind(profile, decimal, in_order)
    doubts = [
        Doubt(each.text, profile.name, each.option and _type_option(profile.name, each.option)) for each in found.doubts
    ]
    if found.kind != "ignore" or forced is None:
        doubts += missing_doubts(profile)
    if found.kind == "number":
        doubts += number_doubts(profile, decimal)
    if not isinstance(found.parsed, IgnoredField):
        doubts += odd_cells(profile, reader_of(found.parsed, decimal), found.kind)
    return ColumnDecision(found.field, doubts)


def _type_option(name: str, kind: str) -> str:
    """The option that gives a column another kind, as a shell takes it."""
    return f"--type {shlex.quote(f'{name}={kind}')}"


def _kind(profile: ColumnProfile, decimal: DecimalMark, in_order: Callable[[], list[str]]) -> ColumnDecision:
    present = profile.present
    if not present:
        return ColumnDecision("ignore", [_doubt("every cell is missing")])
    if profile.shapes or profile.objects:
        return _nested(profile)
    if profile.distinct == 1 and not profile.missing and profile.rows > 1:
        return ColumnDecision("ignore", [_doubt(f"every cell is {shown(next(iter(profile.values)))}", "category")])
    for cells, kind in ((sum(_count(profile.booleans)), "boolean"), (sum(_count(profile.moments)), "time")):
        if cells >= MOSTLY * present:
            return ColumnDecision(kind, [])
    numbers = profile.number_cells / present
    if profile.words and (found := _yes_and_no(profile)):
        return found
    if numbers >= MOSTLY or (numbers >= 0.8 and len(profile.words) == 1):
        return _of_numbers(profile, decimal)
    if found := _of_dates(profile, in_order):
        return found
    found = _of_words(profile)
    dates = max(profile.iso_cells + sum(_count(profile.moments)), profile.date_cells) / present
    for share, what, kind in ((numbers, "numbers", "number"), (dates, "dates in one form", "time")):
        if share >= 0.5:
            text = f"{share:.0%} of its cells are {what}, others are not, such as {_other(profile, kind)}"
            found.doubts.append(_doubt(text, kind))
    return found


def _other(profile: ColumnProfile, kind: str) -> str:
    """A cell of a column that is no number, or no date."""
    read = reader_of(FIELDS.parse(kind))
    values = [*profile.words, *profile.numbers]
    return shown(next((value for value in values if _try(read, value) is None), values[0]))


def _count(values: dict[Cell, Seen]) -> list[int]:
    return [seen.count for seen in values.values()]


def _doubt(text: str, kind: str | None = None) -> Doubt:
    """A doubt whose option is another kind."""
    return Doubt(text, None, kind)


def _nested(profile: ColumnProfile) -> ColumnDecision:
    shapes = [shape for shape in profile.shapes if shape is not None]
    even = len(profile.shapes) == 1 and not profile.objects and not profile.distinct
    if even and shapes and len(shapes[0]) <= 6:
        return ColumnDecision({"type": "tensor", "shape": list(shapes[0])}, [])
    what = "objects or bytes" if profile.objects else "lists that are not all numbers of one shape"
    return ColumnDecision("ignore", [_doubt(f"its cells are {what}")])


def _yes_and_no(profile: ColumnProfile) -> ColumnDecision | None:
    """Whether all words say yes or no, in any case; 0 and 1 alone are numbers."""
    words = {word.casefold() for word in (*profile.words, *map(str, profile.numbers), *profile.booleans)}
    yes = {pair[0] for pair in BOOLEAN_PAIRS} & words
    no = {pair[1] for pair in BOOLEAN_PAIRS} & words
    if words - yes - no or not yes or not no:
        return None
    # `t` and `n` say no more than `m` and `f` do, unless they stand with their own.
    if not any(each in yes and other in no for each, other in BOOLEAN_PAIRS):
        return None
    spellings = list(profile.words)
    doubts = [_doubt(f"{_listed(spellings)} are true and false; a request sends these", "category")]
    return ColumnDecision("boolean", doubts)


def _of_numbers(profile: ColumnProfile, decimal: DecimalMark) -> ColumnDecision:
    read = reader_of(FIELDS.parse("number"), decimal)
    values = [value for value in read.many(list(profile.numbers))[0] if value is not None]
    integers = bool(values) and all(isinstance(value, int) or value.is_integer() for value in values)
    name, rows = profile.name, profile.rows
    if integers and rows >= FEW_ROWS and not profile.missing and not profile.words and _is_counting(profile, values):
        if COUNTED_NAME.search(name):
            return ColumnDecision("number", [_doubt("it counts the rows: each has the number after another", "ignore")])
        return ColumnDecision("ignore", [_doubt("it counts the rows, as an id does", "number")])
    if integers and (found := _moments_as_numbers(profile, values)):
        return found
    if profile.padded:
        text = next(iter(profile.padded))
        return ColumnDecision(
            "category", [_doubt(f"numbers such as {shown(text)} begin with a zero, as codes do", "number")]
        )
    if integers and ID_NAME.search(name) and profile.distinct > 2:
        if profile.is_unique and rows >= FEW_ROWS:
            return ColumnDecision(
                "ignore", [_doubt("every number is different, and its name is that of an id", "number")]
            )
        return ColumnDecision("category", [_doubt(f"{_many(profile)} whole numbers under the name of an id", "number")])
    if integers and CODE_NAME.search(name):
        return ColumnDecision(
            "category", [_doubt(f"{_many(profile)} whole numbers under the name of a code", "number")]
        )
    doubts = []
    if integers and rows >= FEW_ROWS and profile.ascends and not COUNTED_NAME.search(name):
        doubts.append(_doubt("each row has a larger number than the one before, as ids have", "ignore"))
    if integers and len(values) == 2 and set(values) == {0, 1}:
        doubts.append(_doubt("0 and 1", "boolean"))
    elif integers and 2 <= profile.distinct <= CODES and profile.present >= 5 * profile.distinct:
        doubts.append(_doubt(f"{_many(profile)} whole numbers, which might be codes", "category"))
    if sum(_count(profile.booleans)):
        doubts.append(_doubt("some cells are true and false, read as 1 and 0"))
    return ColumnDecision("number", doubts)


def _try(read: CellReader[Any], cell: Cell) -> Any:
    try:
        return read(cell)
    except Unreadable:
        return None


def _is_counting(profile: ColumnProfile, values: Sequence[int | float]) -> bool:
    if profile.counts_up:
        return True
    return not profile.is_full and len(set(values)) == profile.rows == max(values) - min(values) + 1


def _moments_as_numbers(profile: ColumnProfile, values: Sequence[int | float]) -> ColumnDecision | None:
    if all(DAY.fullmatch(str(text)) for text in profile.numbers) and len(values) > 1:
        doubts = [_doubt(f"{shown(next(iter(profile.numbers)))} is read as year, month and day", "number")]
        return ColumnDecision({"type": "time", "format": "%Y%m%d"}, doubts)
    for unit, (low, high) in EPOCHS.items():
        if min(values) >= low and max(values) < high and TIME_NAME.search(profile.name):
            doubts = [_doubt(f"it is read as {UNIT_NAMES[unit]} since 1970", "number")]
            return ColumnDecision({"type": "time", "unit": unit}, doubts)
    return None


def _of_dates(profile: ColumnProfile, in_order: Callable[[], list[str]]) -> ColumnDecision | None:
    present = profile.present
    if (profile.iso_cells + sum(_count(profile.moments))) >= MOSTLY * present:
        return ColumnDecision("time", [])
    if profile.date_cells >= MOSTLY * present:
        layout = best_format(profile.formats, in_order())
        doubts = [Doubt(f"dates are read as `{layout}`", option="time:FORMAT")]
        others = [each for each in profile.formats if is_day_first(each) != is_day_first(layout)]
        if others:
            doubts = [
                Doubt(
                    f"the day or the month may stand first: read as `{layout}`, it might be `{others[0]}`",
                    option="time:FORMAT",
                )
            ]
        return ColumnDecision({"type": "time", "format": layout}, doubts)
    if profile.iso_cells or profile.date_cells or any(map(read_words, list(profile.words)[:5])):
        words = list(profile.words)[:2000]
        known = sum(read_words(word) is not None for word in words)
        # ISO 8601 is among what is read as words.
        if known >= MOSTLY * len(words) and not profile.number_cells:
            text = f"dates in several forms, such as {shown(words[0])}, become ISO 8601; a request sends that"
            return ColumnDecision("time", [_doubt(text, "text")])
    return None


def _of_words(profile: ColumnProfile) -> ColumnDecision:
    present, distinct = profile.present, profile.distinct
    words = max(1, profile.word_cells)
    parts, length = profile.parts / words, profile.characters / words
    share = distinct / present if not profile.is_full else len(profile.words) / max(1, sum(_count(profile.words)))
    is_unique = share == 1.0 and present >= FEW_ROWS
    if is_unique and parts < 1.5 and length < 100:
        return ColumnDecision("ignore", [_doubt("every value is different, as those of an id", "category")])
    if (parts >= 3 and share > 0.3) or (length >= 40 and share > 0.2 and distinct > MANY_VALUES) or is_unique:
        return ColumnDecision("text", [_doubt(f"free text of {parts:.0f} words", "category")] if share < MOSTLY else [])
    doubts = []
    if distinct > MANY_VALUES or (distinct > FEW_ROWS and share > 0.3):
        once = sum(count == 1 for count in _count(profile.words))
        doubts.append(_doubt(f"{_many(profile)} values, {once:,} of them once", "text"))
    doubts += spelling_doubts(profile)
    return ColumnDecision("category", doubts)


def spelling_doubts(profile: ColumnProfile) -> list[Doubt]:
    """Values that differ by case or by spaces alone."""
    alike: dict[str, list[str]] = defaultdict(list)
    for word in profile.words:
        alike[" ".join(word.casefold().split())].append(word)
    found = [words for words in alike.values() if len(words) > 1]
    if not found or len(profile.words) > 10 * MANY_VALUES:
        return []
    more = f", and {len(found) - 3} more" if len(found) > 3 else ""
    listed = "; ".join(_listed(words) for words in found[:3])
    return [Doubt(f"spelled in several ways, each a value of its own: {listed}{more}", profile.name)]


def missing_doubts(profile: ColumnProfile) -> list[Doubt]:
    """How a missing value is written, where something stands there."""
    if not profile.missing_words:
        return []
    listed = ", ".join(
        f"{shown(word)} ({seen.count:,}; first in row {seen.row:,})" for word, seen in profile.missing_words.items()
    )
    return [Doubt(f"read as missing: {listed}", profile.name)]


def number_doubts(profile: ColumnProfile, decimal: DecimalMark) -> list[Doubt]:
    """Numbers that are written with more than digits and a point."""
    read = reader_of(FIELDS.parse("number"), decimal)
    texts = []
    option: str | None = None
    known = profile.decimals
    for how, seen in profile.styles.items():
        example = profile.style_examples[how]
        value = None if how == "signs" else _try(read, example)
        if value is None:
            continue
        texts.append(f"{shown(example)} is {value}" + (f" ({seen.count:,} cells)" if seen.count > 1 else ""))
        if "," in example or "." in example:
            option = "--decimal"
    if texts and known.either and known.decides is None:
        texts[-1] += f"; the mark in {shown(known.example)} might also be that of {_other_mark(known.example, decimal)}"
    elif known.either and known.decides is None and decimal == ",":
        texts.append(
            f"{shown(known.example)} is {_try(read, known.example)}, as in other columns a comma parts decimals"
        )
        option = "--decimal"
    doubts = [Doubt("numbers written as text: " + ", ".join(texts), profile.name, option)] if texts else []
    money = sum(how not in {"%", "thousands", "comma", "parentheses", "signs"} for how in profile.styles)
    if money > 1:
        doubts.append(Doubt("several currencies, which are not converted", profile.name))
    percent = profile.styles.get("%")
    if percent is not None and percent.count < profile.number_cells:
        others = profile.number_cells - percent.count
        doubts.append(
            Doubt(f"{percent.count:,} cells have a %, {others:,} have none; all are read alike", profile.name)
        )
    return doubts


def _other_mark(example: str | None, decimal: DecimalMark) -> str:
    """What the mark of a number such as ``1,234`` parts if it is not what it is read as."""
    return "decimals" if (decimal == ".") == ("," in (example or "")) else "thousands"


def odd_cells(profile: ColumnProfile, read: CellReader[Any], kind: str) -> list[Doubt]:
    """Cells that are no value of the field, with their rows."""
    odd = []
    for values in (profile.numbers, profile.words, profile.booleans, profile.moments):
        cells = list(values)
        odd += [(cells[place], values[cells[place]]) for place in read.many(cells)[1]]
    if not odd:
        return []
    odd.sort(key=lambda each: each[1].row)
    count = sum(seen.count for _, seen in odd)
    listed = ", ".join(f"{shown(cell)} (row {seen.row:,})" for cell, seen in odd[:3]) + (", …" if len(odd) > 3 else "")
    what = f"no {'time' if kind == 'time' else kind}"
    rows = "its row is" if count == 1 else f"{count:,} rows are"
    return [Doubt(f"{what}: {listed}; {rows} refused", profile.name, _type_option(profile.name, "category"))]


def _listed(words: Sequence[str]) -> str:
    return ", ".join(map(shown, words[:6])) + (", …" if len(words) > 6 else "")


def _many(profile: ColumnProfile) -> str:
    return f"{'more than ' * profile.is_full}{profile.distinct:,} different"
