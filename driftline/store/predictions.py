"""Recorded predictions, stored until their labels arrive: written after the answer, one entry for each batch."""

from __future__ import annotations

import asyncio
import dataclasses
import hmac
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import NamedTuple, TypeAlias

import msgspec
from redis.exceptions import RedisError

from driftline.errors import InvalidInput, Unavailable
from driftline.records import Answer, Route
from driftline.store.connection import RedisConnection, store_errors
from driftline.store.facts import fact_of_key
from driftline.store.owners import ANY_OWNER, EVERYTHING, Access, Owners, owner_of, shown_name, stored_name
from driftline.store.prediction_batches import PredictionBatch, decode_batch, encode_batch
from driftline.store.prediction_ids import EntryId, PredictionId
from driftline.store.prediction_keys import PredictionKeys, place_text
from driftline.store.prediction_streams import CLAIM_SECONDS, PredictionStreams, StreamPart
from driftline.store.unwritten import Unwritten, next_part

MARK_SECONDS = 10.0
"""How often a stream that is written to is marked as such, and its expiry set again."""
EXPIRY_MARGIN = 120
"""For so many seconds more than its predictions are kept does a stream stay that nobody writes to."""


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
        self.streams = PredictionStreams(connection, horizon)
        self.dropped = 0
        self._has_others = False
        self.on_told: list[Callable[[], None]] = []
        """Called when something is written that sinks are told of."""
        self._told: dict[str, int] | None = {}
        """How many of each model sinks have been told of in the streams; None: that is not known yet."""
        self._newest = EntryId(0, 0)
        self._unwritten: deque[Unwritten] = deque()
        self._unwritten_bytes = 0
        self._written: deque[StreamPart] = deque()
        self._written_bytes = 0
        self._mark_due: dict[str, float] = {}
        self._wake = asyncio.Event()
        self._writing = asyncio.Lock()

    @property
    def nonce(self) -> str:
        """What the names of the streams that it writes end with."""
        return self.streams.nonce

    async def keep_streams(self) -> None:
        """Keeps the streams this replica's until cancelled."""
        while True:
            await self.claim_streams()
            await asyncio.sleep(CLAIM_SECONDS / 4)

    async def claim_streams(self) -> None:
        """Claims the streams; what a former replica has left in them counts against the budget, and what sinks are told of is
        counted on from there."""
        if await self.streams.claim():
            self._has_others, self._told = True, None
        if not self._has_others:
            return
        left, self._told = await self.streams.left(), await self.streams.told()
        self._has_others = False
        self._newest = max([self._newest, *(part.last for part in left)])
        self._written = deque(sorted([*left, *self._written], key=lambda part: part.last))
        self._written_bytes = sum(part.size for part in self._written)

    async def end(self) -> None:
        """Writes what is queued, and leaves the streams to the next replica."""
        await self.flush()
        await self.streams.release()

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
        told = 0
        if batch.texts and self._told is None:
            batch, told = msgspec.structs.replace(batch, told=-1), -1
        elif self._told is not None and batch.texts:
            batch = msgspec.structs.replace(batch, told=self._told.get(uid, 0))
            self._told[uid] = told = batch.told + len(batch.texts)
        data = encode_batch(batch)
        places = dict[str, str]()
        for row, key in batch.keys.items():
            place = place_text(self.nonce, str(entry), row)
            places |= dict.fromkeys({key, stored_name(shown_name(key), ANY_OWNER)} if owner_of(key) else {key}, place)
        unwritten = Unwritten(uid, self.streams.of(uid), entry, data, places, frozenset(batch.owners.values()), told)
        self._unwritten.append(unwritten)
        self._unwritten_bytes += unwritten.size
        while self._unwritten_bytes > self.max_unwritten_bytes:
            self._unwritten_bytes -= self._unwritten.popleft().size
            self.dropped += 1
        self._wake.set()

    @property
    def join_horizon(self) -> float:
        """The age in seconds up to which predictions of this replica can be joined with a label."""
        if self._written_bytes < self.budget * 0.9 or not self._written:
            return self.horizon
        return min(self.horizon, self.connection.now() - self._written[0].last.ms / 1000)

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
        """Writes what is queued, and waits for what is being written; :class:`Unavailable` leaves it queued."""
        async with self._writing:
            await self._flush()

    async def _flush(self) -> None:
        if self.connection.server.known.is_full:
            # The memory that is left is reserved for steps and checkpoints, which free memory.
            self.dropped += len(self._unwritten)
            self._unwritten.clear()
            self._unwritten_bytes = 0
            return
        left = len(self._unwritten)
        while left > 0 and self._unwritten:
            part = next_part(self._unwritten, left)
            left -= len(part)
            await self._flush_part(part)

    async def _flush_part(self, batch: list[Unwritten]) -> None:
        try:
            await self._write(batch)
            await self._index(batch)
        except Unavailable:
            self._unwritten.extendleft(reversed(batch))
            raise
        if any(each.told for each in batch):
            for tell in self.on_told:
                tell()
        size = sum(each.size for each in batch)
        self._unwritten_bytes -= size
        self._written.extend(StreamPart(each.stream, each.entry, each.size) for each in batch)
        self._written_bytes += size
        await self._trim()

    async def _index(self, batch: Iterable[Unwritten]) -> None:
        """Notes what is the newest under each key; only after it is written, so that who finds a key finds its prediction."""
        found: dict[str, dict[str, str]] = {}
        for each in batch:
            if each.places:
                found.setdefault(each.uid, {}).update(each.places)
        for uid, places in found.items():
            await PredictionKeys(self.connection, uid).note(places, self.horizon)

    async def _write(self, batch: Iterable[Unwritten]) -> None:
        owners: dict[str, set[str]] = {}
        for each in batch:
            owners.setdefault(each.uid, set()).update(each.owners)
        for uid, found in owners.items():
            await Owners(self.connection, uid).note(found)
        oldest_ms, now = self._newest.ms - int(self.horizon * 1000), time.monotonic()
        with store_errors():
            async with self.connection.redis.pipeline(transaction=False) as pipe:
                if told := {f"{each.uid}:{each.nonce}" for each in batch if each.told}:
                    # Before it is there: of what is cut off here, whoever looks finds nothing, and looks again.
                    pipe.zadd(self.connection.keys.told, dict.fromkeys(told, int(self.connection.now() * 1000)))
                for each in batch:
                    pipe.xadd(each.stream, {"b": each.data}, id=str(each.entry), minid=oldest_ms)
                    if now >= self._mark_due.get(each.stream, 0.0):
                        self._mark_due[each.stream] = now + MARK_SECONDS
                        pipe.zadd(self.connection.keys.predicted, {f"{each.uid}:{each.nonce}": self.connection.now()})
                        pipe.expire(each.stream, int(self.horizon + EXPIRY_MARGIN))
                if counts := {f"{each.uid}:{each.nonce}": each.told for each in batch if each.told > 0}:
                    # After it is there: of what counts, whoever finds nothing any more knows that it has gone.
                    pipe.hset(self.connection.keys.told_counts, mapping=counts)
                answers = await pipe.execute(raise_on_error=False)
        refused = [answer for answer in answers if isinstance(answer, RedisError)]
        # A retried write finds the entry of its first attempt: nothing is lost.
        self.dropped += sum("equal or smaller" not in str(answer) for answer in refused)

    async def _trim(self) -> None:
        with store_errors():
            async with self.connection.redis.pipeline(transaction=False) as pipe:
                while self._written_bytes > self.budget:
                    stream, last, size = self._written.popleft()
                    self._written_bytes -= size
                    pipe.xtrim(stream, minid=f"{last.ms}-{last.seq + 1}", approximate=False)
                await pipe.execute()


class Found(NamedTuple):
    """A prediction that is stored: its row, what was answered by which route and when, the context of its trace, and the name
    of the fact that a label of it is about: its key, where it has one.
    """

    inputs: dict[str, bytes]
    answer: Answer
    route: Route
    context: str
    fact: str
    made_at: float


class PredictionReader:
    """Reads recorded predictions of the model ``uid``.

    Args:
        horizon: how long a prediction is stored, in seconds.
        wait_seconds: how long to wait for one that is not stored yet.
        key_seconds: how long to wait for one under a key that is not known: most of these never come.
    """

    def __init__(
        self,
        connection: RedisConnection,
        uid: str,
        horizon: float,
        wait_seconds: float = 1.0,
        key_seconds: float = 0.25,
    ) -> None:
        self.wait_seconds = wait_seconds
        self.key_seconds = key_seconds
        self.connection = connection
        self.uid = uid
        self.keys = connection.keys.of(uid)
        self.horizon = horizon

    async def find(self, texts: Iterable[str], access: Access = EVERYTHING) -> dict[str, Found | InvalidInput]:
        """Inputs, answer and route of each prediction id, or the reason why they are missing.

        A prediction that is not yet stored is waited for, up to ``wait_seconds``. One that is another's is unknown.
        """
        return await self._find(set(texts), self._parsed, access, self.wait_seconds)

    async def find_keys(self, keys: Iterable[str], access: Access = EVERYTHING) -> dict[str, Found | InvalidInput]:
        """The same of the newest prediction under each key, waited for up to ``key_seconds``."""
        return await self._find(set(keys), self._newest, access, self.key_seconds)

    async def _find(
        self, waiting: set[str], named: Named, access: Access, seconds: float
    ) -> dict[str, Found | InvalidInput]:
        found: dict[str, Found | InvalidInput] = {}
        deadline = time.monotonic() + seconds
        while waiting:
            answers = await self._look(await named(waiting, access), access)
            found |= answers
            waiting = {text for text in waiting if _may_come(answers[text])}
            if not waiting or time.monotonic() > deadline:
                break
            await asyncio.sleep(0.02)
        return found

    async def _parsed(self, texts: Iterable[str], access: Access) -> dict[str, PredictionId | InvalidInput]:
        ids = {text: PredictionId.parse(text) for text in texts}
        return {
            text: _missing(text, "prediction_unknown") if found is None or found.uid != self.uid else found
            for text, found in ids.items()
        }

    async def _newest(self, keys: Iterable[str], access: Access) -> dict[str, PredictionId | InvalidInput]:
        places = await PredictionKeys(self.connection, self.uid).find(list(keys), access)
        return {
            key: _missing(key, "key_unknown", "key")
            if place is None
            else PredictionId(self.uid, place.nonce, EntryId.parse(place.entry), place.row)
            for key, place in places.items()
        }

    async def _look(
        self, named: dict[str, PredictionId | InvalidInput], access: Access
    ) -> dict[str, Found | InvalidInput]:
        places = {(found.nonce, found.entry) for found in named.values() if isinstance(found, PredictionId)}
        entries = await self._entries(places)
        return {
            text: self._answer(text, found, entries, access) if isinstance(found, PredictionId) else found
            for text, found in named.items()
        }

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
                found[place] = decode_batch(exact[0][1][b"b"])
            elif place[1].ms < horizon_ms or (first and place[1] < EntryId.parse(first[0][0])):
                found[place] = "prediction_expired"
            elif not last or place[1] > EntryId.parse(last[0][0]):
                found[place] = "prediction_not_stored"
            else:
                found[place] = "prediction_unknown"
        return found

    def _answer(
        self,
        text: str,
        identifier: PredictionId,
        entries: dict[tuple[str, EntryId], PredictionBatch | str],
        access: Access,
    ) -> Found | InvalidInput:
        batch = entries[identifier.nonce, identifier.entry]
        if isinstance(batch, str):
            return _missing(text, batch)
        row, token = identifier.row, batch.token(identifier.row)
        is_there = row < batch.rows and row not in batch.erased and _is_token(identifier.token, token)
        if not is_there or not access.sees(batch.owner(row)):
            return _missing(text, "prediction_unknown")
        named = dataclasses.replace(identifier, token=token)
        fact = fact_of_key(batch.keys[row]) if row in batch.keys else stored_name(named.fact, batch.owner(row))
        return Found(*batch.row(row), batch.route, batch.contexts.get(row, ""), fact, identifier.entry.ms / 1000)


Named: TypeAlias = Callable[[Iterable[str], Access], Awaitable[dict[str, PredictionId | InvalidInput]]]

REASONS = {
    "prediction_unknown": "this model has made no such prediction, as far as this caller may know",
    "prediction_expired": "the prediction is no longer kept; send the inputs with the label",
    "prediction_not_stored": "the prediction was not recorded (yet); send the inputs with the label, or try again",
    "key_unknown": "no prediction is kept under this key, as far as this caller may know; send the inputs with the label",
}


def _missing(text: str, code: str, field: str = "prediction_id") -> InvalidInput:
    return InvalidInput(f"{REASONS[code]}: {text!r}", code=code, field=field, value=text)


def _is_token(given: str | None, kept: str) -> bool:
    return given is None or hmac.compare_digest(given.encode(errors="replace"), kept.encode())


def _may_come(answer: Found | InvalidInput) -> bool:
    return isinstance(answer, InvalidInput) and answer.code in ("prediction_not_stored", "key_unknown")
