"""The sources of a model: how each is configured, how it does, and the records that it could not take."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, TypeAlias

import msgspec

from driftline.errors import Conflict, NotFound
from driftline.store.connection import RedisConnection, store_errors
from driftline.store.events import EventRecord

MAX_DEAD, MAX_DEAD_BYTES, MAX_RAW_BYTES = 1000, 16 * 2**20, 2**16
"""How many dead letters are kept of a model, in how many bytes, and how many of a record's own bytes."""

RecordFormat: TypeAlias = Literal["json", "ndjson", "csv", "msgpack", "avro", "protobuf", "fields"]
"""How a record is written. ``fields``: a MessagePack map of byte strings, as a reader of entries with text fields gives it."""
SourceCondition: TypeAlias = Literal["running", "catching_up", "paused", "failing", "over"]


class StoredSource(msgspec.Struct, frozen=True, omit_defaults=True):
    """A source as it is configured. Its position stands under ``key``, which stays when ``spec`` is changed."""

    name: str
    spec: dict[str, Any]
    key: str
    created: float
    actor: str = ""
    paused: bool = False

    @property
    def text(self) -> str:
        """It as it is stored."""
        return msgspec.json.encode(self, order="sorted").decode()


class StoredGap(msgspec.Struct, frozen=True):
    """Records that could not be read any more: from where to where, and when that was found."""

    start: str
    end: str
    reason: str
    time: float


class SourceState(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a source does, as its worker last told: ``taken`` and ``refused`` records since it was opened by this worker.

    ``lag_records`` are left to read, and ``lag_seconds`` ago all had been read; None where that is not known.
    """

    name: str
    type: str
    state: SourceCondition
    since: float
    time: float
    reason: str = ""
    taken: int = 0
    refused: int = 0
    waiting: int = 0
    """Labels that wait for the prediction that they are about."""
    position: str = ""
    lag_records: int | None = None
    lag_seconds: float | None = None
    gaps: list[StoredGap] = []
    is_stored: bool = True
    """Whether it can be changed; else it comes from ``DRIFTLINE_SOURCES``."""


class DeadLetter(msgspec.Struct, frozen=True, omit_defaults=True):
    """A record that a source could not take: where it stands, its bytes, and why. ``is_cut``: these are only its beginning."""

    id: str
    source: str
    place: str
    reason: str
    raw: bytes
    format: RecordFormat
    time: float
    number: int = 0
    is_cut: bool = False


class WaitingLabel(msgspec.Struct, frozen=True, array_like=True):
    """An item of feedback by key, as JSON, that waits for the prediction under its key; and the record that it came from.

    ``place`` is its place among those that came with it.
    """

    id: str
    source: str
    key: str
    item: bytes
    until: float
    place: int
    record: str
    raw: bytes
    format: RecordFormat


class SourceBook:
    """The sources of the model ``uid``."""

    def __init__(self, connection: RedisConnection, uid: str) -> None:
        self.connection = connection
        self.uid = uid
        self.keys = connection.keys.of(uid)

    async def stored(self) -> dict[str, StoredSource]:
        """Every source that is configured, by its name."""
        with store_errors():
            found = await self.connection.redis.hgetall(self.keys.source_specs)
        return parse_stored(found)

    async def get(self, name: str) -> StoredSource:
        """One of them; :class:`NotFound` where there is none."""
        with store_errors():
            found = await self.connection.redis.hget(self.keys.source_specs, name)
        if found is None:
            raise NotFound(f"there is no source {name!r}", code="unknown_source", field="source", value=name)
        return msgspec.json.decode(found, type=StoredSource)

    async def write(self, before: StoredSource | None, after: StoredSource | None, what: str, actor: str) -> None:
        """Makes, changes or removes one; :class:`Conflict` where another caller was first."""
        named = after or before
        assert named is not None
        event = EventRecord("source", f"the source {named.name} was {what}", actor, details={"source": named.name})
        nouns = ("meta", "head", "source_specs", "source_states", "events", "routine")
        texts = ["" if each is None else each.text for each in (before, after)]
        answer = await self.connection.scripts.run(
            "source",
            [getattr(self.keys, noun) for noun in nouns],
            [self.connection.keys.hints, self.uid, named.name, *texts, event.stored[1]],
        )
        if answer == b"gone":
            raise NotFound("the model has been deleted", code="unknown_model")
        if answer == b"changed":
            message = f"the source {named.name!r} " + ("exists" if before is None else "was changed meanwhile")
            raise Conflict(
                message, code="source_exists" if before is None else "conflict", field="name", value=named.name
            )
        event.log(self.uid)

    async def states(self) -> dict[str, SourceState]:
        """How each does, by its name, as far as a worker has told."""
        with store_errors():
            found = await self.connection.redis.hgetall(self.keys.source_states)
        return {name.decode(): msgspec.json.decode(text, type=SourceState) for name, text in found.items()}

    async def tell(self, state: SourceState) -> None:
        """Stores how one does."""
        text = msgspec.json.encode(state)
        await self.connection.scripts.run("note", [self.keys.meta, self.keys.source_states], [state.name, text])

    async def forget(self, names: Sequence[str]) -> None:
        """Removes what is told of sources that are no more; one of these that was made again meanwhile stays."""
        if names:
            await self.connection.scripts.run("untold", [self.keys.source_specs, self.keys.source_states], [*names])

    async def position(self, key: str) -> str:
        """How far a source has been read; empty at first."""
        with store_errors():
            found = await self.connection.redis.hget(self.keys.sources, key)
        return found.decode() if found else ""

    async def forget_position(self, key: str) -> None:
        """Lets a source that is made again begin from its beginning."""
        with store_errors():
            await self.connection.redis.hdel(self.keys.sources, key)

    async def bury(self, letters: Iterable[DeadLetter]) -> None:
        """Keeps records that cannot be taken, each once by its id."""
        arguments: list[Any] = [MAX_DEAD, MAX_DEAD_BYTES]
        for letter in letters:
            arguments += [letter.id, letter.source, msgspec.msgpack.encode(letter)]
        keys = [getattr(self.keys, noun) for noun in ("meta", "dead", "dead_order", "dead_counts")]
        await self.connection.scripts.run("bury", keys, arguments)

    async def wait(self, labels: Iterable[WaitingLabel]) -> None:
        """Keeps labels until their predictions come, each once by its id."""
        arguments = [part for label in labels for part in (label.id, msgspec.msgpack.encode(label))]
        if arguments:
            await self.connection.scripts.run("wait", [self.keys.meta, self.keys.waiting], arguments)

    async def waiting(self, source: str | None = None) -> list[WaitingLabel]:
        """The labels that wait; ``source``: of one source alone."""
        with store_errors():
            found = await self.connection.redis.hvals(self.keys.waiting)
        labels = [msgspec.msgpack.decode(text, type=WaitingLabel) for text in found]
        return [label for label in labels if source in (None, label.source)]

    async def wait_no_longer(self, ids: Sequence[str]) -> None:
        """Keeps these labels no longer."""
        if ids:
            with store_errors():
                await self.connection.redis.hdel(self.keys.waiting, *ids)

    async def unbury(self, ids: Sequence[str]) -> int:
        """Takes some off the list; how many are left."""
        keys = [getattr(self.keys, noun) for noun in ("dead", "dead_order", "dead_counts")]
        return int(await self.connection.scripts.run("unbury", keys, list(ids)))

    async def dead(self, count: int = MAX_DEAD, source: str | None = None) -> list[DeadLetter]:
        """The newest records that could not be taken, the newest first; ``source``: of one source alone."""
        with store_errors():
            ids = await self.connection.redis.zrevrange(self.keys.dead_order, 0, -1)
            found = await self.connection.redis.hmget(self.keys.dead, ids) if ids else []
        letters = [msgspec.msgpack.decode(text, type=DeadLetter) for text in found if text is not None]
        return [letter for letter in letters if source in (None, letter.source)][:count]

    async def dead_after(self, number: int, count: int = 500) -> list[tuple[int, DeadLetter]]:
        """Those that came after the so-many-th, each with how many had come with it, the oldest first."""
        with store_errors():
            ids = await self.connection.redis.zrangebyscore(
                self.keys.dead_order, f"({number}", "+inf", start=0, num=count, withscores=True
            )
            found = await self.connection.redis.hmget(self.keys.dead, [each for each, _ in ids]) if ids else []
        return [
            (int(order), msgspec.msgpack.decode(text, type=DeadLetter))
            for (_, order), text in zip(ids, found, strict=True)
            if text is not None
        ]

    async def dead_counts(self) -> dict[str, int]:
        """How many records of each source could ever not be taken."""
        with store_errors():
            found = await self.connection.redis.hgetall(self.keys.dead_counts)
        return {name.decode(): int(count) for name, count in found.items() if not name.startswith(b"#")}


def parse_stored(found: dict[bytes, bytes]) -> dict[str, StoredSource]:
    """Configurations as they are read, by name."""
    return {name.decode(): msgspec.json.decode(text, type=StoredSource) for name, text in sorted(found.items())}


async def all_stored(connection: RedisConnection, uids: Sequence[str]) -> dict[str, dict[bytes, bytes]]:
    """The configurations of some models' sources, as they stand in the store, in one round trip."""
    with store_errors():
        async with connection.redis.pipeline(transaction=False) as pipe:
            for uid in uids:
                pipe.hgetall(connection.keys.of(uid).source_specs)
            found = await pipe.execute()
    return dict(zip(uids, found, strict=True))
