"""Sources of labels: streams that a worker reads for one model."""

from __future__ import annotations

from typing import Protocol

from pydantic import Field

from driftline.spec import NAME_PATTERN
from driftline.spec.registry import Part


class Take(Protocol):
    """Appends a batch of a source's entries to the log, each once; see ``Intake`` of the worker."""

    async def position(self) -> str:
        """The position that the source has been read to: empty at first, else the last ``take``'s ``after``."""

    async def take(self, items: list[bytes], ids: list[str], before: str, after: str) -> None:
        """Appends feedback items (JSON each) and moves the position from ``before`` to ``after``, at once or not at all."""

    def tell_lag(self, is_behind: bool) -> None:
        """Tells whether the stream holds more than was taken. Of a source that never tells, no lag is shown."""


class Source(Part):
    """A stream of labelled feedback for one model. ``name`` is that of its items and of its position."""

    type: str
    model: str = Field(pattern=NAME_PATTERN)

    @property
    def key(self) -> str:
        """The key of the stored position; the same for as long as it is the same stream."""
        raise NotImplementedError

    async def run(self, intake: Take) -> None:
        """Reads until cancelled. What it raises is retried, from the last position."""
        raise NotImplementedError
