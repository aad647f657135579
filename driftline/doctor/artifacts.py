"""Files: every file that the store names exists and is whole, and few files exist that nothing names."""

from __future__ import annotations

import asyncio
import time

import msgspec

from driftline.doctor import snapshot
from driftline.doctor.finding import Finding, error, ok, warning
from driftline.doctor.snapshot import Bundle, StoreSnapshot
from driftline.errors import DriftlineError, Unavailable
from driftline.settings import Settings
from driftline.store.artifact_place import open_artifacts
from driftline.store.artifacts import Artifacts
from driftline.store.connection import RedisConnection
from driftline.store.notes import StoredBlob
from driftline.store.re_encryption import other_keys
from driftline.support.formatting import count_text, size_text
from driftline.support.json_text import UNREADABLE


class _File(msgspec.Struct):
    sha256: str


class _Manifest(msgspec.Struct):
    """The part of :class:`driftline.networks.bundle.Manifest` that is read without torch."""

    model: str
    files: dict[str, _File]


class Files:
    """The files of one model, each read once."""

    def __init__(self, artifacts: Artifacts, uid: str) -> None:
        self.artifacts = artifacts
        self.uid = uid
        self.named: set[str] = set()
        self._troubles: dict[str, str | None] = {}

    def trouble(self, digest: str) -> str | None:
        """What is wrong with the bundle of this manifest, or with one of its files."""
        self.named.add(digest)
        try:
            manifest = msgspec.json.decode(self.artifacts.get(self.uid, digest), type=_Manifest)
        except DriftlineError as trouble:
            return trouble.message
        except UNREADABLE as trouble:
            return f"{self.artifacts.place_of(self.uid, digest)} is not a manifest: {trouble}"
        if manifest.model != self.uid:
            return f"the manifest {self.artifacts.place_of(self.uid, digest)} belongs to another model"
        return next(filter(None, [self._file(file.sha256) for file in manifest.files.values()]), None)

    def _file(self, digest: str) -> str | None:
        self.named.add(digest)
        if digest not in self._troubles:
            try:
                self.artifacts.check(self.uid, digest)
                self._troubles[digest] = None
            except DriftlineError as trouble:
                self._troubles[digest] = trouble.message
        return self._troubles[digest]

    def unnamed(self) -> list[StoredBlob]:
        """The files that no checked bundle names."""
        return [blob for blob in self.artifacts.stored(self.uid) if blob.name not in self.named]


async def check(connection: RedisConnection, settings: Settings, model: StoreSnapshot) -> list[Finding]:
    """Checks manifests and files of everything that the store names, and finds unnamed files."""
    files = Files(open_artifacts(settings), model.uid)
    troubles = await asyncio.to_thread(_troubles, files, model)
    if troubles:
        # What was retired in the meantime may have been deleted.
        now = await snapshot.read(connection, model.name, model.uid)
        named = now.bundles if now else {}
        troubles = {digest: trouble for digest, trouble in troubles.items() if digest in named}
    if troubles:
        return [_damage(model, model.bundles[digest], troubles) for digest in troubles]
    count = count_text(len(model.bundles), "bundle")
    whole = ok("artifacts", f"{model.name}: {count} of versions and checkpoints, all whole")
    return [whole, *await asyncio.to_thread(lambda: [*_encryption(files, model), *_orphans(files, settings, model)])]


def _troubles(files: Files, model: StoreSnapshot) -> dict[str, str]:
    """What is wrong with a bundle, by its manifest."""
    return {digest: trouble for digest in model.bundles if (trouble := files.trouble(digest))}


def _damage(model: StoreSnapshot, bundle: Bundle, troubles: dict[str, str]) -> Finding:
    advice = "put the file back from a backup"
    if bundle.kind == "live version":
        whole = [version.version for version in model.versions if version.manifest not in troubles]
        if whole:
            advice += f", or go back to a version that is whole: driftline rollback {model.name} {max(whole)}"
    elif bundle.kind == "checkpoint":
        advice = f"let the worker run, or end it with SIGTERM, so that it writes another checkpoint; else {advice}"
    else:
        advice += "; until then no rollback to it succeeds"
    return error("artifacts", f"{model.name}: {bundle} is damaged: {troubles[bundle.manifest]}", advice)


def _encryption(files: Files, model: StoreSnapshot) -> list[Finding]:
    """Which files are not encrypted as new ones are; nothing where nothing is encrypted."""
    key = files.artifacts.encryption.writing
    count, others = other_keys(files.artifacts, model.uid)
    if not others:
        return (
            []
            if key is None
            else [ok("encryption", f"{model.name}: all {count} files are encrypted by the key `{key}`")]
        )
    told = [f"{found} {'plain' if name is None else f'by the key `{name}`'}" for name, found in others.items()]
    new = "new ones are plain" if key is None else f"new ones are encrypted by the key `{key}`"
    message = f"{model.name}: of {count_text(count, 'file')} {' and '.join(told)}, while {new}"
    return [warning("encryption", message, "driftline encrypt, while everything runs")]


def _orphans(files: Files, settings: Settings, model: StoreSnapshot) -> list[Finding]:
    """Files that nothing refers to. New files may be about to be named, so only old ones count."""
    old = [blob for blob in files.unnamed() if time.time() - blob.modified > settings.orphan_seconds]
    if not old:
        return []
    size, place = size_text(sum(blob.bytes for blob in old)), files.artifacts.place_of(model.uid)
    message = f"{model.name}: nothing refers to {count_text(len(old), 'file')} ({size}) in {place}"
    return [warning("orphans", message, "the worker removes them some time after the model's next version")]


async def check_strangers(settings: Settings, names: dict[str, str]) -> list[Finding]:
    """Finds folders of models that the store does not know."""
    return await asyncio.to_thread(_strangers, settings, names)


def _strangers(settings: Settings, names: dict[str, str]) -> list[Finding]:
    artifacts = open_artifacts(settings)
    try:
        strangers = [model for model in artifacts.models() if model.name not in names.values()]
    except Unavailable as trouble:
        return [error("orphans", trouble.message, "give the user who runs Driftline the right to read it")]
    old = [model for model in strangers if time.time() - model.modified > settings.orphan_seconds]
    if old and not names:
        message = f"the store knows no model, but {artifacts.place} holds files of {count_text(len(old), 'model')}"
        advice = "see that DRIFTLINE_REDIS_URL and DRIFTLINE_PREFIX are right; if the store has lost them, restore it"
        return [warning("orphans", message, advice)]
    return [_stranger(artifacts.place_of(model.name), model.bytes) for model in old]


def _stranger(place: str, size: int) -> Finding:
    how = "with the tools of its vendor" if "://" in place else f"rm -r {place}"
    advice = f"remove it, unless another Driftline has its artifacts there too: {how}"
    return warning("orphans", f"{place} ({size_text(size)}) belongs to no model", advice)
