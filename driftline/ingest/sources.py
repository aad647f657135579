"""What a source of labels is: a stream that a worker reads for one model."""

from __future__ import annotations

from typing import Protocol

from pydantic import Field

from driftline.spec import NAME_PATTERN
from driftline.spec.registry import Part


class Take(Protocol):
    """Takes a batch of a source's entries into the log, each once; see ``Intake`` of the worker."""

    async def position(self) -> str:
        """Where the source has been read to: empty at first, else what the last ``take`` gave as ``after``."""

    async def take(self, items: list[bytes], ids: list[str], before: str, after: str) -> None:
        """Appends feedback items (JSON each) and moves the position from ``before`` to ``after``, at once or not at all."""


class Source(Part):
    """A stream of labelled feedback for one model. ``name`` is what its items and its position go by."""

    type: str
    model: str = Field(pattern=NAME_PATTERN)

    @property
    def key(self) -> str:
        """What the position in this source is kept under; the same for as long as it is the same stream."""
        raise NotImplementedError

    async def run(self, intake: Take) -> None:
        """Reads until cancelled. What it raises is retried, from the last position."""
        raise NotImplementedError
