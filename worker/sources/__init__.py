"""Streams of labels, one file for each kind. The operator configures them in ``DRIFTLINE_SOURCES``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from driftline.errors import ConfigurationError
from driftline.ingest.sources import Source
from driftline.spec.registry import Registry

SOURCES = Registry(Source, __name__, tag="type", group="driftline.sources")


def parse_sources(text: str) -> list[Source]:
    """The sources of ``DRIFTLINE_SOURCES``; :class:`ConfigurationError` says what is wrong with it."""
    try:
        value: Any = json.loads(Path(text[1:]).read_text() if text.startswith("@") else text)
        if not isinstance(value, list):
            raise ConfigurationError("DRIFTLINE_SOURCES is not a JSON list")
        return [SOURCES.parse(source) for source in value]
    except ValidationError as error:
        # What was given is left out: it may hold a password.
        first = error.errors(include_input=False, include_context=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise ConfigurationError(f"DRIFTLINE_SOURCES: {field}: {first['msg']}") from None
    except (OSError, json.JSONDecodeError) as error:
        raise ConfigurationError(f"DRIFTLINE_SOURCES: {error}") from None
