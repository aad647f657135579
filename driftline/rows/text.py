"""Texts as keys of their words and parts of words, in any language."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from itertools import pairwise
from zlib import crc32

WORD = re.compile(r"\w+")
GRAM = 4
FIRST_WITHOUT_SPACES = "\u2e80"
"""From this letter on most scripts put no spaces between words."""


def tokens(text: str, limit: int) -> list[int]:
    """The keys, from 1 on, of at most ``limit`` different tokens: the words, then the pairs of words, then parts of words."""
    words = WORD.findall(unicodedata.normalize("NFKC", text).casefold())
    found: dict[str, None] = {}
    for some in (_words(words), _pairs(words), _parts(words)):
        for token in some:
            found[token] = None
            if len(found) == limit:
                return [*map(_key, found)]
    return [*map(_key, found)]


def _key(token: str) -> int:
    return crc32(token.encode()) or 1


def _words(words: list[str]) -> Iterator[str]:
    for word in words:
        if word[0] < FIRST_WITHOUT_SPACES:
            yield word
        else:
            yield from word
            yield from (word[i : i + 2] for i in range(len(word) - 1))


def _pairs(words: list[str]) -> Iterator[str]:
    return (f"{first} {second}" for first, second in pairwise(words))


def _parts(words: list[str]) -> Iterator[str]:
    for word in words:
        bounded = f"<{word}>"
        yield from ("#" + bounded[i : i + GRAM] for i in range(len(bounded) - GRAM + 1))
