"""Artifacts in an object store: S3 and what speaks it, Google Cloud Storage, Azure. A folder of this machine is their cache.

An object is created and never changed, so a copy in the cache is as good as the object, once it has its sha256. The store must
show an object as soon as it has taken it, in lists too, as the three do.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import ObjectStore, from_url

from driftline.errors import ConfigurationError, CorruptData, Unavailable
from driftline.store.artifacts import Artifacts
from driftline.store.blobs import (
    CHUNK_BYTES,
    BlobReader,
    OtherContent,
    changed_meanwhile,
    checked,
    damaged,
    unwilling,
)
from driftline.store.cache_budget import CacheBudget
from driftline.store.encryption import (
    ENCRYPTED_CHUNK_BYTES,
    HEADER_BYTES,
    TAG_BYTES,
    Altered,
    Encryption,
    Part,
    key_name,
    sizes,
    stream_of,
)
from driftline.store.file_writes import signature
from driftline.store.notes import StoredBlob
from driftline.store.object_errors import brief, of_blob, refusals
from driftline.store.object_notes import ObjectNotes
from driftline.support import private

logger = logging.getLogger("driftline.store")

WHOLE_BYTES = 16 * 2**20
"""A blob that is no larger is sent at once, so that the store itself refuses a second one of its name."""
LISTED_SECONDS = 5.0
"""For so long a list of a model's objects counts; nobody can own the model, delete of it and give it back in that time."""


def open_store(url: str, seconds: float = 10.0) -> ObjectStore:
    """The object store of a URL; credentials and endpoint stand in the environment, as those of its vendor's tools.

    Args:
        seconds: how long a request that fails is tried again.

    Raises:
        ConfigurationError: the URL cannot be read.
    """
    is_plain = os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://")
    try:
        return from_url(
            url,
            client_options={"timeout": "60s", "connect_timeout": "5s", "allow_http": is_plain},
            retry_config={
                "max_retries": 6,
                "retry_timeout": timedelta(seconds=seconds),
                "backoff": {"init_backoff": timedelta(seconds=0.1), "max_backoff": timedelta(seconds=5)},
            },
        )
    except (BaseError, ValueError) as error:
        raise ConfigurationError(f"DRIFTLINE_ARTIFACTS={url} cannot be read: {brief(error)}") from None


class ObjectArtifacts(ObjectNotes, Artifacts):
    """Blobs as objects ``UID/SHA256``. What is read or written is also in the folder ``cache``, and encrypted there too.

    Args:
        url: where they are, as messages name it.
        store: the object store.
        cache_bytes: the most that the cache takes, beside what was used within a minute.
        encryption: how objects are encrypted.
    """

    def __init__(
        self, url: str, store: ObjectStore, cache: Path, cache_bytes: int, encryption: Encryption | None = None
    ) -> None:
        Artifacts.__init__(self, cache, encryption)
        self.url = url.rstrip("/")
        self._store = store
        self._listed: dict[str, tuple[float, dict[str, int]]] = {}
        self._damaged: set[str] = set()
        self._budget = CacheBudget(cache, cache_bytes)

    def put(self, uid: str, data: bytes) -> str:
        """Stores ``data`` and gives its sha256 in hexadecimal; :class:`Unavailable` when the store refuses."""
        digest = hashlib.sha256(data).hexdigest()
        self._create(uid, digest, [data], len(data))
        self._keep(uid, digest, [data])
        return digest

    def put_parts(self, uid: str, digest: str, parts: Sequence[Part]) -> None:
        size = sum(map(len, parts))
        if self._sizes(uid).get(digest) not in sizes(size) or f"{uid}/{digest}" in self._damaged:
            self._send(uid, digest, parts, size)
        self._keep(uid, digest, parts)

    def _send(self, uid: str, digest: str, parts: Sequence[Part], size: int) -> None:
        """Sends a blob once its content has proved to be what it should be: before the last byte, so that nothing is kept."""
        try:
            if size <= WHOLE_BYTES:
                self._create(uid, digest, checked(parts, digest), size)
                return
            self._overwrite_parts(uid, digest, checked(parts, digest))
        except OtherContent:
            raise changed_meanwhile(self.place_of(uid, digest), digest) from None
        self._is_there(uid, digest, size)

    def _overwrite_parts(self, uid: str, digest: str, parts: Iterable[Part]) -> None:
        """Sends an object in parts, whether or not it is there."""
        with of_blob("write", self.place_of(uid, digest), digest):
            self._store.put(f"{uid}/{digest}", self.encryption.encrypted(parts), chunk_size=2 * CHUNK_BYTES)

    def _create(self, uid: str, digest: str, parts: Iterable[Part], size: int) -> None:
        """Creates an object; one that is there stays, unless it was found to be damaged."""
        key, data = f"{uid}/{digest}", b"".join(self.encryption.encrypted(parts))
        with of_blob("write", self.place_of(uid, digest), digest):
            try:
                self._store.put(key, data, mode="create")
            except AlreadyExistsError:
                if key in self._damaged or self._store.head(key)["size"] not in sizes(size):
                    self._store.put(key, data, use_multipart=False)
        self._is_there(uid, digest, size)

    def share(self, uid: str, other: str, digests: Collection[str]) -> None:
        """Lets a model have blobs of another one, which the store copies; those that it does not are sent like any others."""
        for digest in digests:
            with contextlib.suppress(FileNotFoundError, Unavailable), refusals("copy", self.place_of(other, digest)):
                self._store.copy(f"{other}/{digest}", f"{uid}/{digest}")
        self._listed.pop(uid, None)
        super().share(uid, other, digests)

    def _is_there(self, uid: str, digest: str, size: int) -> None:
        self._damaged.discard(f"{uid}/{digest}")
        if uid in self._listed:
            self._listed[uid][1][digest] = size

    def _sizes(self, uid: str) -> dict[str, int]:
        """The sizes of a model's objects, as they were listed a moment ago or are now."""
        listed_at, sizes = self._listed.get(uid, (-LISTED_SECONDS, {}))
        if time.monotonic() - listed_at >= LISTED_SECONDS:
            listed_at = time.monotonic()
            sizes = {blob.name: blob.bytes for blob in self.stored(uid)}
            self._listed[uid] = listed_at, sizes
        return sizes

    @contextlib.contextmanager
    def reading(self, uid: str, digest: str) -> Iterator[BlobReader]:
        self._fetch(uid, digest)
        try:
            with super().reading(uid, digest) as reader:
                yield reader
        except CorruptData:
            self._path(uid, digest).unlink(missing_ok=True)  # Only the copy: the next reader takes the object again.
            raise

    def check(self, uid: str, digest: str) -> None:
        """Reads an object, not its copy; :class:`CorruptData` when it is missing or damaged."""
        try:
            for _ in checked(self._chunks(uid, digest), digest):
                pass
        except (OtherContent, Altered):
            raise self._is_damaged(uid, digest) from None

    def _fetch(self, uid: str, digest: str) -> None:
        """Copies an object into the cache, unless it is there and whole."""
        path = self._path(uid, digest)
        with contextlib.suppress(OSError, Altered, Unavailable):
            if self._is_whole_copy(path, digest):
                os.utime(path)
                self._whole[path] = signature(path)
                return
        for is_last in (False, True):
            try:
                private.make_folder(path.parent)
                self._keep_parts(path, checked(self._chunks(uid, digest), digest))
                break
            except (OtherContent, Altered):
                if is_last:  # Not a connection that was cut off.
                    raise self._is_damaged(uid, digest) from None
            except OSError as error:
                raise unwilling("write", path, error) from error
        self._was_cached(path)

    def _is_whole_copy(self, path: Path, digest: str) -> bool:
        """Whether the cache has the blob, encrypted as it would be now."""
        with self._opened(path) as plain:
            is_as_now, size = plain.key == self.encryption.writing, plain.size
        return is_as_now and self._is_whole(path, digest, size)

    def _chunks(self, uid: str, digest: str) -> Iterator[bytes]:
        """What an object holds as it comes; what fails there is no failure of the disk that it is written to."""
        place = self.place_of(uid, digest)
        with of_blob("read", place, digest):
            found = self._store.get(f"{uid}/{digest}")
            stream = stream_of(found.stream(min_chunk_size=CHUNK_BYTES))
            plain = self.encryption.opened(stream, found.meta["size"], place)
            while chunk := plain.file.read(CHUNK_BYTES):
                yield chunk

    def _is_damaged(self, uid: str, digest: str) -> CorruptData:
        """The store has other bytes than were written: whoever writes the blob again writes it over."""
        self._damaged.add(f"{uid}/{digest}")
        return damaged(self.place_of(uid, digest), digest)

    def _keep_parts(self, path: Path, parts: Iterable[Part]) -> None:
        self._write(path, self.encryption.encrypted(parts), syncs_folder=False)

    def _keep(self, uid: str, digest: str, parts: Sequence[Part]) -> None:
        """Puts what was sent into the cache too. It is no loss where the disk refuses."""
        path = self._path(uid, digest)
        try:
            if path.exists():
                os.utime(path)
                return
            private.make_folder(path.parent)
            self._keep_parts(path, parts)
        except OSError as error:
            logger.warning("%s is not cached: %s", self.place_of(uid, digest), error)
            return
        self._was_cached(path)

    def _was_cached(self, path: Path) -> None:
        with contextlib.suppress(OSError):
            self._whole[path] = signature(path)
        for gone in self._budget.added(path):
            self._whole.pop(gone, None)

    def texts(self, uid: str) -> Iterator[bytes]:
        """The objects of a model that look like JSON: its manifests, as its other blobs are binary."""

        def text(blob: StoredBlob) -> bytes | None:
            place, count = self.place_of(uid, blob.name), HEADER_BYTES + ENCRYPTED_CHUNK_BYTES + TAG_BYTES
            with contextlib.suppress(FileNotFoundError, Altered):
                begin = self._begin(uid, blob.name, min(blob.bytes, HEADER_BYTES))
                if key_name(begin) is not None:
                    begin = self._begin(uid, blob.name, min(blob.bytes, count))
                plain = self.encryption.opened(stream_of([begin]), blob.bytes, place)
                return self.get(uid, blob.name) if plain.file.read(1) == b"{" else None
            return None

        with ThreadPoolExecutor(8) as readers:
            yield from filter(None, readers.map(text, [blob for blob in self.stored(uid) if blob.bytes]))

    def _begin(self, uid: str, name: str, count: int) -> bytes:
        with refusals("read", self.place_of(uid, name)):
            return bytes(self._store.get_range(f"{uid}/{name}", start=0, end=count))

    def rewrite(self, uid: str, digest: str, links: dict[tuple[int, int], Path]) -> None:
        # From the copy: what is sent comes from a thread of the object store's own, which cannot ask it for more.
        with self.reading(uid, digest) as reader:
            self._overwrite_parts(uid, digest, reader.chunks())

    def stored(self, uid: str) -> list[StoredBlob]:
        return [StoredBlob(path.partition("/")[2], size, at) for path, size, at in self._list(f"{uid}/")]

    def models(self) -> list[StoredBlob]:
        with refusals("list", self.place):
            uids = self._store.list_with_delimiter()["common_prefixes"]
        return [
            StoredBlob(uid, sum(blob.bytes for blob in blobs), max(blob.modified for blob in blobs))
            for uid in uids
            if (blobs := self.stored(uid))
        ]

    def _list(self, prefix: str) -> list[tuple[str, int, float]]:
        """Path, bytes and time of the objects whose paths begin so."""
        with refusals("list", f"{self.place}/{prefix}"):
            found = self._store.list(prefix).collect()
        return [(each["path"], each["size"], each["last_modified"].timestamp()) for each in found]

    def _delete(self, uid: str, names: Collection[str]) -> None:
        self._remove([f"{uid}/{name}" for name in names])
        for name in names:
            self._listed.get(uid, (0.0, dict[str, int]()))[1].pop(name, None)
        super()._delete(uid, names)

    def remove(self, uid: str) -> None:
        self._listed.pop(uid, None)
        super().remove(uid)
        # What cannot be deleted now belongs to no model any more, and is swept later.
        with contextlib.suppress(Unavailable):
            self._remove([path for path, _, _ in self._list(f"{uid}/")])
