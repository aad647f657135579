"""What the commands that read tables share: their options, and what is in doubt, in short."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from driftline.errors import InvalidInput

if TYPE_CHECKING:
    from driftline.tables.doubt import Doubt
    from driftline.tables.infer import Inference, InferenceOptions
    from driftline.tables.reading import ReadingOptions

MAX_DOUBTS = 10

File = Annotated[str, typer.Argument(metavar="FILE", help="CSV and its kin, Parquet, NDJSON; `-` is standard input.")]
TARGETS = typer.Option(
    "--target", metavar="COLUMN", help="The column that is the label; may be repeated: the outputs of a regression."
)
Targets = Annotated[list[str], TARGETS]
OptionalTargets = Annotated[list[str] | None, TARGETS]
Refused = Annotated[
    Path | None,
    typer.Option("--refused", metavar="PATH", help="Where refused rows go.", show_default="FILE.refused.csv"),
]


@dataclass(frozen=True)
class ReadingChoices:
    """How a file is read, where the user decides it."""

    decimal: Annotated[
        Literal[".", ","] | None,
        typer.Option("--decimal", help="What stands before decimals.", show_default="as it seems"),
    ] = None
    encoding: Annotated[
        str | None, typer.Option("--encoding", help="Such as utf-8, cp1252, utf-16.", show_default="as it seems")
    ] = None
    delimiter: Annotated[
        str | None,
        typer.Option("--delimiter", metavar="CHARACTER", help="What stands between cells.", show_default="as it seems"),
    ] = None
    header: Annotated[
        bool | None,
        typer.Option(
            "--header/--no-header", help="Whether the first line names the columns.", show_default="as it seems"
        ),
    ] = None

    def reading(self) -> ReadingOptions:
        """How a file is read; a tab may be given by its name."""
        from driftline.tables.reading import ReadingOptions

        delimiter = "\t" if self.delimiter in ("\\t", "tab") else self.delimiter
        return ReadingOptions(self.encoding, delimiter, self.header)

    def given(self) -> dict[str, Any]:
        """The options by their names, for a refusal of those that are given."""
        return {
            **{"--decimal": self.decimal, "--encoding": self.encoding},
            **{"--delimiter": self.delimiter, "--header": self.header},
        }


@dataclass(frozen=True)
class TableChoices:
    """What a table is, where the user decides it; all else its rows say."""

    task: Annotated[
        Literal["classification", "multilabel", "regression"] | None,
        typer.Option("--task", show_default="as the target seems"),
    ] = None
    intervals: Annotated[
        str | None,
        typer.Option("--intervals", metavar="LEVELS", help="Prediction intervals of a regression, such as 0.1,0.9."),
    ] = None
    types: Annotated[
        list[str] | None,
        typer.Option(
            "--type",
            metavar="COLUMN=KIND",
            help="What a column is: number, boolean, category, text, time, time:FORMAT, ignore; may be repeated.",
        ),
    ] = None
    drop: Annotated[
        list[str] | None, typer.Option("--drop", metavar="COLUMN", help="Leave it out; may be repeated.")
    ] = None

    def inference(
        self, reading: ReadingChoices, name: str | None = None, types: dict[str, str] | None = None
    ) -> InferenceOptions:
        """The options of an inference; ``types`` are kinds of columns beside those that are given."""
        from driftline.tables.infer import InferenceOptions

        kinds = {**(types or {}), **self.kinds()}
        return InferenceOptions(
            *(self.task, name, reading.decimal, kinds, self.drop or [], reading.reading(), self.levels())
        )

    def kinds(self) -> dict[str, str]:
        """The kinds of columns from ``COLUMN=KIND``; a column's own name may hold an equals sign."""
        kinds = {}
        for each in self.types or ():
            column, mark, kind = each.rpartition("=")
            if not mark or not column or not kind:
                raise InvalidInput(f"--type takes COLUMN=KIND, not {each!r}", field="type", value=each)
            kinds[column] = kind
        return kinds

    def levels(self) -> list[float] | None:
        """The levels of intervals from ``0.1,0.9``."""
        if self.intervals is None:
            return None
        try:
            return [float(each) for each in self.intervals.split(",")]
        except ValueError:
            message = f"--intervals takes levels such as 0.1,0.9, not {self.intervals!r}"
            raise InvalidInput(message, field="intervals", value=self.intervals) from None

    def given(self) -> dict[str, Any]:
        """The options by their names, for a refusal of those that are given."""
        return {
            **{"--task": self.task, "--intervals": self.intervals},
            **{"--type": self.types, "--drop": self.drop},
        }


@dataclass(frozen=True)
class PastChoices:
    """When rows came and their labels were known, and how many of them count."""

    delay: Annotated[
        int, typer.Option("--delay", min=0, metavar="ROWS", help="How many rows later a label was known.")
    ] = 0
    label_time: Annotated[
        str | None,
        typer.Option("--label-time", metavar="COLUMN", help="Instead: the column that says when the label was known."),
    ] = None
    time: Annotated[
        str | None,
        typer.Option(
            "--time",
            metavar="COLUMN",
            help="The column that says when a row came: rows are put in its order.",
            show_default="with --label-time the model's only field of a time",
        ),
    ] = None
    limit: Annotated[int | None, typer.Option("--limit", min=1, metavar="ROWS", help="Take the first rows only.")] = (
        None
    )

    def check(self) -> None:
        """:class:`InvalidInput` where labels are late in two ways."""
        if self.delay and self.label_time is not None:
            raise InvalidInput("a label comes --delay rows later, or at its --label-time, not both", field="delay")

    def given(self) -> dict[str, Any]:
        """The options by their names, for a refusal of those that are given."""
        return {
            **{"--delay": self.delay or None, "--label-time": self.label_time},
            **{"--time": self.time, "--limit": self.limit},
        }


def refuse_options(options: dict[str, Any], needed: str) -> None:
    """A usage error where options are given that are for what is ``needed``, and not there."""
    given = [name for name, value in options.items() if value not in (None, False)]
    if given:
        raise typer.BadParameter(f"{', '.join(given)}: only for {needed}")


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
