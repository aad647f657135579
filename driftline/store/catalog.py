"""Which models there are: names, uids, specs and their states."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from driftline.errors import Conflict, NotFound, Unavailable
from driftline.store.alarms import PARTS, states
from driftline.store.commits import Head, Version, parse_head
from driftline.store.connection import RedisConnection, store_errors
from driftline.store.events import EventRecord, happen
from driftline.store.redis_keys import STORE_ID, new_uid
from driftline.store.watermarks import RESTORE, Backlog
from driftline.store.workers import Workers


class CatalogEntry(msgspec.Struct, frozen=True):
    """A model and its current state. ``waiting`` counts items in the log that are not learned yet.

    ``checkpointed`` is when its newest checkpoint was written, in seconds since 1970; None where that is not known.
    """

    uid: str
    name: str
    spec: dict[str, Any]
    created: float
    paused: bool
    head: Head
    last: int
    waiting: int
    checkpointed: float | None = None
    events: dict[str, int] = {}
    """How many events of each kind there have been."""
    watched: int = 0
    """Predicted rows whose inputs were compared with those before."""


class LogEnd(NamedTuple):
    """The newest record of a log, how many commands are pending, and the epoch of the model's owner."""

    newest: int
    pending: int
    epoch: int


class Measured(NamedTuple):
    """The learner's metrics of a model, the alarms that its worker has raised, and the backlog of its log."""

    metrics: dict[str, Any]
    alarms: list[dict[str, Any]]
    backlog: Backlog


def by_uid(names: Mapping[str, str]) -> dict[str, str]:
    """Uid → name, of name → uid."""
    return {uid: name for name, uid in names.items()}


class Catalog:
    """The map from names to models, and the stored state of each.

    Args:
        rounds: after so many looks :meth:`newest_names` reads all of them again, whether or not a hint has come.
    """

    def __init__(self, connection: RedisConnection, rounds: int = 30) -> None:
        self.connection = connection
        self.rounds = rounds
        self._known: dict[str, str] = {}
        self._known_uids: set[str] = set()
        self._looks = 0

    async def names(self) -> dict[str, str]:
        """Name → uid of every model; :class:`Unavailable` if the store has lost its data."""
        known = self.connection.store_id
        with store_errors():
            found = await self.connection.redis.hgetall(self.connection.keys.names)
        names = {name.decode(): uid.decode() for name, uid in found.items()}
        store_id = names.pop(STORE_ID, None)
        if store_id is None and known is None:
            store_id = await self._name_store()
        self.connection.recognise(store_id, known)
        self.connection.ends.keep(set(names.values()))
        return names

    async def newest_names(self) -> dict[str, str]:
        """:meth:`names`, for who asks again and again: while hints come, they are read only when a model came or went."""
        self._looks += 1
        if not self.connection.hears or self._looks >= self.rounds or await self._has_other_names():
            self._looks = 0  # Before the names are read: what is heard of meanwhile may have come too late for them.
            try:
                self._known = await self.names()
            except Unavailable:
                self._looks = self.rounds
                raise
            self._known_uids = set(self._known.values())
        return self._known

    async def _has_other_names(self) -> bool:
        """Whether there are more or fewer names than are known."""
        known = self.connection.store_id
        with store_errors():
            async with self.connection.redis.pipeline(transaction=False) as pipe:
                pipe.hget(self.connection.keys.names, STORE_ID)
                pipe.hlen(self.connection.keys.names)
                store_id, count = await pipe.execute()
        self.connection.recognise(store_id.decode() if store_id else None, known)
        return int(count) != len(self._known) + 1

    def heard_of(self, uid: str | None) -> None:
        """Takes a hint: one of a model that is not known yet, or None after hints were lost, has the names read again."""
        if uid not in self._known_uids:
            self._looks = self.rounds

    async def _name_store(self) -> str:
        """Gives a new store its id, or reads the one that another process has just given it."""
        names = self.connection.keys.names
        with store_errors():
            await self.connection.redis.hsetnx(names, STORE_ID, new_uid())
            found = await self.connection.redis.hget(names, STORE_ID)
        return str(found.decode())

    async def uid(self, name: str) -> str:
        """The uid of a name; :class:`NotFound` if there is none, :class:`Unavailable` if the store has lost it."""
        known = self.connection.store_id
        with store_errors():
            found, store_id = await self.connection.redis.hmget(self.connection.keys.names, name, STORE_ID)
        self.connection.recognise(store_id.decode() if store_id else None, known)
        if found is None:
            raise NotFound(f"there is no model {name!r}", code="unknown_model", field="model", value=name)
        return str(found.decode())

    async def create(self, uid: str, spec: dict[str, Any], first: Version, actor: str = "system") -> None:
        """Creates a model with its version 1; :class:`Conflict` when the name is taken. ``actor``: who asks for it."""
        keys, name = self.connection.keys.of(uid), spec["name"]
        meta = {"name": name, "spec": json.dumps(spec), "created": first.created, "log_id": new_uid(), "paused": 0}
        created = EventRecord("created", "the model was made, with version 1", actor, version=1)
        head = {"version": 1, "manifest": first.manifest, "step": 0, "offset": 0, "learned": 0}
        await self.mark_unnamed(uid)
        await self.connection.scripts.run(
            "create",
            [
                getattr(keys, noun)
                for noun in ("meta", "head", "versions", "coverage", "events", "routine", "checkpoints")
            ],
            [*map(_texts, (meta, head)), msgspec.json.encode(first), created.stored[1]],
        )
        with store_errors():
            added = await self.connection.redis.hsetnx(self.connection.keys.names, name, uid)
        is_taken = not added and await self.uid(name) != uid
        if is_taken:
            await self._remove_keys(uid)
        await self._settle(uid)
        if is_taken:
            raise Conflict(f"there is already a model {name!r}", code="model_exists", field="name", value=name)
        await self.hint(uid)

    async def live_versions(self, uids: Sequence[str]) -> dict[str, tuple[int | None, int | None]]:
        """The live version and the canary of each model, in one round trip; None where there is none."""
        with store_errors():
            async with self.connection.redis.pipeline(transaction=False) as pipe:
                for uid in uids:
                    pipe.hmget(self.connection.keys.of(uid).head, "version", "canary")
                found = await pipe.execute()

        def number(text: bytes | None) -> int | None:
            return int(text) if text else None

        return {uid: (number(live), number(canary)) for uid, (live, canary) in zip(uids, found, strict=True)}

    async def log_ends(self, uids: Sequence[str]) -> dict[str, LogEnd]:
        """Where each model's log ends, in one round trip."""
        with store_errors():
            async with self.connection.redis.pipeline(transaction=False) as pipe:
                for uid in uids:
                    keys = self.connection.keys.of(uid)
                    pipe.get(keys.last)
                    pipe.zcard(keys.pending)
                    pipe.get(keys.epoch)
                found = await pipe.execute()
        ends = zip(found[::3], found[1::3], found[2::3], strict=True)
        return {
            uid: LogEnd(int(last or 0), pending, int(epoch or 0))
            for uid, (last, pending, epoch) in zip(uids, ends, strict=True)
        }

    async def record_time(self, uid: str, n: int) -> float | None:
        """When record ``n`` of a model's log was appended, in seconds since 1970; None where the log no longer has it."""
        with store_errors():
            found = await self.connection.redis.xrange(self.connection.keys.of(uid).log, f"{n}-0", f"{n}-0")
        return int(found[0][1][b"t"]) / 1000 if found else None

    async def owners(self, uids: Sequence[str]) -> dict[str, str | None]:
        """The worker that holds the lease of each model; None where none does, or it is silent for too long."""
        holders, alive = await self.holders(uids), await Workers(self.connection).alive()
        return {uid: holder if holder in alive else None for uid, holder in holders.items()}

    async def holders(self, uids: Sequence[str]) -> dict[str, str | None]:
        """The worker that holds the lease of each model, dead or alive, in one round trip; None where it was released."""
        with store_errors():
            async with self.connection.redis.pipeline(transaction=False) as pipe:
                for uid in uids:
                    pipe.get(self.connection.keys.of(uid).lease)
                found = await pipe.execute()
        return {uid: owner.decode() if owner else None for uid, owner in zip(uids, found, strict=True)}

    async def is_named(self, uid: str) -> bool:
        """Whether a model still has a name; :class:`Unavailable` if the store has lost its data."""
        return uid in (await self.names()).values()

    async def get(self, name: str) -> CatalogEntry:
        """One model by name.

        Raises:
            NotFound: there is none.
            Unavailable: ``store_lost``: there was one, and the store has lost its data.
        """
        uid = await self.uid(name)
        for model in await self._load([(name, uid)]):
            return model
        if await self.is_named(uid):
            raise Unavailable(f"the store has lost the head of the model {name!r}; {RESTORE}", code="store_lost")
        raise NotFound(f"there is no model {name!r}", code="unknown_model", field="model", value=name)

    async def models(self) -> list[CatalogEntry]:
        """Every complete model, by name."""
        return await self._load(sorted((await self.names()).items()))

    async def _load(self, named: list[tuple[str, str]]) -> list[CatalogEntry]:
        with store_errors():
            async with self.connection.redis.pipeline(transaction=False) as pipe:
                for _, uid in named:
                    keys = self.connection.keys.of(uid)
                    pipe.hgetall(keys.meta)
                    pipe.hgetall(keys.head)
                    pipe.get(keys.last)
                    pipe.zrange(keys.commands, 0, -1)
                found = await pipe.execute()
        rows = [found[index : index + 4] for index in range(0, len(found), 4)]
        return [
            _model(uid, *row) for (_, uid), row in zip(named, rows, strict=True) if row[0] and row[1].get(b"manifest")
        ]

    async def measured(self, models: Sequence[CatalogEntry]) -> list[Measured]:
        """What is measured of each model, in one round trip."""
        now = await self.connection.time()
        with store_errors():
            async with self.connection.redis.pipeline(transaction=False) as pipe:
                for model in models:
                    keys = self.connection.keys.of(model.uid)
                    pipe.get(keys.metrics)
                    for noun in PARTS:
                        pipe.hgetall(getattr(keys, noun))
                    pipe.xrange(keys.log, f"({model.head.offset}-0", "+", 1)
                    pipe.xrevrange(keys.log, "+", "-", 1)
                    pipe.hget(keys.head, "bytes")
                found = await pipe.execute()
        size = 4 + len(PARTS)
        rows = (found[index : index + size] for index in range(0, len(found), size))
        return [_measured(model, now, *row) for model, row in zip(models, rows, strict=True)]

    async def delete(self, name: str, actor: str = "system") -> str:
        """Removes a model and returns its uid; its files can then be deleted. ``actor``: who asks for it."""
        uid = await self.uid(name)
        await self.mark_unnamed(uid)
        event = EventRecord("deleted", f"the model {name!r} was removed", actor, model=name, details={"uid": uid})
        await happen(self.connection, f"deleted:{uid}", event)
        await self.connection.scripts.run("forget_name", [self.connection.keys.names], [name, uid])
        await self._remove_keys(uid)
        await self._settle(uid)
        await self.hint(uid)
        return uid

    async def remove_unnamed(self, seconds: float) -> list[str]:
        """Removes the keys of models whose creation or removal was interrupted so long ago; returns their uids."""
        begun = await self.connection.time() - seconds
        with store_errors():
            found = await self.connection.redis.zrange(self.connection.keys.unnamed, "-inf", begun, byscore=True)
        named = set((await self.names()).values())
        gone = [uid.decode() for uid in found if uid.decode() not in named]
        for uid in gone:
            await self._remove_keys(uid)
        for uid in found:
            await self._settle(uid.decode())
        return gone

    async def mark_unnamed(self, uid: str) -> None:
        """Marks a model whose keys exist without its name: whoever finds the mark much later removes them."""
        begun = await self.connection.time()
        with store_errors():
            await self.connection.redis.zadd(self.connection.keys.unnamed, {uid: begun})

    async def _settle(self, uid: str) -> None:
        with store_errors():
            await self.connection.redis.zrem(self.connection.keys.unnamed, uid)

    async def hint(self, uid: str) -> None:
        """Publishes the hint that the model has changed."""
        with store_errors():
            await self.connection.redis.publish(self.connection.keys.hints, uid)

    async def _remove_keys(self, uid: str) -> None:
        with store_errors():
            await self.connection.redis.unlink(*self.connection.keys.of(uid).all())


def _model(
    uid: str, meta: dict[bytes, bytes], head: dict[bytes, bytes], last: bytes | None, commands: list[bytes]
) -> CatalogEntry:
    state = parse_head(head)
    newest = int(last or 0)
    return CatalogEntry(
        uid=uid,
        name=meta[b"name"].decode(),
        spec=json.loads(meta[b"spec"]),
        created=float(meta[b"created"]),
        paused=meta.get(b"paused") == b"1",
        head=state,
        last=newest,
        waiting=count_waiting(newest, state.offset, commands),
        checkpointed=float(head[b"checkpoint_time"]) if b"checkpoint_time" in head else None,
        events={
            name.removeprefix(b"events:").decode(): int(n) for name, n in head.items() if name.startswith(b"events:")
        },
        watched=int(meta.get(b"watched", 0)),
    )


def _texts(fields: dict[str, Any]) -> str:
    """The fields of a hash as JSON; Lua would round their numbers."""
    return json.dumps({name: str(value) for name, value in fields.items()})


def _measured(model: CatalogEntry, now: float, metrics: bytes | None, *rest: Any) -> Measured:
    *alarms, oldest, newest, learned = rest
    waits_since = int(oldest[0][1][b"t"]) / 1000 if oldest and model.waiting else now
    backlog = Backlog(
        records=max(0, model.last - model.head.offset),
        bytes=max(0, int(newest[0][1].get(b"b", 0)) - int(learned or 0)) if newest else 0,
        seconds=max(0.0, now - waits_since),
        gap=_gap(model, oldest),
    )
    return Measured(json.loads(metrics or b"{}"), states(*alarms), backlog)


def _gap(model: CatalogEntry, oldest: list[tuple[bytes, Any]]) -> int | None:
    """The number of a record that is missing in the log: the newest learned one, or the next one to learn."""
    offset = model.head.offset
    if model.last < offset:
        return offset
    is_next_there = bool(oldest) and int(oldest[0][0].partition(b"-")[0]) == offset + 1
    return None if is_next_there or model.last == offset else offset + 1


def count_waiting(newest: int, offset: int, commands: list[bytes]) -> int:
    """How many items lie after ``offset`` in a log that ends at ``newest``; ``commands`` are the numbers of its commands."""
    return newest - offset - sum(int(n) > offset for n in commands)
