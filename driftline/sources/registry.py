"""Which kinds of sources there are, and a source from its JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from driftline.errors import ConfigurationError, InvalidInput
from driftline.sources.base import Source
from driftline.spec.parse import invalid
from driftline.spec.registry import Registry

SOURCES = Registry(Source, "driftline.sources", tag="type", group="driftline.sources")
URLS = frozenset({"url", "schema_registry"})
SECRET = frozenset({*URLS, "password", "token", "headers", "settings"})
"""Fields that hold passwords; of a URL the rest is shown."""
HIDDEN = "***"


def parse_source(value: Any) -> Source:
    """A source from its JSON; :class:`InvalidInput` names the field that does not fit."""
    if not isinstance(value, Mapping):
        raise InvalidInput(f"a source is an object with its type, not {value!r}", field="source", value=value)
    if isinstance(value.get("type"), str):
        SOURCES.get(value["type"])
    try:
        return SOURCES.parse(value)
    except ValidationError as error:
        wrong, reason = invalid(error, value), error.errors(include_input=False, include_context=False)[0]["msg"]
    field = str(wrong.details.get("field", ""))
    if SECRET & {*field.split(".")}:  # What was given is left out: it may hold a password.
        raise InvalidInput(f"{field}: {reason.removeprefix('Value error, ')}", field=field)
    raise wrong


def shown_spec(described: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of a source as it is shown to whoever may look."""
    return {name: _hidden(name, value) for name, value in described.items() if value is not None}


def _hidden(name: str, value: Any) -> Any:
    if isinstance(value, Mapping) and name not in SECRET:
        return shown_spec(value)
    if name not in SECRET or not value:
        return value
    if name not in URLS or not isinstance(value, str):
        return HIDDEN
    # A password may have any character: all up to the last @ is one.
    return _OPTION.sub(rf"\1{HIDDEN}", _USER.sub(rf"\1:{HIDDEN}@", value))


_USER = re.compile(r"^([\w+.-]+://[^:@/]*):.*@", re.S)
_OPTION = re.compile(r"([?&][^=&]*(?:pass|token|secret|key|sig)[^=&]*=)[^&]*", re.I)


def changed(described: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration with some fields changed: null takes one out, and what was hidden stays as it is."""
    for fixed in ("type", "name", "model", "mode"):
        if fixed in changes and changes[fixed] != described.get(fixed, "labels" if fixed == "mode" else None):
            message = f"{fixed}: it cannot be changed; remove the source and make another one"
            raise InvalidInput(message, field=fixed, value=changes[fixed])
    shown = shown_spec(described)
    kept = {name: value for name, value in changes.items() if not (HIDDEN in str(value) and shown.get(name) == value)}
    return {name: value for name, value in {**described, **kept}.items() if value is not None}


def parse_sources(text: str) -> tuple[list[Source], list[str]]:
    """The sources of ``DRIFTLINE_SOURCES``, each with a name, and what is wrong with those that cannot be read.

    Raises:
        ConfigurationError: it is no JSON list.
    """
    try:
        value: Any = json.loads(Path(text[1:]).read_text() if text.startswith("@") else text)
    except (OSError, json.JSONDecodeError) as error:
        raise ConfigurationError(f"DRIFTLINE_SOURCES: {error}") from None
    if not isinstance(value, list):
        raise ConfigurationError("DRIFTLINE_SOURCES is not a JSON list")
    found, wrong = [], []
    for number, described in enumerate(value, start=1):
        name = f"environment-{number}"
        try:
            source = parse_source(described)
            if not source.model:
                raise InvalidInput("model: it is missing", field="model")
            found.append(source if source.name else source.model_copy(update={"name": name}))
        except InvalidInput as error:
            # It stands in logs: what was given is left out.
            told_of = error.details.get("field") or "source"
            reason = error.message if told_of in ("type", "model") else f"{told_of}: it does not fit"
            wrong.append(f"DRIFTLINE_SOURCES[{number - 1}]: {reason}")
    return found, wrong


def check_paths(source: Source, folders: Sequence[str]) -> None:
    """:class:`InvalidInput` where a source reads or writes files that the operator has not opened to sources."""
    opened = [Path(folder).resolve() for folder in folders]
    own = [] if source.schema_file is None else [source.schema_file]
    for path in [*source.paths, *own, *(() if source.sink is None else source.sink.paths)]:
        found = Path(path).resolve()
        if not any(found == folder or folder in found.parents for folder in opened):
            told = ", ".join(map(str, opened)) or "none"
            message = f"{path} lies in no folder that DRIFTLINE_SOURCE_FOLDERS opens to sources ({told})"
            raise InvalidInput(message, field="path", value=path)
