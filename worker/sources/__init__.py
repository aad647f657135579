"""Streams that labels come from, one file a kind. The operator names them in ``DRIFTLINE_SOURCES``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Protocol

from pydantic import Field, ValidationError

from driftline.errors import ConfigurationError
from driftline.spec import NAME_PATTERN
from driftline.spec.registry import Part, Registry


class Take(Protocol):
    """Takes a batch of a source's entries into the log, each once; see :class:`.intake.Intake`."""

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


SOURCES = Registry(Source, __name__, tag="type")


def parse_sources(text: str) -> list[Source]:
    """The sources that ``DRIFTLINE_SOURCES`` names; :class:`ConfigurationError` says what is wrong with it."""
    try:
        value: Any = json.loads(Path(text[1:]).read_text() if text.startswith("@") else text)
        if not isinstance(value, list):
            raise ConfigurationError(f"DRIFTLINE_SOURCES is not a JSON list: {text[:100]}")
        return [SOURCES.parse(source) for source in value]
    except (OSError, json.JSONDecodeError, ValidationError) as error:
        raise ConfigurationError(f"DRIFTLINE_SOURCES: {error}") from None
