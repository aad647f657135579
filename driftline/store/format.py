"""The formats of stored data that this Driftline reads, and the one place that refuses newer ones.

A newer Driftline may store what this one would misread or trim, so a process that starts on newer data ends before it reads
or writes any of it. The format is named by a marker file in the data directory, a marker key in the store, and the manifests
of the models' heads.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from driftline.errors import ConfigurationError, CorruptData, Unavailable
from driftline.records import MANIFEST_FORMAT, STATE_FORMAT, STORE_FORMAT
from driftline.settings import Settings
from driftline.store.artifact_place import open_artifacts
from driftline.store.artifacts import Artifacts
from driftline.store.connection import RedisConnection, store_errors
from driftline.store.redis_keys import STORE_ID
from driftline.support import private
from driftline.support.json_text import UNREADABLE

MARKER = "format"
"""The file in the data directory that holds the number of its format."""


class _State(msgspec.Struct, frozen=True):
    """The part of a checkpoint's state that is read; one without a number is of format 1."""

    format: int = 1


class _Marked(msgspec.Struct):
    """The part of a manifest that is read, whatever else its format has."""

    format: int = 1
    data: _State = _State()


def check_files(data_dir: Path) -> None:
    """Refuses a data directory of a newer format; :class:`ConfigurationError`. Needs no store."""
    with contextlib.suppress(OSError, ValueError):
        _refuse_newer(int((data_dir / MARKER).read_text()), STORE_FORMAT, str(data_dir))


async def check_store(connection: RedisConnection, data_dir: Path, artifacts: Artifacts | None = None) -> None:
    """Refuses a store or artifacts of a newer format, or of a key that is not here.

    The artifacts are those of the data directory where none are given.

    Raises:
        ConfigurationError: the message says what to do.
        Unavailable: the store does not answer.
    """
    with store_errors():
        found = await connection.redis.get(connection.keys.format)
    if found is not None:
        _refuse_newer(_number(found), STORE_FORMAT, _place(data_dir, connection))
    for marked in await _manifests(connection, artifacts or Artifacts(data_dir / "artifacts")):
        _refuse_newer(marked.format, MANIFEST_FORMAT, str(data_dir))
        _refuse_newer(marked.data.format, STATE_FORMAT, str(data_dir))


async def mark(connection: RedisConnection, data_dir: Path) -> None:
    """Marks a new store and data directory with this Driftline's format, before it writes there."""
    with store_errors():
        await connection.redis.setnx(connection.keys.format, STORE_FORMAT)
    with contextlib.suppress(OSError):
        await asyncio.to_thread(_write_marker, data_dir)
        await asyncio.to_thread(private.close_to_others, data_dir / "artifacts")


def check_at_start(settings: Settings) -> None:
    """Refuses newer data, and encryption keys that are not what they should be or lack the one that the models need.

    Every process calls it before it opens a port or takes a model. A store that does not answer is not checked here: the
    process checks it once it answers.
    """
    check_files(settings.data_dir)
    open_artifacts(settings)
    if settings.redis_url is not None:
        with contextlib.suppress(Unavailable):
            asyncio.run(_check_url(settings.redis_url, settings))


async def _check_url(url: str, settings: Settings) -> None:
    connection = RedisConnection(url, settings.prefix)
    try:
        await check_store(connection, settings.data_dir, open_artifacts(settings))
    finally:
        await connection.close()


async def _manifests(connection: RedisConnection, artifacts: Artifacts) -> list[_Marked]:
    """The manifests that the heads name, without missing or damaged ones, which recovery deals with.

    Raises:
        ConfigurationError: one is encrypted by a key that is not here.
    """
    keys = connection.keys
    with store_errors():
        named = await connection.redis.hgetall(keys.names)
        uids = [uid.decode() for name, uid in named.items() if name.decode() != STORE_ID]
        async with connection.redis.pipeline(transaction=False) as pipe:
            for uid in uids:
                pipe.hmget(keys.of(uid).head, "manifest", "checkpoint")
            heads = await pipe.execute() if uids else []
    digests = [(uid, digest.decode()) for uid, head in zip(uids, heads, strict=True) for digest in head if digest]
    return await asyncio.to_thread(lambda: list(_read(artifacts, digests)))


def _read(artifacts: Artifacts, digests: list[tuple[str, str]]) -> Iterator[_Marked]:
    def read(place: tuple[str, str]) -> _Marked | None:
        try:
            return msgspec.json.decode(artifacts.get(*place), type=_Marked)
        except Unavailable as error:
            if error.code == "encryption_key":  # Who waits for it would answer nothing, and learn nothing, until then.
                raise ConfigurationError(error.message, field="encryption_key_file") from None
        except (CorruptData, *UNREADABLE):
            pass
        return None

    # There may be thousands, and an object store answers each after some time.
    with ThreadPoolExecutor(8) as readers:
        yield from filter(None, readers.map(read, digests))


def _number(text: bytes) -> int:
    try:
        return int(text)
    except ValueError:
        raise ConfigurationError(f"the store's format is {text!r}, which is no number; see its key `format`") from None


def _place(data_dir: Path, connection: RedisConnection) -> str:
    return f"{data_dir} and in its store (prefix {connection.keys.prefix})"


def _refuse_newer(found: int, known: int, place: str) -> None:
    if found > known:
        raise ConfigurationError(
            f"the data in {place} was written by a newer Driftline (format {found}; this one reads up to {known}): install "
            "that version or a newer one, or start on another data directory and restore a backup that this version made",
            code="newer_format",
        )


def _write_marker(data_dir: Path) -> None:
    """Writes the marker aside and renames it, so that no reader sees half a number."""
    path = data_dir / MARKER
    if path.exists():
        return
    private.make_folder(data_dir)
    aside = data_dir / f".{MARKER}-{secrets.token_hex(4)}"
    with open(aside, "w", opener=private.owner_alone) as file:
        file.write(f"{STORE_FORMAT}\n")
    os.replace(aside, path)
