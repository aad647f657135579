"""What the processes write to their logs: lines for people at a terminal, JSON for everything that collects them."""

from __future__ import annotations

import logging
import sys
from typing import Any, Literal

import structlog

LogFormat = Literal["auto", "console", "json"]

logger = logging.getLogger("driftline.events")
WARNINGS = frozenset({"alarm", "refusal"})
"""The kinds of events that are more than information."""


def set_up_logging(level: str, form: LogFormat) -> None:
    """Makes all log lines of this process, those of libraries included, what the settings ask for.

    Args:
        form: ``console`` or ``json``; ``auto``: the first at a terminal.
    """
    is_console = form == "console" or (form == "auto" and sys.stderr.isatty())
    renderer: Any = (
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        if is_console
        else structlog.processors.JSONRenderer()
    )
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        _without_colour,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    # Without the values of variables: they hold rows, labels and keys.
    plain = structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False))
    exceptions: list[Any] = [] if is_console else [plain]
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *exceptions, renderer],
    )
    handler = logging.StreamHandler()
    handler.setFormatter(formatter)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


def tell(model: str, kind: str, message: str, **fields: Any) -> None:
    """Logs what has happened to a model, with the fields that are known."""
    known = {name: value for name, value in fields.items() if value not in (None, "", {}, ())}
    level = logging.WARNING if kind in WARNINGS else logging.INFO
    logger.log(level, "%s", message, extra={"model": model, "kind": kind, **known})


def _without_colour(logger: Any, name: str, fields: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """The server of HTTP says everything twice, once in colour."""
    fields.pop("color_message", None)
    return fields
