"""``import``: the past of a model, from a file."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from driftline.cli.common import ModelName, Server
from driftline.cli.endings import STOPPED
from driftline.cli.output import print_fields
from driftline.cli.parameters import expanded
from driftline.cli.progress import FileProgress
from driftline.cli.table_options import File, PastChoices, ReadingChoices, Refused, Targets
from driftline.support.formatting import count_text

if TYPE_CHECKING:
    from driftline.client.clients import Client
    from driftline.files.history import HistoryFile, ImportOutcome
    from driftline.files.refusals import Refusals
    from driftline.files.sending import Progress

Waits = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until all is learned.")]
Again = Annotated[bool, typer.Option("--again", help="Learn once more what was imported before.")]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("import")(expanded(import_))


def import_(
    model: ModelName,
    file: File,
    target: Targets,
    past: PastChoices,
    reading: ReadingChoices,
    server: Server,
    refused: Refused = None,
    is_waiting: Waits = True,
    is_again: Again = False,
) -> None:
    """Learn a file as it was lived: each row is answered first, and learned when its label was known.

    A row is recognised by the file and its number: what broke off is repeated, and nothing is learned twice.

    For example: driftline import churn history.csv --target sold --delay 100
    """
    from driftline.files.history import HistoryFile

    past.check()
    when = past.delay, past.label_time, past.time, past.limit
    history = HistoryFile(file, target, reading.reading(), reading.decimal, *when, again=is_again)
    with server.client() as client:
        outcome, shown = run_import(client, model, history, refused, is_waiting=is_waiting)
    print_fields(shown, server.as_json)
    end_import(outcome)


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
    tell_refused(refusals)
    return outcome, shown_import(outcome)


def end_import(outcome: ImportOutcome) -> None:
    """Says what is not as it should be; exit code 1 where no row was taken, or not all of them will be learned."""
    if outcome.note is not None:
        print(f"driftline: {outcome.note}", file=sys.stderr)
    if outcome.note is not None or (outcome.progress.refused and not outcome.progress.sent):
        raise typer.Exit(1)


def shown_sent(progress: Progress, duplicates: int) -> dict[str, Any]:
    """What became of the rows of a file that were sent, as it is printed."""
    shown: dict[str, Any] = {"rows": progress.read, "sent": progress.sent}
    if duplicates:
        shown["sent before"] = duplicates
    if progress.unlabelled:
        shown["without a label"] = progress.unlabelled
    return shown | {"refused": progress.refused}


def shown_import(outcome: ImportOutcome) -> dict[str, Any]:
    """What became of an import, as it is printed."""
    progress = outcome.progress
    shown = shown_sent(progress, outcome.duplicates)
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
        raise typer.Exit(STOPPED) from None
