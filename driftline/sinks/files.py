"""A file of lines that messages are added to."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from driftline.errors import Unavailable
from driftline.sinks.base import Moved, Sink, SinkMessage, SinkWriter


class FileSink(Sink):
    """Adds messages to a file of NDJSON, one a line, and waits until the disk has them. The file may be renamed at any time."""

    type: Literal["files"] = "files"
    path: str = Field(min_length=1, description="the file")

    @property
    def paths(self) -> list[str]:
        return [str(Path(self.path).parent)]

    async def open(self) -> SinkWriter:
        return FileWriter(self)


class FileWriter(SinkWriter):
    """Opens the file for each call. Half a line, as a crash leaves it, is ended before the next one."""

    def __init__(self, sink: FileSink) -> None:
        self.sink = sink

    async def write(self, messages: Sequence[SinkMessage], moved: Moved) -> None:
        try:
            await asyncio.to_thread(self._write, messages)
        except OSError as error:
            raise Unavailable(f"the file {self.sink.path!r} cannot be written: {error.strerror}") from error

    def _write(self, messages: Sequence[SinkMessage]) -> None:
        with open(self.sink.path, "a+b") as file:
            end = file.seek(0, os.SEEK_END)
            if end:
                file.seek(end - 1)
            is_torn = bool(end) and file.read(1) != b"\n"
            file.write(b"\n" * is_torn + b"".join(message.value + b"\n" for message in messages))
            file.flush()
            os.fsync(file.fileno())
