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

from driftline.cli.common import connect, print_fields, print_json
from driftline.cli.history import end_import, refusals_of, run_import
from driftline.cli.infer import show
from driftline.cli.table_options import read_levels, read_types, reading_options

if TYPE_CHECKING:
    from driftline.client.clients import Client
    from driftline.files.history import ImportOutcome
    from driftline.spec.task import TaskName
    from driftline.tables.infer import Inference
    from driftline.tables.numbers import DecimalMark
    from driftline.tables.rows import TableRow
    from driftline.tables.target_columns import TargetColumns


@dataclass(frozen=True)
class FileChoices:
    """What the user decides of a file; all else the file does."""

    name: str | None
    task: TaskName | None
    types: list[str]
    drop: list[str]
    decimal: DecimalMark | None
    encoding: str | None
    delimiter: str | None
    header: bool | None
    intervals: str | None = None


@dataclass(frozen=True)
class PastChoices:
    """How a file is learned."""

    delay: int
    label_time: str | None
    time: str | None
    limit: int | None
    refused: Path | None
    is_waiting: bool


def create_from_file(
    file: str,
    target: TargetColumns,
    choices: FileChoices,
    past: PastChoices | None,
    weights: Path | None,
    url: str | None,
    key: str | None,
    *,
    is_sure: bool,
    as_json: bool,
) -> None:
    """Infers the spec, makes the model, imports the rows unless ``past`` is None, and prints the calls of an application."""
    from driftline.tables.infer import InferenceOptions, infer, name_of

    types = read_types(choices.types)
    if past is not None:
        refusals_of(file, past.refused)  # That they cannot be written is told before anything is made.
        if past.label_time is not None:
            # It is known after the answer only, so that a model must not learn from it.
            types |= {past.label_time: "ignore"}
    reading = reading_options(choices.encoding, choices.delimiter, choices.header)
    name = choices.name or name_of(file)
    options: InferenceOptions = InferenceOptions(
        choices.task, name, choices.decimal, types, choices.drop, reading, read_levels(choices.intervals)
    )
    with _kept(file) as path, connect(url, key) as client:
        found = infer(path, target, options)
        show(found)
        if not is_sure and file != "-" and not _is_wanted(found):
            raise typer.Exit(1)
        made = client.create_model(found.spec, weights_as_sent(weights, found.spec))
        shown: dict[str, Any] = {name: made[name] for name in ("name", "version")}
        outcome = None
        if past is not None:
            outcome, imported = _imported(client, made["name"], file, path, target, found, past)
            shown |= imported
        calls = _calls(client, made["name"], made["spec"], path, target, found, has_key=bool(key))
    _print(shown, calls, as_json=as_json)
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
    client: Client, model: str, file: str, path: str, target: TargetColumns, found: Inference, past: PastChoices
) -> tuple[ImportOutcome, dict[str, Any]]:
    from driftline.files.history import HistoryFile
    from driftline.files.refusals import usual_path

    when = {"delay": past.delay, "label_time": past.label_time, "time": past.time, "limit": past.limit}
    history = HistoryFile(path, target, found.reading, found.decimals, **when)  # type: ignore[arg-type]
    rows = found.rows + found.refused_rows
    return run_import(client, model, history, past.refused or usual_path(file), is_waiting=past.is_waiting, rows=rows)


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
