"""Answers the rows that a source reads, as predict does, and writes their predictions to its sink."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from driftline.errors import Busy, DriftlineError, InvalidInput, Late, ServerError
from driftline.ingest.keys import Key
from driftline.ingest.rows import decoded
from driftline.sinks.base import Moved, SinkMessage, SinkWriter
from driftline.sources.base import Source, SourceBatch, SourceRecord
from driftline.sources.intake import Intake, Refused
from driftline.sources.items import SourceRowReader
from driftline.spec import ModelSpec
from driftline.store.log import Log
from driftline.store.predictions import PredictionWriter
from driftline.support.failpoints import reach

from ..answer_json import encoded_rows, message_head
from ..answers import BatchAnswer
from ..engine import Engine, ModelQueue
from ..snapshot import Snapshot
from ..version_watcher import VersionWatcher


class SentRow(msgspec.Struct, frozen=True):
    """A row as a record has it; ``inputs`` is JSON."""

    inputs: msgspec.Raw
    key: Key | None = None
    id: Key | None = None


_sent_rows = msgspec.json.Decoder(SentRow)


def sent_row(data: bytes) -> SentRow:
    """A row of its JSON; :class:`InvalidInput` names the field that does not fit."""
    return decoded(_sent_rows, data, "row")


def check_row(snapshot: Snapshot, data: bytes) -> None:
    """Refuses the JSON of a row that a version does not answer."""
    snapshot.body.decode(b'{"inputs":[%b]}' % bytes(sent_row(data).inputs))


class SourceRow(NamedTuple):
    """A row that a source has read: its place among those of the source, and the id of its prediction's message."""

    record: SourceRecord
    place: str
    id: str
    inputs: bytes
    key: str | None


class RowIntake(Intake):
    """Takes rows: they are answered, their predictions are recorded and then written, and only then the position moves. After a
    crash in between they are answered again, and their messages have the same ids.

    Args:
        model: the name of the model that answers.
    """

    # They are not appended to the log: what a batch costs, whatever its size, is shared by more of them.
    max_count = 2000

    def __init__(
        self,
        log: Log,
        source: Source,
        name: str,
        key: str,
        configured: bytes = b"",
        *,
        model: str,
        watcher: VersionWatcher,
        engine: Engine,
        predictions: PredictionWriter,
    ) -> None:
        super().__init__(log, source, name, key, configured)
        self.model = model
        self.watcher = watcher
        self.engine = engine
        self.predictions = predictions
        self._writer: SinkWriter | None = None
        self._works = 0
        self._reader: tuple[ModelSpec, SourceRowReader] | None = None

    async def begin(self) -> None:
        """Connects the sink, and learns of what it holds beyond the position."""
        await super().begin()
        if self.source.sink is not None:
            self._writer = await self.source.sink.written_by(f"{self.log.uid}:{self.key}").open()
            position = await self.position()
            reached = await self._writer.reached(position)
            if reached != position:
                await self.move(position, reached)

    async def take(self, batch: SourceBatch, before: str) -> None:
        rows, wrong = await self._rows(batch)
        count = len(rows) + len(wrong)
        messages = await self._messages(rows, wrong)
        await self.bury(wrong)
        await self.predictions.flush()
        reach("source.answered")
        if self._writer is not None:
            await self._writer.write(messages, Moved(before, batch.position))
        reach("source.written")
        await self.move(before, batch.position)
        self.refused += len(wrong)
        self.taken += count - len(wrong)

    async def answer(self, record: SourceRecord, identifier: str) -> str | None:
        """Takes a part of one record that could not be taken before; why it still cannot be, or None."""
        rows, wrong = await self._rows(SourceBatch([record], ""))
        mine = [row for row in rows if row.place.removeprefix("s:") == identifier]
        messages = await self._messages(mine, wrong)
        reason = next((error.message for _, other, error in wrong if other.removeprefix("s:") == identifier), None)
        if messages:
            await self.predictions.flush()
            if self._writer is None and self.source.sink is not None:
                # Under a name of its own: another process may be writing what the source reads.
                self._writer = await self.source.sink.written_by(f"{self.log.uid}:{self.key}:again").open()
            if self._writer is not None:
                await self._writer.write(messages, Moved("", ""))
            return None
        return reason or "the record holds fewer rows than it did"

    async def close(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            await writer.close()

    async def _queue(self) -> ModelQueue:
        return await self.watcher.model(self.model)

    async def _rows(self, batch: SourceBatch) -> tuple[list[SourceRow], list[Refused]]:
        """The rows of a batch, and the records that hold none."""
        spec = (await self._queue()).snapshot.spec
        if self._reader is None or self._reader[0] != spec:
            self._reader = spec, SourceRowReader(self.source, spec, self.key)
        await self._reader[1].learn(batch.records)
        rows, wrong = list[SourceRow](), list[Refused]()
        for record in batch.records:
            for item in self._reader[1].items(record):
                if item.error is not None:
                    wrong.append((record, item.id, item.error))
                    continue
                try:
                    sent = sent_row(item.json)
                except InvalidInput as error:
                    wrong.append((record, item.id, error))
                else:
                    rows.append(SourceRow(record, item.id, sent.id or item.id, bytes(sent.inputs), sent.key))
        return rows, wrong

    async def _messages(self, rows: Sequence[SourceRow], wrong: list[Refused]) -> list[SinkMessage]:
        """The messages of the rows that can be answered; the others join what is ``wrong``."""
        limits = (await self._queue()).snapshot.limits
        size = min(limits.max_batch, limits.max_queue)
        parts = [rows[first : first + size] for first in range(0, len(rows), size)]
        answers = await asyncio.gather(*map(self._answered, parts))
        for part in answers:
            wrong += part.wrong
        return [message for part in answers for message in part.messages]

    async def _answered(self, rows: Sequence[SourceRow]) -> _Answered:
        try:
            return _Answered(self._written(rows, await self._answer(rows)), [])
        except (InvalidInput, ServerError):
            # One of the rows does not fit, or is one that the network fails on.
            messages, failed = list[SinkMessage](), list[tuple[SourceRow, DriftlineError]]()
            for row in rows:
                try:
                    messages += self._written([row], await self._answer([row]))
                except (InvalidInput, ServerError) as error:
                    failed.append((row, error))
        for _, reason in failed:
            if isinstance(reason, ServerError) and self._works != (await self._queue()).snapshot.version:
                raise reason  # It has answered nothing yet: it is the version that fails.
        return _Answered(messages, [(row.record, row.place, reason) for row, reason in failed])

    async def _answer(self, rows: Sequence[SourceRow]) -> BatchAnswer:
        """The answer of one version; while too many rows wait for the model, these wait too."""
        keys = (
            b""
            if all(row.key is None for row in rows)
            else b',"keys":' + msgspec.json.encode([row.key for row in rows])
        )
        body = b'{"inputs":[%b]%b}' % (b",".join(row.inputs for row in rows), keys)
        while True:
            queue = (await self._queue()).chosen()
            try:
                answer = await self.engine.submit(queue, queue.snapshot.body.decode(body))
            except (Busy, Late) as error:
                await self.on_wait(error.message)
                await asyncio.sleep(self.retry_seconds)
            else:
                self._works = answer.batch.snapshot.version
                return answer

    def _written(self, rows: Sequence[SourceRow], answer: BatchAnswer) -> list[SinkMessage]:
        if self.source.sink is None:
            return []
        head = message_head(answer.batch.snapshot)
        return [
            SinkMessage(
                row.id,
                b'%b"record":%b,"key":%b,%b'
                % (head, msgspec.json.encode(row.id), msgspec.json.encode(row.key), text[1:]),
                row.key,
            )
            for row, text in zip(rows, encoded_rows(answer), strict=True)
        ]


class _Answered(NamedTuple):
    messages: list[SinkMessage]
    wrong: list[Refused]
