"""``import``: the rows of a file, with their labels, learned as if the model had served them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import orjson

from driftline.client.clients import Client
from driftline.client.feedback import EncodedItem
from driftline.client.retries import TRANSIENT
from driftline.errors import InvalidInput, NotFound
from driftline.files.lateness import CountedLateness, HistoryRow, Lateness, SortedLateness, TimedLateness, in_order
from driftline.files.ledger import ImportLedger
from driftline.files.refusals import Refusals
from driftline.files.sending import Progress, RowSender, Watch, digest_of, doubts_of
from driftline.spec import ModelSpec, parse
from driftline.spec.parts.fields import TimeField
from driftline.tables.blocks import RefusedRow
from driftline.tables.numbers import DecimalMark
from driftline.tables.reading import ReadingOptions, open_table
from driftline.tables.rows import TableRow, TableRows, rows_for
from driftline.tables.target_columns import TargetColumns, names_of

LEARNED_SECONDS: Final = 1.0


@dataclass(frozen=True)
class HistoryFile:
    """A file of the past, and what the user says of it.

    ``delay`` is how many further rows had come when a label became known; instead, ``label_time`` names the column that says
    when it did, and ``time`` the one that says when the row came: by default the model's only field of a time. ``limit``: the
    first rows only. ``again``: what was imported before is learned once more.
    """

    path: str
    target: TargetColumns
    reading: ReadingOptions | None = None
    decimal: DecimalMark | dict[str, DecimalMark] | None = None
    delay: int = 0
    label_time: str | None = None
    time: str | None = None
    limit: int | None = None
    again: bool = False


@dataclass
class ImportOutcome:
    """What became of a file. ``is_learned`` says whether all of it is; else ``note`` says why not.

    ``duplicates`` rows were in the log already. ``metrics`` are the model's, as the server measures them now, if it does.
    """

    progress: Progress
    duplicates: int
    is_learned: bool = False
    note: str | None = None
    metrics: dict[str, Any] = field(default_factory=dict)


def import_history(
    client: Client, model: str, file: HistoryFile, refusals: Refusals, watch: Watch, *, is_waiting: bool = True
) -> ImportOutcome:
    """Sends the labelled rows of a file, in order, and waits until they are learned.

    A row goes by an id that is made of the file and its number: one that was ever sent before is not learned again.

    Raises:
        InvalidInput: the file cannot be read, or does not fit the model.
        NotFound: there is no such model.
    """
    spec = parse(ModelSpec, client.model(model)["spec"])
    _check_columns(spec, file)
    known_time = _time_of(spec, file)
    with open_table(file.path, file.reading) as table:
        options: dict[str, Any] = {"decimal": file.decimal, "label_time": file.label_time, "time": known_time}
        rows = rows_for(spec, table, target=file.target, **options)
        progress = Progress(doubts=doubts_of(table, rows))
        learning = _Learning(client, model, watch)
        name = Path(file.path).name
        ledger = ImportLedger(
            *(client, model, digest_of(name, table), name), is_again=file.again, is_ordered=known_time is None
        )
        with RowSender(client, model, refusals, progress, learning.watch) as sender:
            learning.note = partial(ledger.note, sender)
            progress.doubts += [ledger.doubt] if ledger.doubt is not None else []
            encoder = _Encoder(file, known_time, ledger.prefix)
            _send(rows, encoder, _lateness(file, known_time), sender, ledger)
            sender.flush()
            ledger.end(sender, progress.read)
            progress.doubts += [doubt for doubt in doubts_of(table, rows) if doubt not in progress.doubts]
            outcome = ImportOutcome(progress, sender.duplicates + ledger.skipped)
            if sender.last_id is None:
                outcome.is_learned = True
            elif is_waiting:
                outcome.note = learning.wait(sender.last_id, progress)
                outcome.is_learned = outcome.note is None
    with contextlib.suppress(*TRANSIENT):
        outcome.metrics = dict(client.metrics(model))
    return outcome


def _time_of(spec: ModelSpec, file: HistoryFile) -> str | None:
    """The column that says when a row came; None where no time counts."""
    if file.label_time is None or file.time is not None:
        return file.time
    fields = spec.fields.fields if spec.fields is not None else {}
    times = [name for name, each in fields.items() if isinstance(each, TimeField) and name != file.label_time]
    if len(times) != 1:
        found = f"the model has {len(times)} fields of a time{': ' * bool(times)}{', '.join(times[:10])}"
        message = f"name the column that says when a row came with --time; {found}"
        raise InvalidInput(message, field="time", value=times[:10])
    return times[0]


def _lateness(file: HistoryFile, time: str | None) -> Lateness:
    if time is None:
        return CountedLateness(file.delay)
    return SortedLateness(time, file.delay) if file.label_time is None else TimedLateness(time)


def _check_columns(spec: ModelSpec, file: HistoryFile) -> None:
    """What is known only after the answer must be no field of it."""
    read = spec.fields.read if spec.fields is not None else {}
    names = {alias: name for name, each in read.items() for alias in (name, *each.aliases) if not each.dropped}
    for column, option, what in (
        *((name, "target", "its label") for name in names_of(file.target)),
        (file.label_time, "label_time", "the time at which its label was known"),
    ):
        if column in names:
            message = f"{column!r} is a field of the model {spec.name}, and cannot be {what} as well"
            raise InvalidInput(message, field=option, value=column)


class _Encoder:
    """Rows as items, but for their delays."""

    def __init__(self, file: HistoryFile, time: str | None, prefix: str) -> None:
        self.file = file
        self.time = time
        self.prefix = prefix

    def __call__(self, row: TableRow) -> HistoryRow | RefusedRow | None:
        """The item; None where the row has no label."""
        if row.label is None:
            return None
        for column, value in ((self.time, row.came), (self.file.label_time, row.time)):
            if column is not None and value is None:
                return RefusedRow(row.number, column, None, "there is no time, so that nothing says when this happened")
        identifier = f"{self.prefix}:{row.number}"
        item: dict[str, Any] = {"id": identifier, "label": row.label, "route": "import"}
        came = row.came or 0.0
        known = max(came, row.time if row.time is not None else came)
        if self.time is not None:
            item["time"] = known
        try:
            data = orjson.dumps(item | {"inputs": row.inputs})
        except TypeError as error:
            return RefusedRow(row.number, None, None, f"it cannot be sent as JSON: {error}")
        return HistoryRow(row.number, identifier, data, came, known)


def _send(rows: TableRows, encode: _Encoder, lateness: Lateness, sender: RowSender, ledger: ImportLedger) -> None:
    for row, delay in in_order(_history(rows, encode, sender), lateness):
        if ledger.skips(row.number):
            continue
        data = row.json if not delay else row.json[:-1] + b',"delay":%d}' % delay
        sender.send(row.number, EncodedItem(row.id, data))
    sender.progress.is_read = True


def _history(rows: TableRows, encode: _Encoder, sender: RowSender) -> Iterator[HistoryRow]:
    """The rows that have a label; the others are counted or refused."""
    progress, limit = sender.progress, encode.file.limit
    for row in rows:
        if limit is not None and row.number > limit:
            return
        progress.read += 1
        found = row if isinstance(row, RefusedRow) else encode(row)
        if isinstance(found, HistoryRow):
            yield found
        elif found is None:
            progress.unlabelled += 1
        else:
            sender.refuse(found)


class _Learning:
    """How far a model has come with what was sent to it; ``note`` notes how far sending has."""

    def __init__(self, client: Client, model: str, watch: Watch) -> None:
        self.client = client
        self.model = model
        self.note: Callable[[], None] | None = None
        self._watch = watch
        self._asked = time.monotonic()

    def watch(self, progress: Progress) -> None:
        """Tells how far sending has come, and about once a second also learning."""
        if self.note is not None:
            self.note()
        if time.monotonic() - self._asked > LEARNED_SECONDS:
            self._ask(progress)
        self._watch(progress)

    def _ask(self, progress: Progress) -> str | None:
        """Notes how much is learned; the model's state, where the server says it."""
        try:
            model = self.client.model(self.model)
        except TRANSIENT as error:
            progress.trouble = error.message
            return None
        finally:
            self._asked = time.monotonic()
        progress.learned = max(progress.learned, progress.sent - model["waiting"])
        return model["state"]

    def wait(self, last_id: str, progress: Progress) -> str | None:
        """Waits until the last row is learned; says why, where it will not be."""
        pause = 0.1
        while True:
            progress.trouble = None
            state = self._ask(progress)
            try:
                if self._is_learned(last_id):
                    progress.learned = progress.sent
                    self._watch(progress)
                    return None
            except TRANSIENT as error:
                progress.trouble = error.message
            self._watch(progress)
            if state == "paused":
                return f"{self.model} is paused: driftline resume {self.model} goes on with what waits"
            time.sleep(pause)
            pause = min(LEARNED_SECONDS, 1.5 * pause)

    def _is_learned(self, last_id: str) -> bool:
        try:
            return self.client.receipt(self.model, last_id)["state"] != "queued"
        except NotFound as error:
            if error.code != "unknown_item":
                raise
            # The last row was refused.
            return self.client.metrics(self.model)["lag"]["labels"] == 0
