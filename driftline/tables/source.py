"""The bytes of a file or a pipe, unpacked, with a head that can be looked at before they are read."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import sys
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, cast

import pyarrow as pa

from driftline.errors import InvalidInput

HEAD_BYTES = 1 << 18
STANDARD_INPUT = "-"
WORKBOOK = "xl/"


class ReplayedStream(io.RawIOBase):
    """A head that was read already, then the rest of a stream: a pipe is looked at without seeking."""

    def __init__(self, head: bytes, rest: IO[bytes]) -> None:
        self._head = memoryview(head)
        self._rest = rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._head:
            part = self._head[: len(buffer)]
            self._head = self._head[len(part) :]
        else:
            part = memoryview(self._rest.read(len(buffer)) or b"")
        buffer[: len(part)] = part
        return len(part)


class ByteSource:
    """What a file holds, unpacked. ``head`` are its first bytes, ``stream`` gives all of them, once."""

    def __init__(self, name: str, packed: IO[bytes], stack: ExitStack) -> None:
        self.name = name
        unpacked = self._unpacked(packed, stack)
        self.head = _read(unpacked, HEAD_BYTES)
        self.is_whole = len(self.head) < HEAD_BYTES
        self.stream: IO[bytes] = io.BufferedReader(ReplayedStream(self.head, unpacked), 1 << 20)

    def _unpacked(self, packed: IO[bytes], stack: ExitStack) -> IO[bytes]:
        start = _read(packed, 8)
        stream: IO[bytes] = io.BufferedReader(ReplayedStream(start, packed), 1 << 16)
        if start.startswith(b"\x1f\x8b"):
            return cast(IO[bytes], stack.enter_context(gzip.GzipFile(fileobj=stream)))
        if start.startswith(b"BZh"):
            return stack.enter_context(bz2.BZ2File(stream))
        if start.startswith(b"\xfd7zXZ"):
            return stack.enter_context(lzma.LZMAFile(stream))
        if start.startswith(b"\x28\xb5\x2f\xfd"):
            unpacked: IO[bytes] = stack.enter_context(pa.CompressedInputStream(pa.PythonFile(stream, mode="r"), "zstd"))
            return unpacked
        if start.startswith(b"PK\x03\x04"):
            return self._of_archive(packed, stack)
        return stream

    def _of_archive(self, packed: IO[bytes], stack: ExitStack) -> IO[bytes]:
        if not packed.seekable():
            raise InvalidInput(f"{self.name} is a zip archive, which a pipe cannot be; name the file", value=self.name)
        archive = stack.enter_context(zipfile.ZipFile(packed))
        members = [
            each for each in archive.infolist() if not each.is_dir() and not each.filename.startswith("__MACOSX")
        ]
        if any(each.filename.startswith(WORKBOOK) for each in members):
            message = f"{self.name} is a workbook of a spreadsheet; save its sheet as CSV"
            raise InvalidInput(message, value=self.name)
        if len(members) != 1:
            message = f"{self.name} is an archive of {len(members)} files; unpack it and name one"
            raise InvalidInput(message, value=self.name)
        return stack.enter_context(archive.open(members[0]))


def _read(stream: IO[bytes], size: int) -> bytes:
    """As many bytes as there are, at most ``size``: one read of a pipe may give fewer."""
    parts = []
    while size > 0 and (part := stream.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


@contextmanager
def open_source(path: Path | str) -> Iterator[ByteSource]:
    """The bytes of a file, or of standard input for ``-``; what is packed (gzip, bzip2, xz, Zstandard, zip) is unpacked.

    Raises:
        InvalidInput: it cannot be read.
    """
    name = "standard input" if str(path) == STANDARD_INPUT else str(path)
    with ExitStack() as stack:
        with reading(name):
            if str(path) == STANDARD_INPUT:
                packed: IO[bytes] = sys.stdin.buffer
            else:
                packed = stack.enter_context(Path(path).open("rb"))
            source = ByteSource(name, packed, stack)
        if not source.head:
            raise InvalidInput(f"{name} is empty", value=name)
        # What is wrong within the block is not wrong with the file: whoever reads on says so by ``reading``.
        yield source


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Whatever is wrong with a file's bytes is an :class:`InvalidInput` that names the file."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise InvalidInput(
            f"{name} is not text in {error.encoding}: the bytes {error.object[error.start : error.end].hex(' ')} "
            "stand for nothing in it; name another encoding",
            field="encoding",
            value=error.encoding,
        ) from None
    except (EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, RuntimeError) as error:
        raise InvalidInput(f"{name} cannot be unpacked: {error}", value=name) from None
    except pa.ArrowException as error:
        raise InvalidInput(f"{name} cannot be read: {str(error).splitlines()[0]}", value=name) from None
    except OSError as error:
        raise InvalidInput(f"{name} cannot be read: {error.strerror or error}", value=name) from None
