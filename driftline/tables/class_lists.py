"""Cells that hold several classes: a list, the JSON of one, or a text with a mark between them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from driftline.tables.cells import Cell

SEPARATORS: Final = ("|", ";", ",")
"""What may stand between the classes of a text."""
MIN_SHARE: Final = 0.02
"""Cells with a separator, at least, as a share: fewer are no habit of the file."""
MIN_REPEATS: Final = 3.0
"""Cells that each part is in on average, at least, if parts are classes: those of addresses and names come once."""


def json_list(text: str) -> list[Cell] | None:
    """The list whose JSON a text is.

    >>> json_list(' ["a", "b"]'), json_list("[a, b]"), json_list("a|b")
    (['a', 'b'], None, None)
    """
    if not text.lstrip().startswith("["):
        return None
    try:
        found: list[Cell] = json.loads(text)
    except ValueError:
        return None
    return found


def parts_of(text: str, separator: str) -> list[str]:
    """The classes of a text.

    >>> parts_of("spam; urgent;", ";")
    ['spam', 'urgent']
    """
    return [part for each in text.split(separator) if (part := each.strip())]


@dataclass(frozen=True)
class SeparatedClasses:
    """How often each class is in texts with ``separator`` between them.

    ``shown`` is a text of several, ``several`` counts these; ``varies`` says whether some texts have more parts than others.
    """

    separator: str
    counts: Mapping[str, int]
    shown: str
    several: int
    varies: bool

    @property
    def are_repeated(self) -> bool:
        """Whether the parts come again and again, as classes do."""
        return sum(self.counts.values()) >= MIN_REPEATS * len(self.counts)


def find_separated(texts: Mapping[str, int], words: Collection[str], cut_at: int) -> SeparatedClasses | None:
    """The classes of texts where a mark parts them: by the one that most cells have.

    Args:
        texts: how often each text was seen.
        words: those of them that are no numbers: a comma in ``1,5`` parts nothing.
        cut_at: how long texts are at most; the last part of one as long may not be whole.
    """
    found = [each for mark in SEPARATORS if (each := _separated(texts, words, cut_at, mark)) is not None]
    return max(found, key=lambda each: each.several, default=None)


def _separated(texts: Mapping[str, int], words: Collection[str], cut_at: int, mark: str) -> SeparatedClasses | None:
    with_mark = {text: count for text, count in texts.items() if text in words and len(parts_of(text, mark)) > 1}
    several = sum(with_mark.values())
    if not with_mark or several < MIN_SHARE * sum(texts.values()):
        return None
    counts: Counter[str] = Counter()
    for text, count in texts.items():
        parts = parts_of(text, mark)
        for part in set(parts[:-1] if len(text) >= cut_at else parts):
            counts[part] += count
    varies = len({len(parts_of(text, mark)) for text in texts}) > 1
    return SeparatedClasses(mark, counts, next(iter(with_mark)), several, varies)
