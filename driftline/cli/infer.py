"""``infer``: a spec from a file, with all that may be wrong about it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from driftline.cli.output import busy, console
from driftline.cli.parameters import expanded
from driftline.cli.table_options import File, ReadingChoices, TableChoices, Targets

if TYPE_CHECKING:
    from driftline.tables.infer import Inference

Name = Annotated[str | None, typer.Option("--name", help="The model's name.", show_default="the file's")]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(expanded(infer))


def infer(file: File, target: Targets, choices: TableChoices, reading: ReadingChoices, name: Name = None) -> None:
    """Print the spec of a model for a file; what was decided, and all doubts, on standard error.

    For example: driftline infer history.csv --target sold > spec.json
    """
    from driftline.tables.infer import infer as inferred

    with busy(f"reading {file}"):
        found = inferred(file, target, choices.inference(reading, name))
    show(found)
    print(json.dumps(found.spec, indent=2, ensure_ascii=False))


def show(found: Inference) -> None:
    """Prints the columns as a table, then the doubts about the file and the target, on standard error."""
    from rich.table import Table
    from rich.text import Text

    screen = console(is_error=True)
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("column", overflow="fold", max_width=30)
    table.add_column("kind")
    table.add_column("missing", justify="right")
    table.add_column("examples", overflow="fold", max_width=34)
    table.add_column("doubts", overflow="fold")
    for column in found.columns:
        examples = ", ".join(each if len(each) <= 24 else f"{each[:23]}…" for each in column.examples)
        doubts = Text("\n".join(f"· {each}" for each in column.doubts), style="yellow")
        kind = Text(column.kind, style="dim" if column.kind == "ignore" else "")
        table.add_row(Text(column.name), kind, _share(column.missing), Text(examples), doubts)
    screen.print(table)
    task = found.spec["task"]
    classes = found.spec.get("classes")
    listed = "" if classes is None else f", {classes if classes == 'open' else len(classes)} classes"
    targets = ", ".join(each.name for each in found.columns if each.field is None)
    screen.print(f"\n{found.rows:,} rows; {task} of {targets}{listed}")
    for doubt in found.doubts:
        screen.print(Text(f"· {doubt.column}: {doubt}" if doubt.column else f"· {doubt}", style="yellow"))


def _share(missing: float) -> str:
    """A share in percent; a small one is not none."""
    return "" if not missing else f"{missing:.1%}" if missing >= 0.001 else "<0.1%"
