"""``backtest``: plays a recorded stream as the service would have received it."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from driftline.cli.common import AsJson, KeyText, Url, connect, load_settings, print_json, print_table
from driftline.errors import InvalidInput

if TYPE_CHECKING:
    from driftline.backtest.stream import Stream

SHOWN = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced",
    "kappa": "kappa",
    "log_loss": "log loss",
    "mae": "mae",
    "rmse": "rmse",
    "labels_per_second": "labels/s",
    "versions": "versions",
}
"""The metrics of a report, and their titles in the table."""

File = Annotated[
    Path | None, typer.Argument(metavar="FILE", help="CSV with a header, or Parquet; the oldest row first.")
]
Target = Annotated[str | None, typer.Option("--target", metavar="COLUMN", help="The column that is the label.")]
Model = Annotated[
    str | None,
    typer.Option("--model", metavar="NAME", help="Play what this model's log keeps, in the place of a file."),
]
Delay = Annotated[int, typer.Option("--delay", min=0, help="How many rows later a label comes.")]
Recipes = Annotated[
    list[Path] | None,
    typer.Option("--recipe", metavar="FILE", help="JSON: what to change in the recipe; may be repeated, to compare."),
]
Plot = Annotated[Path | None, typer.Option("--plot", metavar="PICTURE", help="Draw it: a .png, .svg or .pdf.")]
Output = Annotated[Path | None, typer.Option("--output", metavar="FILE", help="Write the JSON there.")]
Task = Annotated[
    Literal["classification", "regression"] | None,
    typer.Option("--task", show_default="regression for numbers with many different values"),
]
Drop = Annotated[list[str] | None, typer.Option("--drop", metavar="COLUMN", help="Leave it out; may be repeated.")]
MissingRule = Annotated[
    Literal["last", "error"],
    typer.Option("--missing", help="For a missing value: take the column's last one, or refuse the file."),
]
Limit = Annotated[int | None, typer.Option("--limit", min=1, metavar="ROWS", help="Play the first rows only.")]
Seed = Annotated[int, typer.Option("--seed", help="The same seed gives the same result.")]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(backtest)


def backtest(
    file: File = None,
    target: Target = None,
    model: Model = None,
    delay: Delay = 0,
    recipe: Recipes = None,
    plot: Plot = None,
    output: Output = None,
    task: Task = None,
    drop: Drop = None,
    missing: MissingRule = "last",
    limit: Limit = None,
    seed: Seed = 0,
    url: Url = None,
    key: KeyText = None,
    as_json: AsJson = False,
) -> None:
    """Play a recorded stream: each row predicted by the version of its time, then scored and learned.

    For example: driftline backtest history.csv --target sold --delay 100
    """
    from driftline.backtest import plot as plots

    with refusing():
        _check_writable(plot, output)
        if plot is not None:
            plots.check(plot)
        recipes = read_recipes(recipe or [], "default" if model is None else "current")
        if model is not None:
            stream = _kept_log(model, file, target, limit, url, key)
        else:
            stream = _recorded(file, target, task, drop or [], missing, limit)
        report = _play(stream, recipes, delay, seed)
        if output is not None:
            output.write_text(json.dumps(report, indent=1) + "\n")
        if plot is not None:
            plots.draw(report, plot)
    if as_json:
        print_json(report)
    else:
        show(report)


@contextlib.contextmanager
def refusing() -> Iterator[None]:
    """An error of the input is one line, and exit code 2."""
    try:
        yield
    except InvalidInput as error:
        print(f"driftline: {error.message}", file=sys.stderr)
        raise typer.Exit(2) from None


def _check_writable(*files: Path | None) -> None:
    """Checks before the backtest starts that the report can be written."""
    for file in files:
        if file is not None and (file.is_dir() or not file.parent.is_dir()):
            raise InvalidInput(f"{file} cannot be written: there is no folder for it", value=str(file))


def read_recipes(files: list[Path], usual: str) -> dict[str, dict[str, Any]]:
    """The changes to the recipe that each file holds, by the file's stem; without a file none, under the name ``usual``."""
    recipes: dict[str, dict[str, Any]] = {}
    for file in files:
        if file.stem in recipes:
            raise InvalidInput(f"two recipes are named {file.stem!r}; rename one of the files", value=file.stem)
        try:
            changes = json.loads(file.read_text())
        except OSError as error:
            raise InvalidInput(f"{file} cannot be read: {error.strerror}", value=str(file)) from None
        except ValueError as error:
            raise InvalidInput(f"{file} is not JSON: {error}", value=str(file)) from None
        if not isinstance(changes, dict):
            raise InvalidInput(
                f'{file} holds no recipe, which is an object such as {{"batch_size": 16}}', value=str(file)
            )
        recipes[file.stem] = changes
    return recipes or {usual: {}}


def _recorded(
    file: Path | None,
    target: str | None,
    task: Literal["classification", "regression"] | None,
    drop: list[str],
    missing: Literal["last", "error"],
    limit: int | None,
) -> Stream:
    from driftline.backtest import stream as streams
    from driftline.backtest import table

    if file is None:
        raise InvalidInput("name a FILE to play, or a model with --model")
    if target is None:
        raise InvalidInput("name the column that is the label with --target")
    return streams.of_table(table.read(file, limit), target, task=task, drop=drop, missing=missing)


def _kept_log(
    model: str, file: Path | None, target: str | None, limit: int | None, url: str | None, key: str | None
) -> Stream:
    from driftline.backtest import stream as streams

    if file is not None or target is not None:
        raise InvalidInput("--model plays the model's own log: without FILE and --target")
    with connect(url, key) as client:
        return streams.of_log(client.model(model)["spec"], client.log(model, limit=limit))


def _play(stream: Stream, recipes: Mapping[str, Mapping[str, Any]], delay: int, seed: int) -> dict[str, Any]:
    from driftline.backtest.replay import backtest as play

    with progress(len(recipes) * len(stream)) as advance:
        factories = load_settings().factories
        return play(stream, recipes, delay=delay, seed=seed, factories=factories, advance=advance)


@contextlib.contextmanager
def progress(total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar in a terminal; yields the function that is called with the number of rows done."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("rows", total=total)
        yield lambda rows: bar.advance(task, rows)


def show(report: Mapping[str, Any]) -> None:
    """Print a line for each contender."""
    names = report["mae" if report["stream"]["task"] == "regression" else "accuracy"]
    shown = {title: report[metric] for metric, title in SHOWN.items() if metric in report}
    rows = [
        {"": name.replace("_", " "), **{title: values.get(name) for title, values in shown.items()}} for name in names
    ]
    print_table(rows, ("", *shown), False, empty="")
    stream = report["stream"]
    skipped = f", {stream['skipped']:,} without a label left out" if stream["skipped"] else ""
    print(f"{stream['scored']:,} rows{skipped}; a label comes {report['delay']:,} rows after its prediction")
