"""``predict`` and ``feedback`` where they are given a file of rows."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Final

import typer

from driftline.cli.history import refusals_of, rows_of, shown_sent, stoppable, tell_refused
from driftline.cli.output import busy, print_fields
from driftline.cli.progress import FileProgress
from driftline.errors import InvalidInput
from driftline.support.formatting import count_text

if TYPE_CHECKING:
    from driftline.client.clients import Client
    from driftline.files.answers import QuestionFile
    from driftline.files.label_file import LabelFile

SUFFIXES: Final = frozenset(
    {
        *(".csv", ".tsv", ".tab", ".txt", ".parquet", ".pq", ".ndjson", ".jsonl", ".json"),
        *(".gz", ".bz2", ".xz", ".zst", ".zip"),
    }
)

Output = Annotated[
    Path | None,
    typer.Option("-o", "--output", metavar="PATH", help="Of a FILE: where the answers go.", show_default="printed"),
]
WithInputs = Annotated[bool, typer.Option("--with-inputs", help="Of a FILE: its columns beside the answers.")]
LabelColumn = Annotated[
    list[str] | None,
    typer.Option(
        "--target",
        metavar="COLUMN",
        help="Of a FILE: the column that is the label; may be repeated, for several outputs.",
        show_default="label, or the names of the outputs",
    ),
]


def is_file(argument: str) -> bool:
    """Whether an argument names a file of rows: by its suffix, or because there is one. JSON, ``@file`` and ``-`` do not.

    >>> [is_file(argument) for argument in ("new.csv", "data/new.parquet", "[[1, 2]]", "@new.json", "-")]
    [True, True, False, False, False]
    """
    text = argument.strip()
    if not text or text == "-" or text.startswith(("@", "[", "{")):
        return False
    try:
        return Path(argument).suffix.lower() in SUFFIXES or Path(argument).is_file()
    except (OSError, ValueError):
        return False


def shortened(argument: str) -> str:
    """An argument as a message shows it."""
    return repr(argument if len(argument) <= 40 else f"{argument[:40]}…")


def predict_file(
    client: Client, model: str, file: QuestionFile, output: Path | None, refused: Path | None, *, as_json: bool
) -> None:
    """Answers the rows of a file, into another or standard output; exit code 1 where rows were refused."""
    from driftline.files.answers import CsvAnswers, JsonAnswers, answer_file

    with (
        refusals_of(file.path, refused) as refusals,
        stoppable("the answers so far are written"),
        _written(output, file.path) as stream,
    ):
        writer = JsonAnswers(stream) if as_json else CsvAnswers(stream)
        # Answers that go to the terminal show by themselves how far it is.
        with busy(f"answering {file.path}") if output is not None else contextlib.nullcontext():
            count = answer_file(client, model, file, refusals, writer)
    for doubt in count.doubts:
        print(f"· {doubt}", file=sys.stderr)
    tell_refused(refusals)
    versions = f" by version {', '.join(map(str, count.versions))} of {model}" if count.versions else ""
    place = f", in {output}" if output is not None else ""
    print(f"{count_text(count.rows, 'row')} answered{versions}{place}", file=sys.stderr)
    if refusals.count:
        raise typer.Exit(1)


def feedback_file(client: Client, model: str, file: LabelFile, refused: Path | None, *, as_json: bool) -> None:
    """Hands in the labels of a file; exit code 1 where some were refused."""
    from driftline.files.label_file import send_labels

    with refusals_of(file.path, refused) as refusals:
        hint = f"what was sent is in the log of {model}; the same command goes on, and nothing is learned twice"
        with FileProgress(rows_of(file.path), is_learning=False) as bar, stoppable(hint):
            outcome = send_labels(client, model, file, refusals, bar)
    shown = shown_sent(outcome.progress, outcome.duplicates) | {"seconds": round(outcome.progress.seconds, 1)}
    tell_refused(refusals)
    print_fields(shown, as_json)
    if refusals.count:
        raise typer.Exit(1)


@contextlib.contextmanager
def _written(output: Path | None, source: str) -> Iterator[IO[str]]:
    """What answers are written to."""
    if output is None:
        yield sys.stdout
        return
    if output.exists() and Path(source).exists() and output.samefile(source):
        raise InvalidInput(f"{output} is the file of the rows; write the answers into another", field="output")
    try:
        stream = output.open("w", newline="", encoding="utf-8")
    except OSError as error:
        message = f"{output} cannot be written: {error.strerror}"
        raise InvalidInput(message, field="output", value=str(output)) from None
    with stream:
        yield stream
