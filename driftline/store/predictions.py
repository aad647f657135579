"""Recorded predictions, stored until their labels arrive: written after the answer, one entry for each batch.

A prediction id is known before the write: the model's uid, the nonce of the replica that answered, the entry, the token of the
request and the row. Entry and row say where it is, so that one read finds it. The token is 128 random bits:
who has not been told an id cannot guess it.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import msgspec
from redis.exceptions import RedisError

from driftline.errors import InvalidInput, Unavailable
from driftline.records import Answer, Route
from driftline.store.connection import RedisConnection, store_errors

TOKEN_BYTES = 16
MIN_EXPIRY_SECONDS = 60.0
"""How often a stream's expiry is set again."""


class PredictionBatch(msgspec.Struct, frozen=True, array_like=True):
    """One computed batch: the bytes of all rows (little-endian, C order), or of fields those of each; and one label a row.

    ``contexts`` are those of the traces that rows belong to, by row; ``tokens`` those of the requests, by the first row of
    each. Batches of former releases have no tokens.
    """

    version: int
    route: Route
    rows: int
    inputs: dict[str, bytes | list[bytes]]
    outputs: bytes
    labels: list[int | str | None]
    traces: bytes = b""
    contexts: dict[int, str] = {}
    tokens: dict[int, bytes] = {}

    def row(self, index: int) -> tuple[dict[str, bytes], Answer]:
        """One row's inputs, and what was answered."""
        inputs = {name: _part(data, index, self.rows) for name, data in self.inputs.items()}
        outputs, trace = _part(self.outputs, index, self.rows), _part(self.traces, index, self.rows)
        return inputs, Answer(self.version, self.labels[index], outputs, trace)

    def token(self, index: int) -> str:
        """The token of the request that a row belongs to, as it stands in its id; empty where there is none."""
        first = max((row for row in self.tokens if row <= index), default=None)
        return "" if first is None else self.tokens[first].hex()


def _part(data: bytes | list[bytes], index: int, rows: int) -> bytes:
    if isinstance(data, list):
        return data[index]
    size = len(data) // rows
    return data[index * size : (index + 1) * size]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(PredictionBatch)


@dataclass(frozen=True, order=True)
class EntryId:
    """The id of a batch in its replica's stream: milliseconds of Redis' clock, and a number within them."""

    ms: int
    seq: int

    def __str__(self) -> str:
        return f"{self.ms}-{self.seq}"

    @classmethod
    def parse(cls, text: bytes) -> EntryId:
        ms, _, seq = text.partition(b"-")
        return cls(int(ms), int(seq))


@dataclass(frozen=True)
class PredictionId:
    """An id as clients hold it: ``uid-nonce-ms-seq-token-row``, numbers in hexadecimal.

    The token of an id of a former release is empty. None: the server itself looks there, and needs none.
    """

    uid: str
    nonce: str
    entry: EntryId
    row: int
    token: str | None = None

    @classmethod
    def parse(cls, text: str) -> PredictionId | None:
        """The parts of an id; None if it is not a prediction's."""
        parts = text.split("-")
        if len(parts) not in (5, 6) or len(text) > 120:
            return None
        uid, nonce, *numbers = parts
        token = numbers.pop(2) if len(parts) == 6 else ""
        if token and len(token) != 2 * TOKEN_BYTES:
            return None
        try:
            ms, seq, row = (int(part, 16) for part in numbers)
        except ValueError:
            return None
        return cls(uid, nonce, EntryId(ms, seq), row, token) if min(ms, seq, row) >= 0 else None


class PredictionWriter:
    """Records what this replica answers, after the answers. In trouble it drops and counts predictions; it delays no answer.

    Args:
        horizon: how long a prediction is stored, in seconds.
        budget: most bytes that this replica's predictions take in Redis; the oldest are deleted first.
        max_unwritten_bytes: most bytes that wait to be written; beyond them the oldest are dropped.
        gather_seconds: how long a write waits for further batches.
    """

    def __init__(
        self,
        connection: RedisConnection,
        *,
        horizon: float,
        budget: int,
        max_unwritten_bytes: int = 32 * 2**20,
        gather_seconds: float = 0.005,
    ) -> None:
        self.max_unwritten_bytes = max_unwritten_bytes
        self.gather_seconds = gather_seconds
        self.connection = connection
        self.horizon = horizon
        self.budget = budget
        self.nonce = secrets.token_hex(4)
        self.dropped = 0
        self._newest = EntryId(0, 0)
        self._unwritten: deque[tuple[str, EntryId, bytes]] = deque()
        self._unwritten_bytes = 0
        self._written: deque[tuple[str, EntryId, int]] = deque()
        self._written_bytes = 0
        self._expiry_due: dict[str, float] = {}
        self._wake = asyncio.Event()

    def next_entry(self) -> EntryId:
        """A new entry id, above all former ones."""
        ms = int(self.connection.now() * 1000)
        newest = self._newest
        self._newest = EntryId(ms, 0) if ms > newest.ms else EntryId(newest.ms, newest.seq + 1)
        return self._newest

    def prefix(self, uid: str, entry: EntryId) -> str:
        """What the ids of an entry's rows begin with; the token of the request and the row follow, with a dash between them."""
        return f"{uid}-{self.nonce}-{entry.ms:x}-{entry.seq:x}-"

    def record(self, uid: str, entry: EntryId, batch: PredictionBatch) -> None:
        """Queues a batch to be written."""
        data = _encoder.encode(batch)
        self._unwritten.append((uid, entry, data))
        self._unwritten_bytes += len(data)
        while self._unwritten_bytes > self.max_unwritten_bytes:
            self._unwritten_bytes -= len(self._unwritten.popleft()[2])
            self.dropped += 1
        self._wake.set()

    @property
    def join_horizon(self) -> float:
        """The age in seconds up to which predictions of this replica can be joined with a label."""
        if self._written_bytes < self.budget * 0.9 or not self._written:
            return self.horizon
        return min(self.horizon, self.connection.now() - self._written[0][1].ms / 1000)

    async def run(self) -> None:
        """Writes queued batches until cancelled."""
        while True:
            await self._wake.wait()
            # Under load many batches go in one pipeline; no label can arrive so soon after its prediction.
            await asyncio.sleep(self.gather_seconds)
            self._wake.clear()
            try:
                await self.flush()
            except Unavailable:
                self._wake.set()
                await asyncio.sleep(0.5)

    async def flush(self) -> None:
        """Writes what is queued; :class:`Unavailable` leaves it queued."""
        batch, self._unwritten = self._unwritten, deque()
        if self.connection.server.known.is_full:
            # The memory that is left is reserved for steps and checkpoints, which free memory.
            self.dropped += len(batch)
            self._unwritten_bytes = 0
            return
        try:
            await self._write(batch)
        except Unavailable:
            self._unwritten.extendleft(reversed(batch))
            raise
        self._unwritten_bytes -= sum(len(data) for _, _, data in batch)
        self._written.extend((uid, entry, len(data)) for uid, entry, data in batch)
        self._written_bytes += sum(len(data) for _, _, data in batch)
        await self._trim()

    async def _write(self, batch: Iterable[tuple[str, EntryId, bytes]]) -> None:
        oldest_ms, now = self._newest.ms - int(self.horizon * 1000), time.monotonic()
        with store_errors():
            async with self.connection.redis.pipeline(transaction=False) as pipe:
                for uid, entry, data in batch:
                    key = self.connection.keys.of(uid).predictions(self.nonce)
                    pipe.xadd(key, {"b": data}, id=str(entry), minid=oldest_ms)
                    if now >= self._expiry_due.get(uid, 0.0):
                        self._expiry_due[uid] = now + MIN_EXPIRY_SECONDS
                        pipe.expire(key, int(self.horizon + 2 * MIN_EXPIRY_SECONDS))
                answers = await pipe.execute(raise_on_error=False)
        refused = [answer for answer in answers if isinstance(answer, RedisError)]
        # A retried write finds the entry of its first attempt: nothing is lost.
        self.dropped += sum("equal or smaller" not in str(answer) for answer in refused)

    async def _trim(self) -> None:
        with store_errors():
            async with self.connection.redis.pipeline(transaction=False) as pipe:
                while self._written_bytes > self.budget:
                    uid, entry, size = self._written.popleft()
                    self._written_bytes -= size
                    pipe.xtrim(
                        self.connection.keys.of(uid).predictions(self.nonce),
                        minid=f"{entry.ms}-{entry.seq + 1}",
                        approximate=False,
                    )
                await pipe.execute()


class Found(NamedTuple):
    """A prediction that is stored: its row, what was answered by which route, and the context of its trace."""

    inputs: dict[str, bytes]
    answer: Answer
    route: Route
    context: str = ""


class PredictionReader:
    """Reads recorded predictions of the model ``uid``.

    Args:
        horizon: how long a prediction is stored, in seconds.
        wait_seconds: how long to wait for one that is not stored yet.
    """

    def __init__(self, connection: RedisConnection, uid: str, horizon: float, wait_seconds: float = 1.0) -> None:
        self.wait_seconds = wait_seconds
        self.connection = connection
        self.uid = uid
        self.keys = connection.keys.of(uid)
        self.horizon = horizon

    async def find(self, texts: Iterable[str]) -> dict[str, Found | InvalidInput]:
        """Inputs, answer and route of each prediction id, or the reason why they are missing.

        A prediction that is not yet stored is waited for, up to ``wait_seconds``.
        """
        found: dict[str, Found | InvalidInput] = {}
        waiting = set(texts)
        deadline = time.monotonic() + self.wait_seconds
        while waiting:
            answers = await self._look(waiting)
            found |= answers
            waiting = {text for text in waiting if _is_not_stored(answers[text])}
            if not waiting or time.monotonic() > deadline:
                break
            await asyncio.sleep(0.02)
        return found

    async def _look(self, texts: Iterable[str]) -> dict[str, Found | InvalidInput]:
        ids = {text: PredictionId.parse(text) for text in texts}
        places = {(found.nonce, found.entry) for found in ids.values() if found is not None and found.uid == self.uid}
        entries = await self._entries(places)
        return {text: self._answer(text, identifier, entries) for text, identifier in ids.items()}

    async def _entries(self, places: set[tuple[str, EntryId]]) -> dict[tuple[str, EntryId], PredictionBatch | str]:
        """The batch of each entry, or the code that says why it is missing."""
        ordered = sorted(places)
        with store_errors():
            async with self.connection.redis.pipeline(transaction=False) as pipe:
                for nonce, entry in ordered:
                    key = self.keys.predictions(nonce)
                    pipe.xrange(key, str(entry), str(entry))
                    pipe.xrange(key, "-", "+", 1)
                    pipe.xrevrange(key, "+", "-", 1)
                answers = await pipe.execute()
        is_complete = all(answers[::3])
        horizon_ms = 0 if is_complete else int((await self.connection.time() - self.horizon) * 1000)
        found: dict[tuple[str, EntryId], PredictionBatch | str] = {}
        for index, place in enumerate(ordered):
            exact, first, last = answers[3 * index : 3 * index + 3]
            if exact:
                found[place] = _decoder.decode(exact[0][1][b"b"])
            elif place[1].ms < horizon_ms or (first and place[1] < EntryId.parse(first[0][0])):
                found[place] = "prediction_expired"
            elif not last or place[1] > EntryId.parse(last[0][0]):
                found[place] = "prediction_not_stored"
            else:
                found[place] = "prediction_unknown"
        return found

    def _answer(
        self, text: str, identifier: PredictionId | None, entries: dict[tuple[str, EntryId], PredictionBatch | str]
    ) -> Found | InvalidInput:
        if identifier is None or identifier.uid != self.uid:
            return _missing(text, "prediction_unknown")
        batch = entries[identifier.nonce, identifier.entry]
        if isinstance(batch, str):
            return _missing(text, batch)
        if identifier.row >= batch.rows or not _is_token(identifier.token, batch.token(identifier.row)):
            return _missing(text, "prediction_unknown")
        return Found(*batch.row(identifier.row), batch.route, batch.contexts.get(identifier.row, ""))


REASONS = {
    "prediction_unknown": "this model has made no such prediction",
    "prediction_expired": "the prediction is no longer kept; send the inputs with the label",
    "prediction_not_stored": "the prediction was not recorded (yet); send the inputs with the label, or try again",
}


def _missing(text: str, code: str) -> InvalidInput:
    return InvalidInput(f"{REASONS[code]}: {text!r}", code=code, field="prediction_id", value=text)


def _is_token(given: str | None, kept: str) -> bool:
    return given is None or hmac.compare_digest(given.encode(errors="replace"), kept.encode())


def _is_not_stored(answer: Found | InvalidInput) -> bool:
    return isinstance(answer, InvalidInput) and answer.code == "prediction_not_stored"
