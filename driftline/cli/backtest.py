"""``backtest``: plays a recorded stream as the service would have received it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from driftline.cli.common import Server, load_settings
from driftline.cli.output import print_json, print_table
from driftline.cli.parameters import expanded
from driftline.cli.table_options import (
    OptionalTargets,
    PastChoices,
    ReadingChoices,
    TableChoices,
    show_doubts,
    show_in_short,
)
from driftline.cli.watch import watching
from driftline.errors import InvalidInput
from driftline.support.cores import usable_cores
from driftline.support.formatting import count_text
from driftline.support.json_text import loads

if TYPE_CHECKING:
    from driftline.backtest.stream import Stream
    from driftline.spec import ModelSpec

SHOWN = {
    "accuracy": "accuracy",
    "hamming_loss": "hamming",
    "subset_accuracy": "exact",
    "micro_f1": "micro f1",
    "macro_f1": "macro f1",
    "balanced_accuracy": "balanced",
    "kappa": "kappa",
    "auc": "auc",
    "average_precision": "ap",
    "log_loss": "log loss",
    "normalized_mae": "error",
    "mae": "mae",
    "rmse": "rmse",
    "coverage": "coverage",
    "width": "width",
    "pinball_loss": "pinball",
    "labels_per_second": "rows/s",
    "versions": "versions",
}
"""The metrics of a report, and their titles in the table."""

MAX_CLASSES = 8
"""Classes whose recall is in the table."""

File = Annotated[
    str | None,
    typer.Argument(
        metavar="FILE", help="CSV and its kin, Parquet, NDJSON; `-` is standard input. The oldest row first."
    ),
]
Model = Annotated[
    str | None,
    typer.Option("--model", metavar="NAME", help="Play what this model's log keeps, in the place of a file."),
]
Recipes = Annotated[
    list[Path] | None,
    typer.Option("--recipe", metavar="FILE", help="JSON: what to change in the recipe; may be repeated, to compare."),
]
Plot = Annotated[Path | None, typer.Option("--plot", metavar="PICTURE", help="Draw it: a .png, .svg or .pdf.")]
Output = Annotated[Path | None, typer.Option("--output", metavar="FILE", help="Write the JSON there.")]
SpecFile = Annotated[
    Path | None,
    typer.Option(
        "--spec", metavar="SPEC.json", help="Play the file with this spec, in the place of what `infer` would say."
    ),
]
WORTH_PROCESSES = 2000
"""Rows of a stream; a shorter one is played sooner than processes for its recipes have begun."""
Watch = Annotated[
    bool, typer.Option("--watch", help="Show rows, rate, time left and the running measure on standard error.")
]
Processes = Annotated[
    int | None,
    typer.Option(
        "--processes",
        min=1,
        help="Recipes that are played at once.",
        show_default="as many as cores, for a long stream",
    ),
]
Seed = Annotated[int, typer.Option("--seed", help="The same seed gives the same result.")]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(expanded(backtest))


def backtest(
    choices: TableChoices,
    reading: ReadingChoices,
    past: PastChoices,
    server: Server,
    file: File = None,
    target: OptionalTargets = None,
    model: Model = None,
    recipe: Recipes = None,
    spec: SpecFile = None,
    seed: Seed = 0,
    processes: Processes = None,
    watch: Watch = False,
    plot: Plot = None,
    output: Output = None,
) -> None:
    """Play a recorded stream: each row predicted by the version of its time, then scored and learned.

    For example: driftline backtest history.csv --target sold --delay 100
    """
    from driftline.backtest import plot as plots

    _check_writable(plot, output)
    if plot is not None:
        plots.check(plot)
    past.check()
    recipes = read_recipes(recipe or [], "default" if model is None else "current")
    if model is not None:
        if file is not None or target or spec is not None or past.label_time is not None or past.time is not None:
            raise InvalidInput("--model plays the model's own log: without FILE, --target, --spec and times")
        stream = _kept_log(model, past.limit, server)
    else:
        stream = _recorded(file, target, spec, choices, reading, past)
    report = _play(stream, recipes, past.delay, seed, watch, processes)
    if output is not None:
        output.write_text(json.dumps(report, indent=1) + "\n")
    if plot is not None:
        plots.draw(report, plot)
    if server.as_json:
        print_json(report)
    else:
        show(report)


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
            changes = loads(file.read_bytes(), str(file))
        except OSError as error:
            raise InvalidInput(f"{file} cannot be read: {error.strerror}", value=str(file)) from None
        if not isinstance(changes, dict):
            raise InvalidInput(
                f'{file} holds no recipe, which is an object such as {{"batch_size": 16}}', value=str(file)
            )
        recipes[file.stem] = changes
    return recipes or {usual: {}}


def _recorded(
    file: str | None,
    target: list[str] | None,
    spec: Path | None,
    choices: TableChoices,
    reading: ReadingChoices,
    past: PastChoices,
) -> Stream:
    """The rows of a file, with the spec that is given, or else with what the file says."""
    from driftline.backtest.history import HistoryOptions, read_history
    from driftline.spec import ModelSpec, parse
    from driftline.tables.infer import infer

    if file is None:
        raise InvalidInput("name a FILE to play, or a model with --model")
    if not target:
        raise InvalidInput("name the column that is the label with --target")
    when = past.time, past.label_time, past.limit
    with _twice_readable(file) as path:
        if spec is not None:
            if choices.task is not None or choices.types or choices.intervals:
                raise InvalidInput(
                    "--spec says what each column and the target is: without --task, --type and --intervals"
                )
            parsed = read_spec(spec)
            options = HistoryOptions(choices.drop or [], reading.decimal, *when, reading.reading())
        else:
            drop = [column for column in choices.drop or () if column != past.label_time]
            found = infer(
                path,
                target,
                dataclasses.replace(choices, drop=drop).inference(
                    reading, types={} if past.time is None else {past.time: "time"}
                ),
            )
            show_in_short(found)
            parsed = parse(ModelSpec, found.spec)
            options = HistoryOptions(drop, found.decimals, *when, found.reading)
        history = read_history(path, target, parsed, options)
    if spec is not None:
        show_doubts(history.doubts)
    if history.stream.skipped:
        shown = "; ".join(map(str, history.refused[:3])) + ("; …" if history.stream.skipped > 3 else "")
        print(f"{count_text(history.stream.skipped, 'row')} cannot be read: {shown}", file=sys.stderr)
    return history.stream


@contextlib.contextmanager
def _twice_readable(file: str) -> Iterator[str]:
    """The file, or a copy of standard input, which is read once to see what it is, and again to play it."""
    if file != "-":
        yield file
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "standard-input")
        with copy.open("wb") as opened:
            shutil.copyfileobj(sys.stdin.buffer, opened)
        yield str(copy)


def read_spec(file: Path) -> ModelSpec:
    """The spec that a file holds; a name is not needed to play it."""
    from driftline.spec import ModelSpec, parse

    try:
        found = loads(file.read_bytes(), str(file))
    except OSError as error:
        raise InvalidInput(f"{file} cannot be read: {error.strerror}", value=str(file)) from None
    if not isinstance(found, dict):
        raise InvalidInput(f"{file} holds no spec, which is an object", value=str(file))
    return parse(ModelSpec, {"name": "backtest", **found})


def _kept_log(model: str, limit: int | None, server: Server) -> Stream:
    from driftline.backtest import stream as streams

    with server.client() as client:
        return streams.of_log(client.model(model)["spec"], client.log(model, limit=limit))


def _play(
    stream: Stream,
    recipes: Mapping[str, Mapping[str, Any]],
    delay: int,
    seed: int,
    watch: bool,
    processes: int | None,
) -> dict[str, Any]:
    from driftline.backtest.play_pool import PlayPool
    from driftline.backtest.replay import backtest as play

    settings = load_settings()
    is_on_ray = settings.engine == "ray"
    usual = len(recipes) if is_on_ray else usable_cores() if len(stream) >= WORTH_PROCESSES else 1
    pool = PlayPool(processes or usual, is_on_ray, on_lost=partial(print, file=sys.stderr))
    with watching(recipes, len(stream), stream.spec.measures[0], watch) as advance:
        return play(
            stream, recipes, delay=delay, seed=seed, factories=settings.factories, advance=advance, play_all=pool
        )


def show(report: Mapping[str, Any]) -> None:
    """Print a line for each contender, then how often it was right in each class."""
    names = next(report[metric] for metric in ("accuracy", "hamming_loss", "normalized_mae", "mae") if metric in report)
    shown = {
        title: report[metric]
        for metric, title in SHOWN.items()
        if metric in report and not isinstance(next(iter(report[metric].values())), dict)
    }
    rows = [
        {"": name.replace("_", " "), **{title: _short(values.get(name)) for title, values in shown.items()}}
        for name in names
    ]
    print_table(rows, ("", *shown), False, empty="")
    for metric in ("recall", "f1"):
        if metric in report:
            _show_parts(f"{metric} of", report[metric], "classes")
    for metric in ("mae", "rmse", "coverage") if "normalized_mae" in report else ():
        if metric in report:
            _show_parts(f"{metric} of", report[metric], "outputs")
    stream, delay = report["stream"], report["delay"]
    left_out = f", {stream['unlabelled']:,} without a label" if stream["unlabelled"] else ""
    skipped = f", {stream['skipped']:,} more cannot be read" if stream["skipped"] else ""
    late = "when it was known" if delay is None else f"{delay:,} rows after its prediction"
    for name, moved in report["input_alarms"].items():
        if moved:
            shown_rows = ", ".join(f"{row:,}" for row in moved[:MAX_CLASSES])
            print(f"{name.replace('_', ' ')}: the inputs of predicted rows are others since row {shown_rows}")
    print(f"{stream['rows']:,} rows{left_out}{skipped}; a label comes {late}")


def _short(value: float | None) -> float | None:
    """A share or loss in three decimals, so that all measures fit a line."""
    return round(value, 3) if isinstance(value, float) and abs(value) < 10 else value


def _show_parts(title: str, scores: Mapping[str, Mapping[str, float]], parts: str) -> None:
    """Prints a score of the first classes or outputs, each of which heads its column."""
    names = list(next(iter(scores.values())))
    shown = names[:MAX_CLASSES]
    rows = [
        {title: name.replace("_", " "), **{each: _short(of[each]) for each in shown}} for name, of in scores.items()
    ]
    print()
    print_table(rows, (title, *shown), False, empty="")
    if len(names) > len(shown):
        print(f"and {len(names) - len(shown)} {parts} more, which --json has")
    print()
