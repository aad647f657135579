"""Takes what is to be forgotten out of the store, so that none of its keys holds any of it.

Each part may be done again: after a crash all of them are, from the first. The log comes last, because it says which records
are meant. Receipts come first: from then on nobody can correct a label that is being erased.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import TypeAlias

import msgspec

from driftline.errors import Fenced, Unavailable
from driftline.records import Command, Item, decode, encode
from driftline.store.backup.copy import pattern
from driftline.store.connection import RedisConnection, store_errors
from driftline.store.facts import fact_of_key, key_of_fact
from driftline.store.owners import ANY_OWNER, shown_name, stored_name
from driftline.store.prediction_batches import decode_batch, encode_batch
from driftline.store.prediction_ids import EntryId, PredictionId
from driftline.store.selection import ErasedRecords, Selection
from driftline.store.sources import SourceBook

ERASED, FORGET = "erased", "forget"
"""The kinds of the command that stands where a record was erased, and of the one that has asked for it."""
MAX_PAGE = 200
"""Most entries of a stream, and most keys, that are read at once."""
COPY_SECONDS = 3600
"""A copy of a stream that a crash has left expires after so long."""

Fields: TypeAlias = dict[bytes, bytes]
Predicted: TypeAlias = dict[str, dict[bytes, dict[int, str]]]
"""By stream and entry the rows that are meant, with the fact of each."""


class Erasure:
    """Erases records of the model ``uid``, as its owner of an ``epoch``."""

    def __init__(self, connection: RedisConnection, uid: str, epoch: int) -> None:
        self.connection = connection
        self.redis = connection.redis
        self.uid = uid
        self.keys = connection.keys.of(uid)
        self.epoch = epoch

    async def receipts(self, records: ErasedRecords) -> None:
        """What is known of the records under any name: from now on they are known as forgotten, for as long as resends are."""
        async for names in self._scanned("item:"):
            with store_errors():
                found = await self.redis.mget(names)
            meant = [
                (name, n)
                for name, text in zip(names, found, strict=True)
                if text is not None and int(n := text.partition(b":")[0]) in records.numbers
            ]
            if meant:
                await self.connection.scripts.run(
                    "erase", [self.keys.meta, *(name for name, _ in meant)], [n for _, n in meant]
                )

    async def predictions(self, records: ErasedRecords) -> Predicted:
        """Their predictions, also where no label has come; as :meth:`predicted` gives them."""
        erased = await self.predicted(records)
        for name, meant in erased.items():
            await self._rewrite(name, partial(_without, meant))
        named = {key for fact in records.facts if (key := key_of_fact(fact)) is not None}
        keys = [self.keys.key(name) for key in named for name in {key, stored_name(shown_name(key), ANY_OWNER)}]
        for start in range(0, len(keys), MAX_PAGE):
            with store_errors():
                await self.redis.unlink(*keys[start : start + MAX_PAGE])
        return erased

    async def predicted(self, records: ErasedRecords) -> Predicted:
        """The predictions that records or their facts are about."""
        found: Predicted = {}
        async for names in self._scanned("predictions:"):
            for name in names:
                if meant := await self._meant(name, records.facts):
                    found[name] = meant
        return found

    async def _meant(self, stream: str, facts: set[str]) -> dict[bytes, dict[int, str]]:
        """The rows of each entry of a replica's predictions that some facts are about, with these."""
        nonce, found = stream.rpartition(":")[2], dict[bytes, dict[int, str]]()
        async for entry, fields in self._entries(stream):
            batch = decode_batch(fields[b"b"])
            rows = {row: fact for row, key in batch.keys.items() if (fact := fact_of_key(key)) in facts}
            for row in set(range(batch.rows)) - set(batch.erased):
                plain = PredictionId(self.uid, nonce, EntryId.parse(entry), row, batch.token(row)).fact
                fact = stored_name(plain, batch.owner(row))
                if fact in facts:
                    rows[row] = fact
            if rows:
                found[entry] = rows
        return found

    async def refusals(self, records: ErasedRecords, selection: Selection) -> None:
        """Why they were not learned, and of what was asked for that which a source could not take, or lets wait."""
        numbers = sorted(records.numbers)
        for start in range(0, len(numbers), MAX_PAGE):
            with store_errors():
                async with self.redis.pipeline(transaction=False) as pipe:
                    for n in numbers[start : start + MAX_PAGE]:
                        pipe.zremrangebyscore(self.keys.rejected, n, n)
                    await pipe.execute()
        book = SourceBook(self.connection, self.uid)
        names = [text.encode() for text in selection.asked]
        letters = [
            letter.id
            for letter in await book.dead()
            if selection.takes(letter.time, letter.source) or any(name in letter.raw for name in names)
        ]
        if letters:
            await book.unbury(letters)
        waiting = [
            label
            for label in await book.waiting()
            if label.key in selection.keys or selection.takes(self.connection.now(), label.source)
        ]
        await book.wait_no_longer([label.id for label in waiting])

    async def log(self, records: ErasedRecords, command: int) -> None:
        """The records themselves: a command that does nothing stands in the place of each. Of the names that it was given the
        ``command`` that has asked for it keeps none.
        """
        numbers = list[int]()

        def changed(entry: bytes, fields: Fields) -> Fields:
            n, record = int(entry.partition(b"-")[0]), decode(fields[b"d"])
            if n == command and isinstance(record, Command):
                return {**fields, b"d": encode(msgspec.structs.replace(record, arguments={}))}
            if not isinstance(record, Item) or not records.has(n, record):
                return fields
            numbers.append(n)
            return {**fields, b"d": encode(Command(f"{ERASED}:{n}", ERASED))}

        await self._rewrite(self.keys.log, changed, numbers)

    async def _rewrite(
        self, stream: str, change: Callable[[bytes, Fields], Fields], commands: Sequence[int] = ()
    ) -> None:
        """Puts a stream in the place of another whose entries are changed; ``commands`` may grow meanwhile."""
        copy, last = f"{self.keys.base}copy:{self.epoch}", b""
        with store_errors():
            await self.redis.unlink(copy)
        async for page in self._pages(stream):
            with store_errors():
                async with self.redis.pipeline(transaction=False) as pipe:
                    for entry, fields in page:
                        pipe.xadd(copy, change(entry, fields), id=entry)
                    pipe.expire(copy, COPY_SECONDS)
                    await pipe.execute()
            last = page[-1][0]
        keys = [self.keys.epoch, stream, copy, self.keys.commands]
        if await self.connection.scripts.run("rewrite", keys, [self.epoch, last, *commands]) == b"fenced":
            raise Fenced("another worker owns the model now")

    async def files(self, wait: Callable[[], Awaitable[None]]) -> bool:
        """Lets the server rewrite its append-only file, without what was erased; whether it has."""
        try:
            with store_errors():
                found = await self.redis.info("persistence")
                if "aof_enabled" not in found:
                    return False  # A cluster: each of its nodes has a file of its own.
                if not found["aof_enabled"]:
                    return True
                await self.redis.bgrewriteaof()
                while (found := await self.redis.info("persistence")).get("aof_rewrite_in_progress") or found.get(
                    "aof_rewrite_scheduled"
                ):
                    await wait()
                return bool(found.get("aof_last_bgrewrite_status") == "ok")
        except Unavailable:
            return False

    async def _entries(self, stream: str) -> AsyncIterator[tuple[bytes, Fields]]:
        async for page in self._pages(stream):
            for entry in page:
                yield entry

    async def _pages(self, stream: str) -> AsyncIterator[list[tuple[bytes, Fields]]]:
        start = "-"
        while True:
            with store_errors():
                page = await self.redis.xrange(stream, start, "+", MAX_PAGE)
            if not page:
                return
            yield page
            start = f"({page[-1][0].decode()}"

    async def _scanned(self, kind: str) -> AsyncIterator[list[str]]:
        """The names of the model's keys of one kind, some at once."""
        with store_errors():
            found = {
                key.decode() async for key in self.redis.scan_iter(pattern(self.connection.keys, self.uid, kind), 1000)
            }
        names = sorted(found)
        for start in range(0, len(names), MAX_PAGE):
            yield names[start : start + MAX_PAGE]


def _without(meant: Mapping[bytes, Mapping[int, str]], entry: bytes, fields: Fields) -> Fields:
    if entry not in meant:
        return fields
    return {**fields, b"b": encode_batch(decode_batch(fields[b"b"]).without(meant[entry]))}


def facts_of(predicted: Predicted) -> list[str]:
    """The name of the fact of each prediction."""
    return [fact for meant in predicted.values() for rows in meant.values() for fact in rows.values()]
