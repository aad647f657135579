"""What commands print: for people in a terminal, whole and dated in a pipe, as JSON for programs."""

from __future__ import annotations

import codecs
import contextlib
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TextIO

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

MOMENTS: Final = frozenset({"created", "time", "began", "ended", "started", "since", "expires"})
"""Fields in seconds since 1970: shown as how long ago in a terminal, else by ISO 8601."""
WHOLE: Final = frozenset({"id", "job", "job_id", "name", "model", "state", "version", *MOMENTS})
"""Columns that are never broken over two lines."""
IN_A_PIPE: Final = 100_000
"""Characters of a line that nobody sees as a terminal does: no table is wider."""
PLAIN: Final = {
    **{"·": "-", "→": "->", "←": "<-", "…": "...", "✓": "+", "✗": "x", "±": "+-", "–": "-", "—": "-"},
    **{"×": "x", "≤": "<=", "≥": ">=", "│": "|", "└": "+", "─": "-", "▁": "_", "█": "#"},
}
"""What stands for a character where the encoding has none for it."""
ERRORS: Final = "driftline.plain"


def prepare_streams() -> None:
    """Lets standard output and error take any text: what their encoding lacks is written plainly, and nothing fails for it."""
    codecs.register_error(ERRORS, _plainly)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=ERRORS)


def _plainly(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    part = error.object[error.start : error.end]
    return "".join(PLAIN.get(each) or _escaped(each) for each in part), error.end


def _escaped(character: str) -> str:
    """A character as JSON escapes it, so that JSON stays JSON."""
    return json.dumps(character)[1:-1]


def silence(stream: TextIO) -> None:
    """Lets nothing more be written, also not at the end of the process: who reads it has gone."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    except (OSError, ValueError):
        return


def is_terminal() -> bool:
    """Whether people see what is printed."""
    return sys.stdout.isatty()


def console(*, is_error: bool = False) -> Console:
    """What prints tables: as wide as the terminal, else without an end."""
    from rich.console import Console

    class Lasting(Console):
        """A console that tells when its reader has gone."""

        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    stream = sys.stderr if is_error else sys.stdout
    width = None if stream.isatty() else IN_A_PIPE
    return Lasting(stderr=is_error, highlight=False, markup=False, emoji=False, width=width)


@contextlib.contextmanager
def busy(what: str) -> Iterator[None]:
    """Shows in a terminal that something goes on, on standard error, for as long as it does."""
    screen = console(is_error=True)
    if not screen.is_terminal:
        yield
        return
    with screen.status(f"{what} …"):
        yield


def print_json(value: Any) -> None:
    """Print ``value`` for programs, with moments by ISO 8601."""
    takes_all = (sys.stdout.encoding or "").lower().startswith("utf")
    print(json.dumps(with_iso(value), ensure_ascii=not takes_all))


def with_iso(value: Any, name: str = "") -> Any:
    """A value of JSON with its moments as texts.

    >>> with_iso({"created": 1764482735.5, "spec": {"time": None}})
    {'created': '2025-11-30T06:05:35Z', 'spec': {'time': None}}
    """
    if isinstance(value, Mapping):
        return {key: with_iso(part, key) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [with_iso(part) for part in value]
    return iso_text(value) if _is_moment(name, value) else value


def print_fields(value: Mapping[str, Any], as_json: bool) -> None:
    """Print an object, a line for each of its fields; objects within it have a line for each of theirs."""
    if as_json:
        print_json(value)
        return
    lines = list(_lines(value))
    width = max((len(name) for name, _ in lines), default=0)
    for name, text in lines:
        print(f"{name:<{width}}  {text}".rstrip())


def _lines(value: Mapping[str, Any], above: str = "") -> Iterable[tuple[str, str]]:
    for name, field in value.items():
        path = f"{above}{name}"
        if isinstance(field, Mapping) and field:
            yield from _lines(field, f"{path} ")
        elif field is not None or not above:
            yield path, cell_text(name, field)


def print_table(rows: Iterable[Mapping[str, Any]], columns: Iterable[str], as_json: bool, *, empty: str) -> None:
    """Print objects, a line for each; ``empty`` if there are none."""
    rows = list(rows)
    if as_json:
        print_json(rows)
    elif not rows:
        print(empty)
    elif is_terminal():
        console().print(table_of(rows, columns))
    else:
        for line in _drawn(table_of(rows, columns)):
            print(line)


def _drawn(table: Table) -> Iterator[str]:
    """The lines of a table without an end, and without blanks at theirs."""
    screen = console()
    for line in screen.render_lines(table, pad=False):
        yield "".join(segment.text for segment in line).rstrip()


def table_of(rows: Sequence[Mapping[str, Any]], columns: Iterable[str]) -> Table:
    """A table of those of the columns that any of the rows has."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold", pad_edge=False)
    shown = [column for column in columns if any(row.get(column) is not None for row in rows)]
    for column in shown:
        title = column.replace("_", " ")
        are_numbers = all(_is_number(row.get(column)) for row in rows) and column not in MOMENTS
        justify: Any = "right" if are_numbers else "left"
        table.add_column(title, justify=justify, overflow="fold", no_wrap=column in WHOLE)
    for row in rows:
        table.add_row(*(Text(cell_text(column, row.get(column)), _style(column, row)) for column in shown))
    return table


def spread(row: Mapping[str, Any], field: str) -> dict[str, Any]:
    """A row with the parts of one of its objects as fields of its own.

    >>> spread({"version": 3, "scores": {"accuracy": 0.9}}, "scores")
    {'version': 3, 'accuracy': 0.9}
    """
    parts = row.get(field)
    if not isinstance(parts, Mapping):
        return dict(row)
    return {**{name: value for name, value in row.items() if name != field}, **parts}


def cell_text(name: str, value: Any) -> str:
    """A value as it is shown."""
    if value is None:
        return ""
    if _is_moment(name, value):
        return moment_text(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(with_iso(value), ensure_ascii=False)


def moment_text(seconds: float) -> str:
    """A moment, in seconds since 1970: how long ago in a terminal, else by ISO 8601."""
    return ago_text(seconds) if is_terminal() else iso_text(seconds)


def iso_text(seconds: float) -> str:
    """A moment, in seconds since 1970, by ISO 8601, in UTC.

    >>> iso_text(1764482735.5)
    '2025-11-30T06:05:35Z'
    """
    return datetime.fromtimestamp(int(seconds), UTC).isoformat().replace("+00:00", "Z")


def ago_text(seconds: float, now: float | None = None) -> str:
    """A moment by how long ago it was.

    >>> [ago_text(100 - ago, 100) for ago in (0, 42, 200, 9000, 200000, -90)]
    ['just now', '42 s ago', '3 min ago', '2 h ago', '2 days ago', 'in 90 s']
    """
    past = (time.time() if now is None else now) - seconds
    if -5 < past < 5:
        return "just now"
    for unit, length, least in (("days", 86400, 2), ("h", 3600, 2), ("min", 60, 2), ("s", 1, 0)):
        if abs(past) >= least * length:
            amount = f"{int(abs(past) // length)} {unit}"
            return f"{amount} ago" if past > 0 else f"in {amount}"
    return "just now"


def _is_moment(name: str, value: Any) -> bool:
    return name in MOMENTS and isinstance(value, int | float) and not isinstance(value, bool) and value > 1e8


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _style(column: str, row: Mapping[str, Any]) -> str:
    """The colour of a state."""
    if column not in ("state", "kind"):
        return ""
    return STYLES.get(str(row.get(column)), "")


STYLES: Final = {
    **{"succeeded": "green", "served": "green", "learning": "green", "running": "cyan", "queued": "dim", "idle": "dim"},
    **{"failed": "bold red", "rejected": "red", "quarantined": "red", "refusal": "yellow", "standing": "bold yellow"},
    **{"paused": "yellow", "cancelled": "yellow", "alarm": "bold yellow", "rollback": "magenta", "hanging": "bold red"},
}
