r"""Lines, as they are taken on every way in: they end at ``\n`` and at no other character."""

from __future__ import annotations

from typing import Final

BOM: Final = b"\xef\xbb\xbf"


class LineCutter:
    r"""Cuts a text that comes in parts into lines, which end at ``\n`` and at no other character. Empty ones are passed over.

    >>> cutter = LineCutter()
    >>> cutter.add("1\n2\u2028".encode()) == [b"1"], cutter.add(b"3\n\n4") == ["2\u20283".encode()], cutter.rest()
    (True, True, [b'4'])
    """

    def __init__(self) -> None:
        self.waiting_bytes = 0
        self._parts: list[bytes] = []
        self._is_first = True

    def add(self, part: bytes) -> list[bytes]:
        """The lines that a further part completes."""
        first, *others = part.split(b"\n")
        self._parts.append(first)
        if not others:
            self.waiting_bytes += len(first)
            return []
        found = [*self.rest(), *filter(bytes.strip, others[:-1])]
        self._parts, self.waiting_bytes = others[-1:], len(others[-1])
        return found

    def rest(self) -> list[bytes]:
        """What is left as the last line, where it is no empty one."""
        line = b"".join(self._parts)
        if self._is_first:
            line, self._is_first = without_bom(line), False
        self._parts, self.waiting_bytes = [], 0
        return [line] if line.strip() else []


def without_bom(data: bytes) -> bytes:
    """The text without the byte order mark that some programs put before it."""
    return data.removeprefix(BOM)


def lines(data: bytes) -> list[bytes]:
    """The lines of a text as :class:`LineCutter` cuts them."""
    cutter = LineCutter()
    return [*cutter.add(data), *cutter.rest()]
