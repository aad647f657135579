"""What the commands share: options, reading JSON, printing results."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from driftline.errors import ConfigurationError

if TYPE_CHECKING:
    from driftline.client.clients import Client
    from driftline.settings import Settings

Url = Annotated[
    str | None, typer.Option("--url", envvar="DRIFTLINE_URL", help="The server.", show_default="this machine")
]
KeyText = Annotated[str | None, typer.Option("--key", envvar="DRIFTLINE_KEY", help="An API key.", show_envvar=True)]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
ModelName = Annotated[str, typer.Argument(metavar="MODEL", help="The model's name.")]
DataDir = Annotated[
    Path | None, typer.Option("--data-dir", help="Where everything is kept.", show_default="driftline-data")
]

MOMENTS = frozenset({"created"})
"""Fields in seconds since 1970, which are shown as times of this machine's zone."""


def connect(url: str | None, key: str | None) -> Client:
    """The client of this command. It asks once: whoever typed the command sees at once what is wrong."""
    from driftline.client.clients import Client

    return Client(url, key=key, timeout=60.0, retries=0)


def patient(url: str | None, key: str | None, model: str) -> Client:
    """The client of a command that runs for long: it outlasts a server that is busy or starts again. Whether there is such a
    server, and the ``model``, is asked once."""
    from driftline.client.clients import Client

    with connect(url, key) as client:
        client.model(model)
    return Client(url, key=key, timeout=300.0, retries=200)


def load_settings(**given: Any) -> Settings:
    """The settings of the environment, with the options that were given."""
    from pydantic import ValidationError

    from driftline.settings import Settings

    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        name = "_".join(str(part) for part in first["loc"])
        raise ConfigurationError(f"DRIFTLINE_{name.upper()}: {first['msg']}, not {first['input']!r}") from None


def read_text(argument: str) -> str:
    """The argument itself, the content of the file for ``@file``, or standard input for ``-``."""
    if argument == "-":
        return sys.stdin.read()
    if argument.startswith("@"):
        try:
            return Path(argument[1:]).read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise typer.BadParameter(f"{argument[1:]} cannot be read: {error}") from None
    return argument


def parse_json(text: str) -> Any:
    """A value from JSON; a usage error if it is not JSON."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise typer.BadParameter(f"this is not JSON: {error}") from None


def read_json(argument: str | None) -> Any:
    """The JSON of an argument: itself, ``@file`` or ``-``; None if it was not given."""
    return None if argument is None else parse_json(read_text(argument))


def print_json(value: Any) -> None:
    """Print ``value`` for programs."""
    print(json.dumps(value, ensure_ascii=False))


def print_fields(value: Mapping[str, Any], as_json: bool) -> None:
    """Print an object, a line for each of its fields."""
    if as_json:
        print_json(value)
        return
    width = max(map(len, value), default=0)
    for name, field in value.items():
        print(f"{name:<{width}}  {_cell(name, field)}")


def print_table(rows: Iterable[Mapping[str, Any]], columns: Iterable[str], as_json: bool, *, empty: str) -> None:
    """Print objects, a line for each; ``empty`` if there are none."""
    rows = list(rows)
    if as_json:
        print_json(rows)
        return
    if not rows:
        print(empty)
        return
    from rich.console import Console
    from rich.table import Table

    shown = [column for column in columns if any(row.get(column) is not None for row in rows)]
    table = Table(*shown, box=None, header_style="bold", pad_edge=False)
    for row in rows:
        table.add_row(*(_cell(column, row.get(column)) for column in shown))
    Console(highlight=False, markup=False).print(table)


def _cell(name: str, value: Any) -> str:
    if value is None:
        return ""
    if name in MOMENTS and isinstance(value, int | float):
        return datetime.fromtimestamp(value).astimezone().isoformat(sep=" ", timespec="seconds")
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
