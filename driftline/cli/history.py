"""``import``: the past of a model, from a file."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from driftline.cli.backtest import refusing
from driftline.cli.common import AsJson, KeyText, ModelName, Url, connect, print_fields
from driftline.cli.infer import File
from driftline.cli.progress import FileProgress
from driftline.cli.table_options import Decimal, Delimiter, Encoding, Header, Targets, reading_options
from driftline.support.formatting import count_text

if TYPE_CHECKING:
    from driftline.client.clients import Client
    from driftline.files.history import HistoryFile, ImportOutcome
    from driftline.files.refusals import Refusals

Delay = Annotated[int, typer.Option("--delay", min=0, metavar="ROWS", help="How many rows later a label was known.")]
LabelTime = Annotated[
    str | None,
    typer.Option("--label-time", metavar="COLUMN", help="Instead: the column that says when the label was known."),
]
Time = Annotated[
    str | None,
    typer.Option(
        "--time",
        metavar="COLUMN",
        help="The column that says when a row came: rows are put in its order.",
        show_default="with --label-time the model's only field of a time",
    ),
]
Limit = Annotated[int | None, typer.Option("--limit", min=1, metavar="ROWS", help="Take the first rows only.")]
Refused = Annotated[
    Path | None,
    typer.Option("--refused", metavar="PATH", help="Where refused rows go.", show_default="FILE.refused.csv"),
]
Waits = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until all is learned.")]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("import")(import_)


def import_(
    model: ModelName,
    file: File,
    target: Targets,
    delay: Delay = 0,
    label_time: LabelTime = None,
    time: Time = None,
    limit: Limit = None,
    decimal: Decimal = None,
    encoding: Encoding = None,
    delimiter: Delimiter = None,
    header: Header = None,
    refused: Refused = None,
    is_waiting: Waits = True,
    url: Url = None,
    key: KeyText = None,
    as_json: AsJson = False,
) -> None:
    """Learn a file as it was lived: each row is answered first, and learned when its label was known.

    A row is recognised by the file and its number: what broke off is repeated, and nothing is learned twice.

    For example: driftline import churn history.csv --target sold --delay 100
    """
    check_lateness(delay, label_time)
    with refusing():
        from driftline.files.history import HistoryFile

        reading = reading_options(encoding, delimiter, header)
        history = HistoryFile(file, target, reading, decimal, delay, label_time, time, limit)
        with connect(url, key) as client:
            outcome, shown = run_import(client, model, history, refused, is_waiting=is_waiting)
    print_fields(shown, as_json)
    end_import(outcome)


def check_lateness(delay: int, label_time: str | None) -> None:
    """A usage error where labels are late in two ways."""
    if delay and label_time is not None:
        raise typer.BadParameter("give --delay or --label-time, not both")


def run_import(
    client: Client, model: str, history: HistoryFile, refused: Path | None, *, is_waiting: bool, rows: int | None = None
) -> tuple[ImportOutcome, dict[str, Any]]:
    """Imports a file and shows how far it is; gives what became of it, also as it is printed."""
    from driftline.files.history import import_history

    with (
        refusals_of(history.path, refused) as refusals,
        FileProgress(rows_of(history.path, rows), is_learning=True) as bar,
        stoppable(f"what was sent is in the log of {model}; the same command goes on, and nothing is learned twice"),
    ):
        outcome = import_history(client, model, history, refusals, bar, is_waiting=is_waiting)
    return outcome, shown_import(outcome, refusals)


def end_import(outcome: ImportOutcome) -> None:
    """Says what is not as it should be; exit code 1 where no row was taken, or not all of them will be learned."""
    if outcome.note is not None:
        print(f"driftline: {outcome.note}", file=sys.stderr)
    if outcome.note is not None or (outcome.progress.refused and not outcome.progress.sent):
        raise typer.Exit(1)


def shown_import(outcome: ImportOutcome, refusals: Refusals) -> dict[str, Any]:
    """What became of an import, as it is printed."""
    progress = outcome.progress
    shown: dict[str, Any] = {"rows": progress.read, "sent": progress.sent}
    if outcome.duplicates:
        shown["sent before"] = outcome.duplicates
    if progress.unlabelled:
        shown["without a label"] = progress.unlabelled
    shown["refused"] = progress.refused
    if outcome.is_learned:
        shown["learned"] = progress.sent
    shown["seconds"] = round(progress.seconds, 1)
    prequential: Mapping[str, Any] = outcome.metrics.get("prequential") or {}
    scores = {name: rounded(value) for name, value in prequential.items() if not isinstance(value, dict)}
    newest = {name: rounded(value) for name, value in (prequential.get("window") or {}).items() if name in scores}
    if outcome.metrics:
        shown["version"] = outcome.metrics["version"]
    if scores:
        shown |= {"prequential": scores, "newest labels": newest}
    tell_refused(refusals)
    return shown


def rounded(score: float) -> float:
    """A score with four digits."""
    return float(f"{score:.4g}")


def tell_refused(refusals: Refusals) -> None:
    """Says on standard error which rows were refused, and where all of them stand."""
    if refusals.count:
        for row in refusals.first:
            print(f"· {row}", file=sys.stderr)
        print(f"{count_text(refusals.count, 'row')} refused, with reasons in {refusals.path}", file=sys.stderr)


def refusals_of(file: str, refused: Path | None) -> Refusals:
    """Where the refused rows of a file go."""
    from driftline.files.refusals import Refusals, usual_path

    return Refusals(refused or usual_path(file))


def rows_of(file: str, rows: int | None = None) -> int | None:
    """How many rows a file has, where somebody looks at a bar."""
    from driftline.tables.reading import estimated_rows

    return estimated_rows(file) if rows is None and sys.stderr.isatty() else rows


@contextlib.contextmanager
def stoppable(hint: str) -> Iterator[None]:
    """Ctrl-C ends the command with a line that says how things stand."""
    try:
        yield
    except KeyboardInterrupt:
        print(f"stopped; {hint}", file=sys.stderr)
        raise typer.Exit(130) from None
