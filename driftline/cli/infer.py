"""``infer``: a spec from a file, with all that may be wrong about it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from driftline.cli.backtest import refusing
from driftline.cli.table_options import (
    Decimal,
    Delimiter,
    Drop,
    Encoding,
    Header,
    Intervals,
    Targets,
    Task,
    Types,
    read_levels,
    read_types,
    reading_options,
)

if TYPE_CHECKING:
    from driftline.tables.infer import Inference, InferenceOptions

File = Annotated[str, typer.Argument(metavar="FILE", help="CSV and its kin, Parquet, NDJSON; `-` is standard input.")]
Name = Annotated[str | None, typer.Option("--name", help="The model's name.", show_default="the file's")]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(infer)


def infer(
    file: File,
    target: Targets,
    task: Task = None,
    intervals: Intervals = None,
    types: Types = None,
    drop: Drop = None,
    name: Name = None,
    decimal: Decimal = None,
    encoding: Encoding = None,
    delimiter: Delimiter = None,
    header: Header = None,
) -> None:
    """Print the spec of a model for a file; what was decided, and all doubts, on standard error.

    For example: driftline infer history.csv --target sold > spec.json
    """
    with refusing():
        from driftline.tables.infer import InferenceOptions
        from driftline.tables.infer import infer as inferred

        reading = reading_options(encoding, delimiter, header)
        kinds, levels = read_types(types or []), read_levels(intervals)
        options: InferenceOptions = InferenceOptions(task, name, decimal, kinds, drop or [], reading, levels)
        found = inferred(file, target, options)
    show(found)
    print(json.dumps(found.spec, indent=2, ensure_ascii=False))


def show(found: Inference) -> None:
    """Prints the columns as a table, then the doubts about the file and the target, on standard error."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(stderr=True, highlight=False, markup=False)
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
    console.print(table)
    task = found.spec["task"]
    classes = found.spec.get("classes")
    listed = "" if classes is None else f", {classes if classes == 'open' else len(classes)} classes"
    targets = ", ".join(each.name for each in found.columns if each.field is None)
    console.print(f"\n{found.rows:,} rows; {task} of {targets}{listed}")
    for doubt in found.doubts:
        console.print(Text(f"· {doubt.column}: {doubt}" if doubt.column else f"· {doubt}", style="yellow"))


def _share(missing: float) -> str:
    """A share in percent; a small one is not none."""
    return "" if not missing else f"{missing:.1%}" if missing >= 0.001 else "<0.1%"
