"""``models create --from``: a model of a file's own, which has learned the file."""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from driftline.cli.common import Server
from driftline.cli.history import end_import, refusals_of, run_import
from driftline.cli.infer import show
from driftline.cli.output import busy, print_fields, print_json
from driftline.cli.table_options import PastChoices, ReadingChoices, TableChoices

if TYPE_CHECKING:
    from driftline.client.clients import Client
    from driftline.files.history import ImportOutcome
    from driftline.tables.infer import Inference
    from driftline.tables.rows import TableRow
    from driftline.tables.target_columns import TargetColumns


@dataclass(frozen=True)
class FileCommand:
    """What the user decides of the file and of the model that it becomes; without ``is_importing`` its rows are not learned."""

    file: str
    target: TargetColumns
    name: str | None
    choices: TableChoices
    reading: ReadingChoices
    past: PastChoices
    refused: Path | None
    is_importing: bool
    is_waiting: bool


def create_from_file(given: FileCommand, weights: Path | None, server: Server, *, is_sure: bool) -> None:
    """Infers the spec, makes the model, imports the rows, and prints the calls of an application."""
    from driftline.tables.infer import infer, name_of

    file, target, past = given.file, given.target, given.past
    if given.is_importing:
        refusals_of(file, given.refused)  # That they cannot be written is told before anything is made.
    # When a label was known is known after the answer only, so that a model must not learn from it.
    late = {past.label_time: "ignore"} if given.is_importing and past.label_time is not None else {}
    options = given.choices.inference(given.reading, given.name or name_of(file), late)
    with _kept(file) as path, server.client() as client:
        with busy(f"reading {file}"):
            found = infer(path, target, options)
        show(found)
        if not is_sure and file != "-" and not _is_wanted(found):
            raise typer.Exit(1)
        made = client.create_model(found.spec, weights_as_sent(weights, found.spec))
        shown: dict[str, Any] = {name: made[name] for name in ("name", "version")}
        outcome = None
        if given.is_importing:
            outcome, imported = _imported(client, made["name"], path, found, given)
            shown |= imported
        calls = _calls(client, made["name"], made["spec"], path, target, found, has_key=bool(server.key))
    _print(shown, calls, as_json=server.as_json)
    if outcome is not None:
        end_import(outcome)


def weights_as_sent(weights: Path | None, body: Any) -> Path | bytes | None:
    """The weights to be sent: a safetensors file as it is, a Keras file converted."""
    if weights is None or weights.suffix != ".npz":
        return weights
    from driftline.networks import keras
    from driftline.spec import ModelSpec, parse

    return keras.weights_of(weights, parse(ModelSpec, body))


@contextlib.contextmanager
def _kept(file: str) -> Iterator[str]:
    """A file that can be read twice: a pipe is kept in a temporary one."""
    if file != "-":
        yield file
        return
    with tempfile.TemporaryDirectory(prefix="driftline-") as folder:
        path = Path(folder, "standard-input")
        with path.open("wb") as kept:
            shutil.copyfileobj(sys.stdin.buffer, kept, 1 << 20)
        yield str(path)


def _is_wanted(found: Inference) -> bool:
    """Whether the user takes what is in doubt; nobody is asked where nothing is, or where nobody can answer."""
    doubts = [*found.doubts, *(doubt for column in found.columns for doubt in column.doubts)]
    if not any(doubt.option for doubt in doubts) or not sys.stdin.isatty():
        return True
    return typer.confirm("Make this model?", default=True, err=True)


def _imported(
    client: Client, model: str, path: str, found: Inference, given: FileCommand
) -> tuple[ImportOutcome, dict[str, Any]]:
    from driftline.files.history import HistoryFile
    from driftline.files.refusals import usual_path

    past = given.past
    when = past.delay, past.label_time, past.time, past.limit
    history = HistoryFile(path, given.target, found.reading, found.decimals, *when)
    rows, refused = found.rows + found.refused_rows, given.refused or usual_path(given.file)
    return run_import(client, model, history, refused, is_waiting=given.is_waiting, rows=rows)


def _calls(
    client: Client,
    model: str,
    spec: Mapping[str, Any],
    path: str,
    target: TargetColumns,
    found: Inference,
    *,
    has_key: bool,
) -> dict[str, str]:
    """The lines that ask for the answer of the file's first row, and hand in its label."""
    from driftline.files.curl import feedback_line, predict_line
    from driftline.spec import ModelSpec, parse

    row = _first_row(spec, path, target, found)
    if row is None:
        return {}
    url = str(client.url)
    # It refers to an answer that was given: this one, as an application's label would.
    answer = client.predict(model, [row.inputs])["predictions"][0]
    label = parse(ModelSpec, dict(spec)).shown_label(row.label)
    about = {"prediction_id": answer["id"]} if answer["id"] is not None else {"inputs": row.inputs}
    return {
        "predict": predict_line(url, model, row.inputs, has_key=has_key),
        "feedback": feedback_line(url, model, {**about, "label": label}, has_key=has_key),
    }


def _first_row(spec: Mapping[str, Any], path: str, target: TargetColumns, found: Inference) -> TableRow | None:
    """The first row that has a label."""
    from driftline.spec import ModelSpec, parse
    from driftline.tables.reading import open_table
    from driftline.tables.rows import TableRow, rows_for

    with open_table(path, found.reading) as table:
        rows = rows_for(parse(ModelSpec, dict(spec)), table, target=target, decimal=found.decimals)
        return next((row for row in rows if isinstance(row, TableRow) and row.label is not None), None)


def _print(shown: Mapping[str, Any], calls: Mapping[str, str], *, as_json: bool) -> None:
    if as_json:
        print_json({**shown, "curl": calls})
        return
    print_fields(shown, as_json=False)
    titles = {
        "predict": "# the answer to the first row of the file",
        "feedback": "# its label, once it is known: prediction_id is the id of an answer",
    }
    for name, line in calls.items():
        print(f"\n{titles[name]}\n{line}")
