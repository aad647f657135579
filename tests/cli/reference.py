"""The reference of all commands, as the app itself has them: ``python -m tests.cli.reference`` prints the table of the page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer

from driftline.cli import app

SHARED = {"--url", "--key", "--json", "--help"}
"""Options that the page tells of once."""


def commands(command: Any = None, path: str = "driftline") -> Iterator[tuple[str, Any]]:
    """Every command with the words that call it."""
    command = typer.main.get_command(app) if command is None else command
    for name, each in getattr(command, "commands", {}).items():
        if hasattr(each, "commands"):
            yield from commands(each, f"{path} {name}")
        else:
            yield f"{path} {name}", each


def row(path: str, command: Any) -> str:
    """The line of a command in the table."""
    arguments = [_argument(each) for each in command.params if each.param_type_name == "argument"]
    options = [_option(each) for each in command.params if each.param_type_name == "option"]
    told = ", ".join(each for each in options if each)
    summary = (command.help or "").strip().splitlines()[0]
    return f"| `{' '.join([path, *arguments])}` | {summary} | {told} |"


def _argument(argument: Any) -> str:
    name = (argument.metavar or argument.name.upper()).strip("[]").replace("|", "\\|")
    return name if argument.required else f"[{name}]"


def _option(option: Any) -> str:
    names = [name for name in option.opts if name.startswith("--")]
    if not names or names[0] in SHARED:
        return ""
    both = "/".join([names[0], *option.secondary_opts])
    return f"`{both}`" + (" (needed)" if option.required else "")


def table() -> list[str]:
    """The table of the page."""
    return ["| command | what it does | options |", "|---|---|---|", *(row(*each) for each in commands())]


if __name__ == "__main__":
    print("\n".join(table()))
