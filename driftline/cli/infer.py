"""``infer``: a spec from a file, with all that may be wrong about it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from driftline.cli.backtest import Drop, Task, refusing
from driftline.errors import InvalidInput

if TYPE_CHECKING:
    from driftline.tables.infer import Inference, InferenceOptions
    from driftline.tables.reading import ReadingOptions

File = Annotated[str, typer.Argument(metavar="FILE", help="CSV and its kin, Parquet, NDJSON; `-` is standard input.")]
Target = Annotated[str, typer.Option("--target", metavar="COLUMN", help="The column that is the label.")]
Types = Annotated[
    list[str] | None,
    typer.Option(
        "--type",
        metavar="COLUMN=KIND",
        help="What a column is: number, boolean, category, text, time, time:FORMAT, ignore; may be repeated.",
    ),
]
Name = Annotated[str | None, typer.Option("--name", help="The model's name.", show_default="the file's")]
Decimal = Annotated[
    Literal[".", ","] | None, typer.Option("--decimal", help="What stands before decimals.", show_default="as it seems")
]
Encoding = Annotated[
    str | None, typer.Option("--encoding", help="Such as utf-8, cp1252, utf-16.", show_default="as it seems")
]
Delimiter = Annotated[
    str | None,
    typer.Option("--delimiter", metavar="CHARACTER", help="What stands between cells.", show_default="as it seems"),
]
Header = Annotated[
    bool | None,
    typer.Option("--header/--no-header", help="Whether the first line names the columns.", show_default="as it seems"),
]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(infer)


def infer(
    file: File,
    target: Target,
    task: Task = None,
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

        reading = reading_of(encoding, delimiter, header)
        options: InferenceOptions = InferenceOptions(task, name, decimal, read_types(types or []), drop or [], reading)
        found = inferred(file, target, options)
    show(found)
    print(json.dumps(found.spec, indent=2, ensure_ascii=False))


def reading_of(encoding: str | None, delimiter: str | None, header: bool | None) -> ReadingOptions:
    """How a file is read, from the options; ``tab`` and ``\\t`` are a tab."""
    from driftline.tables.reading import ReadingOptions

    return ReadingOptions(encoding, "\t" if delimiter in ("\\t", "tab") else delimiter, header)


def read_types(given: list[str]) -> dict[str, str]:
    """The kinds of columns from ``COLUMN=KIND``; a column's own name may hold an equals sign."""
    types = {}
    for each in given:
        column, mark, kind = each.rpartition("=")
        if not mark or not column or not kind:
            raise InvalidInput(f"--type takes COLUMN=KIND, not {each!r}", field="type", value=each)
        types[column] = kind
    return types


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
    console.print(
        f"\n{found.rows:,} rows; {task} of {next(each.name for each in found.columns if each.field is None)}{listed}"
    )
    for doubt in found.doubts:
        console.print(Text(f"· {doubt.column}: {doubt}" if doubt.column else f"· {doubt}", style="yellow"))


def _share(missing: float) -> str:
    """A share in percent; a small one is not none."""
    return "" if not missing else f"{missing:.1%}" if missing >= 0.001 else "<0.1%"
