"""How a command ends: its exit code, and the error as a sentence or as JSON, on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any, Final

import typer

from driftline.cli.output import silence
from driftline.errors import Busy, DriftlineError, Forbidden, InvalidInput, Late, Unauthorized, Unavailable

EXIT_CODES: Final = {
    0: "It is done.",
    1: "It failed: there is no such thing, it conflicts with something, a job failed, rows were refused, …",
    2: "What was given is wrong: an option, a file, a value; nothing was changed.",
    3: "The server does not answer, is busy or too slow: the same command may succeed later.",
    4: "A key is needed, is unknown, or lacks the scope.",
    130: "Ctrl-C has ended it.",
}
"""What each exit code means."""
FAILED, WRONG, LATER, NO_KEY, STOPPED = 1, 2, 3, 4, 130
_CODES: Final[dict[type[DriftlineError], int]] = {
    InvalidInput: WRONG,
    **dict.fromkeys((Unavailable, Busy, Late), LATER),
    **dict.fromkeys((Unauthorized, Forbidden), NO_KEY),
}
# Typer has Click within it, or beside it, as it comes.
_UsageError: Final[type[BaseException]] = next(
    kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException"
)


def run(command: Callable[[], Any], *, as_json: bool) -> int:
    """Runs a command; gives its exit code. An error that can be expected is a sentence, never a traceback."""
    out = sys.stdout
    try:
        code = _run(command, as_json)
        out.flush()
        sys.stderr.flush()
        return code
    except BrokenPipeError:
        silence(out)
        return 0
    except OSError as error:
        silence(out)
        tell("output", f"what it says cannot be written: {error.strerror}", {}, as_json)
        return FAILED


def _run(command: Callable[[], Any], as_json: bool) -> int:
    try:
        return int(command() or 0)
    except DriftlineError as error:
        tell(error.code, error.message, error.details, as_json)
        return next((code for kind, code in _CODES.items() if isinstance(error, kind)), FAILED)
    except _UsageError as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            print(error, file=sys.stderr)
            return WRONG
        _tell_usage(error, as_json)
        return WRONG
    except (typer.Abort, KeyboardInterrupt):
        tell("stopped", "stopped", {}, as_json)
        return STOPPED
    except SystemExit:
        # Typer and rich end so where nobody reads the help any more; commands themselves end by Exit.
        return 0


def _tell_usage(error: Any, as_json: bool) -> None:
    context = getattr(error, "ctx", None)
    tell("usage", error.format_message(), {}, as_json)
    if context is not None and not as_json:
        print(f"{context.get_usage()}\nSee {context.command_path} --help", file=sys.stderr)


def tell(code: str, message: str, details: dict[str, Any], as_json: bool) -> None:
    """Says on standard error what went wrong."""
    if as_json:
        error: dict[str, Any] = {"code": code, "message": message}
        print(json.dumps({"error": error | ({"details": details} if details else {})}, default=str), file=sys.stderr)
    else:
        print(f"driftline: {message}", file=sys.stderr)
