"""Backup: copies each model as of one point of its log, while it goes on learning."""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from driftline.errors import ConfigurationError, Conflict, CorruptData, NotFound, Unavailable
from driftline.store.artifacts import Artifacts
from driftline.store.backup import format
from driftline.store.backup.format import BackupFile, Entries, Entry, Fields, Index, Piece, SavedModel, Scores, Text
from driftline.store.catalog import Catalog
from driftline.store.commits import Head, Version, parse_head
from driftline.store.connection import RedisConnection, store_errors
from driftline.store.encryption import Encryption
from driftline.store.redis_keys import Keys
from driftline.support import private

MAX_PAGE = 200
"""Most entries of a stream that are read, and kept in memory, at once."""
HAPPENED = ("events", "routine")
"""The streams that are copied as far as they are kept."""
SCAN_COUNT = 1000
"""How many keys one SCAN looks at."""


class Overtaken(Exception):
    """Something that the copied point refers to was trimmed or deleted in the meantime."""


@dataclass(frozen=True)
class Point:
    """A model as of one point. ``streams``: the first and the last number of each stream that is still to be read whole;
    ``happened``: the id of its last event."""

    uid: str
    name: str
    pieces: list[Piece]
    streams: dict[str, tuple[int, int]]
    happened: str
    head: Head
    versions: list[Version]
    last: int


class _Manifest(msgspec.Struct, frozen=True):
    """The part of a manifest that a backup needs: which files it names."""

    files: dict[str, BackupFile]


async def back_up(
    connection: RedisConnection,
    artifacts: Artifacts,
    folder: Path,
    *,
    with_predictions: bool = False,
    api_keys: Path | None = None,
    attempts: int = 20,
    retry_seconds: float = 0.2,
) -> Index:
    """Copies every model into ``folder``, which must be empty or not there yet.

    A model is read as of one point, in one transaction. What that point refers to (log, steps, files) never changes, but it
    may be deleted; where it was deleted before it was copied, the model is copied again.

    Args:
        with_predictions: also copy the recorded predictions, so that their labels can still be joined after a restore.
        api_keys: the file of API keys, if it is copied too.
        attempts: how often a model is copied again before the backup fails.
        retry_seconds: how much longer each further attempt waits.
    """
    with format.disk_errors(folder), _new_folder(folder):
        keys_file = _copy_api_keys(api_keys, folder, artifacts.encryption) if api_keys else None
        backup = Backup(connection, artifacts, folder, attempts, retry_seconds)
        index = Index(models=await backup.models(with_predictions), api_keys=keys_file)
        format.write_index(folder, index, artifacts.encryption)
    return index


@contextlib.contextmanager
def _new_folder(folder: Path) -> Iterator[None]:
    """An empty folder, which is emptied again when the backup fails."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Conflict(f"{folder} is not an empty folder; name a new one for the backup", code="folder_not_empty")
    private.make_folder(folder)
    private.close_to_others(folder)
    try:
        yield
    except BaseException:
        shutil.rmtree(folder / "models", ignore_errors=True)
        for path in folder.iterdir():
            path.unlink()
        raise


def _copy_api_keys(path: Path, folder: Path, encryption: Encryption) -> BackupFile:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise ConfigurationError(f"there are no API keys in {path}; leave out --keys") from None
    return format.write_file(folder / format.API_KEYS, data, encryption)


class Backup:
    """One backup of all models into ``folder``."""

    def __init__(
        self, connection: RedisConnection, artifacts: Artifacts, folder: Path, attempts: int, retry_seconds: float
    ) -> None:
        self.attempts = attempts
        self.retry_seconds = retry_seconds
        self.connection = connection
        self.artifacts = artifacts
        self.encryption = artifacts.encryption
        self.folder = folder

    async def models(self, with_predictions: bool) -> list[SavedModel]:
        """Copies all models that exist from the beginning to the end of the backup."""
        saved: dict[str, SavedModel] = {}
        for name, uid in sorted((await Catalog(self.connection).names()).items()):
            model = await self._with_retries(name, uid)
            if model is not None:
                saved[uid] = model
        await self._copy_receipts(saved)
        if with_predictions:
            await self._copy_predictions(saved)
        names = [format.RECEIPTS, *([format.PREDICTIONS] if with_predictions else [])]
        return [self._settled(model, names) for model in saved.values()]

    async def _with_retries(self, name: str, uid: str) -> SavedModel | None:
        """Copies one model, again where it was overtaken; None if the model is deleted meanwhile."""
        for _ in range(self.attempts):
            try:
                return await self._copy(name, uid)
            except Overtaken as overtaken:
                reason = overtaken
            except NotFound:
                shutil.rmtree(self.folder / "models" / name, ignore_errors=True)
                return None
            await asyncio.sleep(self.retry_seconds)
        raise Unavailable(
            f"the model {name!r} could not be copied in {self.attempts} attempts: {reason}; "
            f"check that DRIFTLINE_DATA_DIR is the one of its worker, or `driftline pause {name}` and back up again",
            code="backup_overtaken",
        )

    async def _copy(self, name: str, uid: str) -> SavedModel:
        point = await read_point(self.connection, name, uid)
        folder = self.folder / "models" / name
        blobs = await asyncio.to_thread(self._copy_blobs, point, folder / "artifacts")
        path = folder / format.KEYS
        format.aside(path).unlink(missing_ok=True)
        format.append_pieces(path, point.pieces, self.encryption)
        for noun, (first, last) in point.streams.items():
            async for page in self._stream(uid, noun, first, last):
                format.append_pieces(path, [Entries(noun.encode(), page)], self.encryption)
        for noun in HAPPENED:
            async for page in self._events(uid, noun, point.happened):
                format.append_pieces(path, [Entries(noun.encode(), page)], self.encryption)
        files = {format.KEYS: format.settle(path), **{f"artifacts/{digest}": file for digest, file in blobs.items()}}
        return SavedModel(name, uid, point.head.version, point.head.learned, point.last, files, list(blobs))

    def _copy_blobs(self, point: Point, folder: Path) -> dict[str, BackupFile]:
        """Copies the files that the point names, those that retention deletes first first; earlier copies stay."""
        blobs: dict[str, BackupFile] = {}
        for digest in manifests(point):
            self._copy_blob(point.uid, digest, folder, blobs)
            manifest = msgspec.json.decode(format.read_file(folder / digest, self.encryption), type=_Manifest)
            for file in manifest.files.values():
                # Many versions may have the same one.
                if file.sha256 not in blobs:
                    self._copy_blob(point.uid, file.sha256, folder, blobs)
        for path in folder.iterdir():
            if path.name not in blobs:
                path.unlink()
        return blobs

    def _copy_blob(self, uid: str, digest: str, folder: Path, blobs: dict[str, BackupFile]) -> None:
        path = folder / digest
        if not path.exists():
            try:
                with self.artifacts.reading(uid, digest) as reader:
                    format.write_aside(path, self.encryption.encrypted(reader.chunks()))
            except CorruptData as error:
                if error.code != "artifact_missing":
                    raise
                raise Overtaken(error.message) from error
            blobs[digest] = format.settle(path)
        else:  # Of an earlier attempt.
            blobs[digest] = format.measure(path)

    async def _stream(self, uid: str, noun: str, first: int, last: int) -> AsyncIterator[list[Entry]]:
        key, after = getattr(self.connection.keys.of(uid), noun), first - 1
        while after < last:
            page = await self._page(key, f"({after}-0", f"{last}-0")
            numbers = [int(identifier.partition(b"-")[0]) for identifier, _ in page]
            if not page or numbers != list(range(after + 1, after + 1 + len(page))):
                raise Overtaken(f"{noun} {after + 1} is gone")
            after = numbers[-1]
            yield page

    async def _events(self, uid: str, noun: str, last: str) -> AsyncIterator[list[Entry]]:
        """What is kept of the events up to one; the oldest may be trimmed meanwhile."""
        key, start = getattr(self.connection.keys.of(uid), noun), "-"
        while page := await self._page(key, start, last):
            yield page
            start = f"({page[-1][0].decode()}"

    async def _page(self, key: str | bytes, start: str | bytes, end: str | bytes) -> list[Entry]:
        with store_errors():
            found = await self.connection.redis.xrange(key, start, end, MAX_PAGE)
        return [(identifier, list(fields.items())) for identifier, fields in found]

    async def _copy_receipts(self, saved: dict[str, SavedModel]) -> None:
        """Copies the receipts of copied records. Those of newer records are left out: a resend must become a new record."""
        await self._copy_texts(
            "item:", saved, format.RECEIPTS, lambda uid, value: int(value.partition(b":")[0]) <= saved[uid].last
        )

    async def _copy_texts(
        self, kind: str, saved: dict[str, SavedModel], name: str, is_copied: Callable[[str, bytes], bool]
    ) -> None:
        """Copies the strings of one kind that expire."""
        async for found in self._scan(kind, saved):
            with store_errors():
                async with self.connection.redis.pipeline(transaction=False) as pipe:
                    for _, key in found:
                        pipe.get(key)
                        pipe.pttl(key)
                    answers = await pipe.execute()
            pieces: dict[str, list[Piece]] = defaultdict(list)
            for (uid, key), value, ms in zip(found, answers[::2], answers[1::2], strict=True):
                if value is not None and ms > 0 and is_copied(uid, value):
                    pieces[uid].append(Text(self._without_base(uid, key), value, ms))
            for uid, rows in pieces.items():
                format.append_pieces(self._path(saved[uid], name), rows, self.encryption)

    async def _copy_predictions(self, saved: dict[str, SavedModel]) -> None:
        async for found in self._scan("predictions:", saved):
            for uid, key in found:
                await self._copy_replica(uid, key, self._path(saved[uid], format.PREDICTIONS))
        await self._copy_texts("key:", saved, format.PREDICTIONS, lambda uid, value: True)

    async def _copy_replica(self, uid: str, key: bytes, path: Path) -> None:
        """Copies the predictions that one replica has recorded until now."""
        with store_errors():
            newest = await self.connection.redis.xrevrange(key, "+", "-", 1)
            ms = await self.connection.redis.pttl(key)
        start = b"-"
        while newest and (page := await self._page(key, start, newest[0][0])):
            entries = Entries(self._without_base(uid, key), page, ms if ms > 0 else None)
            format.append_pieces(path, [entries], self.encryption)
            start = b"(" + page[-1][0]

    async def _scan(self, kind: str, saved: dict[str, SavedModel]) -> AsyncIterator[list[tuple[str, bytes]]]:
        """Pages of the keys of one kind of all copied models, with their uids; some keys may appear twice."""
        page: list[tuple[str, bytes]] = []
        with store_errors():
            async for key in self.connection.redis.scan_iter(pattern(self.connection.keys, "*", kind), SCAN_COUNT):
                if (uid := self._uid(key)) in saved:
                    page.append((uid, key))
                if len(page) == SCAN_COUNT:
                    yield page
                    page = []
        yield page

    def _uid(self, key: bytes) -> str:
        rest = key[len(self.connection.keys.prefix.encode()) :]
        return rest[1:].partition(b"}")[0].decode()

    def _without_base(self, uid: str, key: bytes) -> bytes:
        return key[len(self.connection.keys.of(uid).base.encode()) :]

    def _path(self, model: SavedModel, name: str) -> Path:
        return self.folder / model.folder / name

    def _settled(self, model: SavedModel, names: list[str]) -> SavedModel:
        files = dict(model.files)
        for name in names:
            format.append_pieces(self._path(model, name), [], self.encryption)
            files[name] = format.settle(self._path(model, name))
        return msgspec.structs.replace(model, files=files)


def pattern(keys: Keys, uid: str, kind: str) -> str:
    """The glob of the keys that begin with ``kind``, of one model or with ``*`` of all."""
    prefix = re.sub(r"([*?\[\]\\])", r"\\\1", keys.prefix)
    return f"{prefix}{{{uid}}}:{kind}*"


def manifests(point: Point) -> list[str]:
    """The manifests that a point refers to, oldest versions first, as retention deletes those first."""
    places = [place.manifest for place in (point.head.older_checkpoint, point.head.checkpoint) if place is not None]
    versions = [version.manifest for version in point.versions]
    return list(dict.fromkeys([*versions[:1], *places, *versions[1:], point.head.manifest]))


async def read_point(connection: RedisConnection, name: str, uid: str) -> Point:
    """Reads a model in one transaction: everything but the entries of its streams."""
    keys = connection.keys.of(uid)
    with store_errors():
        async with connection.redis.pipeline(transaction=True) as pipe:
            for noun, kind in format.KINDS.items():
                _READ[kind](pipe, getattr(keys, noun))
            found = dict(zip(format.KINDS, await pipe.execute(), strict=True))
    head, last = parse_head(found["head"]), int(found["last"] or 0)
    versions = [msgspec.json.decode(value, type=Version) for value in found["versions"].values()]
    ends = {"log": last, "steps": head.step}
    return Point(
        uid=uid,
        name=name,
        pieces=[_piece(noun, value) for noun, value in found.items() if value and noun not in (*ends, *HAPPENED)],
        streams={noun: (_number(found[noun]), end) for noun, end in ends.items() if found[noun]},
        happened=b"-".join(found["head"].get(name, b"0") for name in (b"event_ms", b"events")).decode(),
        head=head,
        versions=sorted(versions, key=lambda version: version.version),
        last=last,
    )


_READ: dict[str, Any] = {
    "hash": lambda pipe, key: pipe.hgetall(key),
    "string": lambda pipe, key: pipe.get(key),
    "sorted set": lambda pipe, key: pipe.zrange(key, 0, -1, withscores=True),
    "stream": lambda pipe, key: pipe.xrange(key, "-", "+", 1),
}


def _piece(noun: str, value: Any) -> Piece:
    if isinstance(value, dict):
        return Fields(noun.encode(), list(value.items()))
    if isinstance(value, list):
        return Scores(noun.encode(), value)
    return Text(noun.encode(), value)


def _number(first: list[Any]) -> int:
    return int(first[0][0].partition(b"-")[0])
