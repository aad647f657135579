"""The command line. It starts app and worker as processes and talks to the server; it imports neither, nor torch."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from driftline.cli import (
    backtest,
    backup,
    control,
    data,
    doctor,
    encrypt,
    endings,
    events,
    forget,
    history,
    infer,
    jobs,
    keys,
    labellers,
    models,
    output,
    sources,
    top,
    up,
    versions,
)
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


for commands in (
    up,
    models,
    data,
    history,
    jobs,
    versions,
    control,
    forget,
    labellers,
    sources,
    events,
    top,
    infer,
    backtest,
    keys,
    doctor,
    backup,
    encrypt,
):
    commands.register(app)


def main() -> None:
    """Run the command line; see :mod:`driftline.cli.endings` for how it ends."""
    output.prepare_streams()
    if "_DRIFTLINE_COMPLETE" in os.environ:
        app(prog_name="driftline")
        return
    code = endings.run(lambda: app(prog_name="driftline", standalone_mode=False), as_json="--json" in sys.argv[1:])
    sys.exit(code)
