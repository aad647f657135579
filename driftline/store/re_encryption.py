"""Artifacts that are there already are encrypted by another key, by a first one, or no more."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from driftline.errors import CorruptData, Unavailable
from driftline.store.artifacts import Artifacts
from driftline.store.notes import StoredBlob

_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass
class ReEncryption:
    """What was done. Whatever ends it, the files so far are as they should be, and the next one goes on with the others."""

    files: int = 0
    """How many there are."""
    written: int = 0
    """How many were written again, of ``bytes``."""
    bytes: int = 0
    left: list[str] = field(default_factory=list)
    """What could not be read, and so was left as it is: why."""


def re_encrypt(artifacts: Artifacts, on_file: Callable[[ReEncryption], None] = lambda done: None) -> ReEncryption:
    """Writes all artifacts again that are not encrypted as new ones are; servers and workers may go on meanwhile.

    A file is written aside and renamed. One that is deleted meanwhile stays deleted; in an object store, which knows no lock,
    it may be there again, for as long as what nothing refers to stays.

    Raises:
        Unavailable: the disk or the object store refuses.
    """
    done = ReEncryption()
    links: dict[tuple[int, int], Path] = {}
    for model in artifacts.models():
        for blob in _blobs(artifacts, model.name):
            done.files += 1
            if artifacts.key_of(model.name, blob) == artifacts.encryption.writing:
                continue
            try:
                artifacts.rewrite(model.name, blob.name, links)
                done.written += 1
                done.bytes += blob.bytes
            except CorruptData as error:
                if error.code == "artifact_missing":
                    done.files -= 1
                else:
                    done.left.append(error.message)
            except Unavailable as error:
                if error.code != "encryption_key":
                    raise
                done.left.append(error.message)
            on_file(done)
    return done


def other_keys(artifacts: Artifacts, uid: str) -> tuple[int, dict[str | None, int]]:
    """How many blobs a model has; of those that are not encrypted as new ones are, how many each key, or none, has."""
    blobs = list(_blobs(artifacts, uid))
    counts: dict[str | None, int] = {}
    for name in (artifacts.key_of(uid, blob) for blob in blobs):
        if name != artifacts.encryption.writing:
            counts[name] = counts.get(name, 0) + 1
    return len(blobs), counts


def _blobs(artifacts: Artifacts, uid: str) -> Iterator[StoredBlob]:
    """The blobs of a model, without what a process that was killed has left aside."""
    return (blob for blob in artifacts.stored(uid) if _DIGEST.fullmatch(blob.name))
