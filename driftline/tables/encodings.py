"""Which encoding a text is in, and its text as UTF-8."""

from __future__ import annotations

import codecs
import io
import re
from dataclasses import dataclass
from typing import IO, Any

from charset_normalizer import from_bytes

from driftline.errors import InvalidInput

WESTERN = "cp1252"
MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""The marks a text may begin with. The one of UTF-32 begins as the one of UTF-16 does, so it stands before it."""
WESTERN_SHARE = 0.3
"""Of the letters of a language that is written in Latin letters, fewer are beyond ASCII."""
SYMBOL_IN_WORD = re.compile(r"[^\W\d_][^\w\s\x00-\x7f’‘´`][^\W\d_]|[^\W\d_][¹²³¿]|[³£¿][^\W\d_]")
"""What shows that letters of Central Europe were read as Western ones."""
CONTROL = re.compile(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1e]")
"""Bytes that hardly stand in any text."""
CENTRAL = ("cp1250", "iso8859_2", "cp1257")
DETECTED_BYTES = 1 << 16


@dataclass(frozen=True)
class TextEncoding:
    """``codec`` is Python's name. ``is_sure``: by a mark, by the option, or because the head is well-formed UTF-8."""

    codec: str
    is_sure: bool
    is_lenient: bool = False


def detect(head: bytes, is_whole: bool, given: str | None) -> TextEncoding:
    """The encoding of a text that begins with ``head``.

    Raises:
        InvalidInput: the one ``given`` is not known, or this is no text.
    """
    if given is not None:
        return TextEncoding(_known(given, head), is_sure=True)
    for mark, codec in MARKS.items():
        if head.startswith(mark):
            return TextEncoding(codec, is_sure=True)
    if not _is_wide(head):
        try:
            codecs.getincrementaldecoder("utf-8")().decode(head, final=is_whole)
        except UnicodeDecodeError:
            pass
        else:
            return TextEncoding("utf-8", is_sure=True, is_lenient=True)
    return TextEncoding(_guessed(head), is_sure=False)


def _is_wide(head: bytes) -> bool:
    """Whether characters have two bytes, of which most have one that is zero."""
    return head[:4096].count(0) > len(head[:4096]) / 5


def _known(given: str, head: bytes) -> str:
    try:
        name = codecs.lookup(given).name
        "".encode(name)
    except LookupError:
        message = f"there is no encoding {given!r}; known are utf-8, utf-16, latin-1, cp1252 and others of Python"
        raise InvalidInput(message, field="encoding", value=given) from None
    return "utf-8-sig" if name == "utf-8" and head.startswith(codecs.BOM_UTF8) else name


def _guessed(head: bytes) -> str:
    sample = head[:DETECTED_BYTES]
    if not _is_wide(sample) and len(CONTROL.findall(sample)) > len(sample) / 100:
        raise InvalidInput("this is neither text nor Parquet")
    if _is_wide(sample):
        even, odd = sample[::2].count(0), sample[1::2].count(0)
        return "utf-16-le" if odd >= even else "utf-16-be"
    # charset-normalizer judges by how coherent a text is, and cells are too short for it to tell Western from its neighbours.
    letters = sum(byte >= 0x80 or chr(byte).isalpha() for byte in sample)
    beyond = sum(byte >= 0x80 for byte in sample)
    western = sample.decode(WESTERN, errors="replace")
    is_latin = beyond < WESTERN_SHARE * letters
    if is_latin and not SYMBOL_IN_WORD.search(western) and "\ufffd" not in western:
        return WESTERN
    # Whole lines only: half a character at the end would rule its encoding out.
    whole = sample[: sample.rfind(b"\n") + 1] or sample
    telling = b"\n".join(line for line in whole.splitlines() if not line.isascii()) or whole
    best = from_bytes(telling, cp_isolation=[*CENTRAL] if is_latin else None).best()
    return best.encoding if best is not None else "latin-1"


class Utf8Stream(io.RawIOBase):
    """A text of any encoding as UTF-8.

    Where the encoding is lenient, bytes that are not UTF-8 are read as Windows-1252, and ``strays`` counts them: a file that
    was pasted together from two is read to its end.
    """

    def __init__(self, stream: IO[bytes], encoding: TextEncoding) -> None:
        self._stream = stream
        errors = "surrogateescape" if encoding.is_lenient else "strict"
        self._decoder = codecs.getincrementaldecoder(encoding.codec)(errors)
        self._ready = memoryview(b"")
        self._is_done = False
        self.strays = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready and not self._is_done:
            chunk = self._stream.read(1 << 20)
            self._is_done = not chunk
            self._ready = memoryview(self._encoded(self._decoder.decode(chunk, self._is_done)))
        part = self._ready[: len(buffer)]
        self._ready = self._ready[len(part) :]
        buffer[: len(part)] = part
        return len(part)

    def _encoded(self, text: str) -> bytes:
        try:
            return text.encode()
        except UnicodeEncodeError:
            text, count = STRAY.subn(_western, text)
            self.strays += count
            return text.encode()


STRAY = re.compile("[\udc80-\udcff]")


def _western(stray: re.Match[str]) -> str:
    byte = bytes([ord(stray[0]) - 0xDC00])
    try:
        return byte.decode(WESTERN)
    except UnicodeDecodeError:
        return byte.decode("latin-1")
