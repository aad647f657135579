"""Restore: files first, then keys that nothing refers to yet, the model's name last."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from redis.exceptions import RedisError

from driftline.errors import Conflict, Unavailable
from driftline.store.artifacts import Artifacts
from driftline.store.backup import format
from driftline.store.backup.copy import pattern
from driftline.store.backup.format import Entries, Fields, Index, Piece, SavedModel, Text
from driftline.store.catalog import Catalog, by_uid
from driftline.store.connection import RedisConnection, store_errors
from driftline.store.encryption import Encryption
from driftline.store.redis_keys import new_uid

MAX_BATCH = 500
"""Most short pieces that are written together."""


async def restore(
    connection: RedisConnection,
    artifacts: Artifacts,
    folder: Path,
    *,
    replace: bool = False,
    takes_plain: bool = False,
    api_keys: Path | None = None,
    forget_seconds: float = 0.0,
    owner_seconds: float = 120.0,
) -> Index:
    """Brings every model of a backup into the store, where a worker goes on with it.

    Nothing is written before every file has been read and verified.

    Args:
        replace: existing models (and API keys) are replaced; otherwise they are a :class:`Conflict`.
        takes_plain: also where there are encryption keys the backup may be plain, which anyone can have written.
        api_keys: the path to which API keys are restored; they must be in the backup.
        forget_seconds: how long servers need to notice that a model is gone.
        owner_seconds: how long the worker of a replaced model may take to release it.
    """
    index = format.read_index(folder, artifacts.encryption, takes_plain=takes_plain)
    await asyncio.to_thread(format.verify, folder, index, artifacts.encryption)
    if api_keys is not None:
        _refuse_api_keys(folder, index, api_keys, replace)
    restoring = Restore(connection, artifacts, folder, forget_seconds, owner_seconds)
    await restoring.refuse_clashes(index, replace)
    with format.disk_errors(artifacts.root):
        if api_keys is not None:
            found = format.read_file(folder / format.API_KEYS, artifacts.encryption)
            format.write_file(api_keys, found, Encryption())  # Where the servers look for them, as they write them.
        for model in index.models:
            await restoring.model(model)
        assert connection.store_id is not None
        await asyncio.to_thread(artifacts.adopt, connection.store_id)
    return index


def _refuse_api_keys(folder: Path, index: Index, path: Path, replace: bool) -> None:
    if index.api_keys is None:
        raise Conflict(f"{folder} holds no API keys; leave out --keys", code="no_api_keys")
    if path.exists() and not replace:
        raise Conflict(f"there are API keys in {path} already; leave out --keys, or give --replace", code="keys_exist")


class Restore:
    """Restores models of the backup ``folder`` into a store."""

    def __init__(
        self,
        connection: RedisConnection,
        artifacts: Artifacts,
        folder: Path,
        forget_seconds: float,
        owner_seconds: float,
    ) -> None:
        self.connection = connection
        self.catalog = Catalog(connection)
        self.artifacts = artifacts
        self.folder = folder
        self.forget_seconds = forget_seconds
        self.owner_seconds = owner_seconds

    async def refuse_clashes(self, index: Index, replace: bool) -> None:
        """:class:`Conflict` where a model's name, or its uid under another name, exists already."""
        names = await self.catalog.names()
        named = by_uid(names)
        for model in index.models:
            name, other = model.name, named.get(model.uid)
            if name in names and not replace:
                raise _taken(name)
            if other is not None and other != name:
                message = (
                    f"the model {name!r} of the backup is there already under the name {other!r}; delete that first"
                )
                raise Conflict(message, code="model_exists", field="name", value=other)

    async def model(self, model: SavedModel) -> None:
        """Restores one model. It is invisible until its name is written."""
        await self._remove(model.name)
        epoch = await self._clear(model.uid)
        await asyncio.to_thread(self._put_blobs, model)
        await self._write_keys(model, epoch)
        await self._write_name(model)
        await self.catalog.hint(model.uid)

    async def _remove(self, name: str) -> None:
        """Deletes the model with this name, and waits until its worker and the servers have released it."""
        uid = (await self.catalog.names()).get(name)
        if uid is None:
            return
        keys = self.connection.keys.of(uid)
        await self.connection.scripts.run("forget_name", [self.connection.keys.names], [name, uid])
        with store_errors():
            await self.connection.redis.unlink(*(key for key in keys.all() if key not in (keys.lease, keys.epoch)))
        await self.catalog.hint(uid)
        await self._wait_for_owner(name, uid)
        await asyncio.sleep(self.forget_seconds)
        await self._clear(uid)
        await asyncio.to_thread(self.artifacts.remove, uid)

    async def _wait_for_owner(self, name: str, uid: str) -> None:
        deadline = time.monotonic() + self.owner_seconds
        while (await self.catalog.owners([uid]))[uid] is not None:
            if time.monotonic() > deadline:
                message = f"a worker does not release the model {name!r}; stop it and restore again"
                raise Unavailable(message, code="model_owned")
            await asyncio.sleep(0.05)

    async def _clear(self, uid: str) -> int:
        """Deletes what an interrupted restore or a former model has left, but for the epoch, which it returns."""
        keys = self.connection.keys.of(uid)
        redis = self.connection.redis
        with store_errors():
            await redis.unlink(*(key for key in keys.all() if key != keys.epoch))
            for kind in ("item:", "predictions:", "key:"):
                found = [key async for key in redis.scan_iter(pattern(self.connection.keys, uid, kind), 1000)]
                for start in range(0, len(found), 1000):
                    await redis.unlink(*found[start : start + 1000])
            return int(await redis.get(keys.epoch) or 0)

    def _put_blobs(self, model: SavedModel) -> None:
        for digest in model.artifacts:
            path = self.folder / model.folder / "artifacts" / digest
            self.artifacts.put(model.uid, format.read_file(path, self.artifacts.encryption))

    async def _write_keys(self, model: SavedModel, epoch: int) -> None:
        """Writes long keys in parts; then the short ones in one transaction, with an epoch above those of all former owners."""
        base = self.connection.keys.of(model.uid).base.encode()
        short: list[Piece] = []
        for batch in _batches(self._pieces(model)):
            short += [piece for piece in batch if not _is_long(piece)]
            await self._write(base, filter(_is_long, batch), is_transaction=False)
        saved_epoch = next(
            (int(piece.value) for piece in short if isinstance(piece, Text) and piece.key == b"epoch"), 0
        )
        short += [Fields(b"meta", [(b"log_id", new_uid().encode())])]
        short += [Text(b"epoch", str(max(epoch, saved_epoch) + 1).encode())]
        await self._write(base, short, is_transaction=True)

    def _pieces(self, model: SavedModel) -> Iterator[Piece]:
        for name in (format.KEYS, format.RECEIPTS, format.PREDICTIONS):
            if name in model.files:
                yield from format.read_pieces(self.folder / model.folder / name, self.artifacts.encryption)

    async def _write(self, base: bytes, pieces: Iterable[Piece], is_transaction: bool) -> None:
        with store_errors():
            async with self.connection.redis.pipeline(transaction=is_transaction) as pipe:
                for piece in pieces:
                    piece.write(pipe, base)
                answers = await pipe.execute(raise_on_error=False)
            for answer in answers:
                # A write that was sent twice finds the entry of the first attempt.
                if isinstance(answer, RedisError) and "equal or smaller" not in str(answer):
                    raise answer

    async def _write_name(self, model: SavedModel) -> None:
        with store_errors():
            await self.connection.redis.hsetnx(self.connection.keys.names, model.name, model.uid)
        if await self.catalog.uid(model.name) != model.uid:
            await self._clear(model.uid)
            await asyncio.to_thread(self.artifacts.remove, model.uid)
            raise _taken(model.name)


def _taken(name: str) -> Conflict:
    return Conflict(
        f"there is already a model {name!r}; delete it, or give --replace to put the backup's in its place",
        code="model_exists",
        field="name",
        value=name,
    )


def _is_long(piece: Piece) -> bool:
    return isinstance(piece, Entries) or (isinstance(piece, Text) and piece.ms is not None)


def _batches(pieces: Iterator[Piece]) -> Iterator[list[Piece]]:
    """Batches of pieces that are written together: one page of a stream, or many short pieces."""
    batch: list[Piece] = []
    for piece in pieces:
        batch.append(piece)
        if isinstance(piece, Entries) or len(batch) == MAX_BATCH:
            yield batch
            batch = []
    yield batch
