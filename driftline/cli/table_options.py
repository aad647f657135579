"""What the commands that read tables share: their options, and what is in doubt, in short."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from driftline.errors import InvalidInput

if TYPE_CHECKING:
    from driftline.tables.doubt import Doubt
    from driftline.tables.infer import Inference
    from driftline.tables.reading import ReadingOptions

MAX_DOUBTS = 10

Task = Annotated[
    Literal["classification", "multilabel", "regression"] | None,
    typer.Option("--task", show_default="as the target seems"),
]
TARGETS = typer.Option(
    "--target", metavar="COLUMN", help="The column that is the label; may be repeated: the outputs of a regression."
)
Targets = Annotated[list[str], TARGETS]
Intervals = Annotated[
    str | None,
    typer.Option("--intervals", metavar="LEVELS", help="Prediction intervals of a regression, such as 0.1,0.9."),
]
Drop = Annotated[list[str] | None, typer.Option("--drop", metavar="COLUMN", help="Leave it out; may be repeated.")]
Types = Annotated[
    list[str] | None,
    typer.Option(
        "--type",
        metavar="COLUMN=KIND",
        help="What a column is: number, boolean, category, text, time, time:FORMAT, ignore; may be repeated.",
    ),
]
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


def reading_options(encoding: str | None, delimiter: str | None, header: bool | None) -> ReadingOptions:
    """How a file is read, as the options say; a tab may be given by its name."""
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


def read_levels(given: str | None) -> list[float] | None:
    """The levels of intervals from ``0.1,0.9``."""
    if given is None:
        return None
    try:
        return [float(each) for each in given.split(",")]
    except ValueError:
        message = f"--intervals takes levels such as 0.1,0.9, not {given!r}"
        raise InvalidInput(message, field="intervals", value=given) from None


def show_in_short(found: Inference) -> None:
    """Prints the task and the kinds of columns on one line, then the doubts, on standard error."""
    kinds = [each.kind for each in found.columns if each.field is not None]
    counts = ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds))
    target = ", ".join(each.name for each in found.columns if each.field is None)
    print(f"{found.rows:,} rows; {found.spec['task']} of {target}; columns: {counts}", file=sys.stderr)
    show_doubts([*(doubt for column in found.columns for doubt in column.doubts), *found.doubts])


def show_doubts(doubts: Iterable[Doubt]) -> None:
    """Prints the first doubts on standard error, and how many more there are."""
    found = list(doubts)
    for doubt in found[:MAX_DOUBTS]:
        print(f"· {doubt.column}: {doubt}" if doubt.column else f"· {doubt}", file=sys.stderr)
    if len(found) > MAX_DOUBTS:
        print(f"· and {len(found) - MAX_DOUBTS} more, which `driftline infer` shows", file=sys.stderr)
