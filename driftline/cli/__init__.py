"""The command line. It starts app and worker as processes and talks to the server; it imports neither, nor torch."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from driftline.cli import backtest, backup, control, data, doctor, history, infer, keys, models, up
from driftline.errors import DriftlineError
from driftline.version import __version__

app = typer.Typer(
    help="Driftline serves PyTorch models that keep learning.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(is_wanted: bool) -> None:
    if is_wanted:
        print(f"driftline {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    pass


for commands in (up, models, data, history, control, infer, backtest, keys, doctor, backup):
    commands.register(app)


def main() -> None:
    """Run the command line; an expected error is one sentence and exit code 1."""
    try:
        app(prog_name="driftline")
    except DriftlineError as error:
        print(f"driftline: {error.message}", file=sys.stderr)
        sys.exit(1)
