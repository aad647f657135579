"""What a sink is: its configuration, and the writer that hands messages to its broker."""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import msgspec
from pydantic import PrivateAttr

from driftline.errors import ConfigurationError
from driftline.spec.registry import Part


class SinkMessage(msgspec.Struct, frozen=True, gc=False):
    """A message of JSON. It has the same ``id`` whenever it is written again; ``key`` is what it is about."""

    id: str
    value: bytes
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Moved:
    """What is written, as the reader of its origin has it: the position before, and the one after it."""

    before: str
    after: str


class SinkWriter(ABC):
    """Writes to one sink. What it raises is told, and the same messages are written again, with the same ids."""

    @abstractmethod
    async def write(self, messages: Sequence[SinkMessage], moved: Moved) -> None:
        """Writes messages in their order; it returns once the broker holds all of them."""

    async def reached(self, position: str) -> str:
        """The position that is written up to, where the store knows of ``position``: another one only where the sink keeps it
        in the same transaction as its messages, and a crash came before the store learned of it."""
        return position

    async def close(self) -> None:
        """Ends the connection."""
        return None


class Sink(Part):
    """Where messages are written."""

    type: str
    _writer: str = PrivateAttr("")

    @property
    def writer(self) -> str:
        """Who writes, by a name that nobody else has and that stays: a broker may let one of each name write at a time."""
        return self._writer

    def written_by(self, writer: str) -> Self:
        """The same sink, with the name of who writes to it."""
        found = self.model_copy()
        found._writer = writer
        return found

    @property
    def paths(self) -> Sequence[str]:
        """The files and folders of the machine that it writes."""
        return ()

    async def open(self) -> SinkWriter:
        """Connects. :class:`ConfigurationError` where a package is missing that it needs."""
        raise NotImplementedError


def client_is_missing(package: str, extra: str) -> ConfigurationError:
    """The error of a sink whose client is not installed."""
    return ConfigurationError(
        f"{package} is not installed; it comes with: pip install 'driftline[{extra}]'", code="no_sink_client"
    )


async def hang_up(connection: Any) -> None:
    """Ends a connection to a broker, also one that broke; after five seconds it is left."""
    with contextlib.suppress(Exception):
        await asyncio.wait_for(connection.close(), 5)
