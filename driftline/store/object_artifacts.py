"""Artifacts in an object store: S3 and what speaks it, Google Cloud Storage, Azure. A folder of this machine is their cache.

An object is created and never changed, so a copy in the cache is as good as the object, once it has its sha256. The store must
show an object as soon as it has taken it, in lists too, as the three do.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
import time
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import ObjectStore, from_url

from driftline.errors import ConfigurationError, CorruptData, Unavailable
from driftline.store.artifacts import (
    CHUNK_BYTES,
    NOTE,
    OWNER_FILE,
    Artifacts,
    BlobReader,
    OtherContent,
    Part,
    StoredBlob,
    changed_meanwhile,
    chunks_of,
    damaged,
    missing,
    note_name,
    signature,
    unwilling,
)
from driftline.store.cache_budget import CacheBudget
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
        raise ConfigurationError(f"DRIFTLINE_ARTIFACTS={url} cannot be read: {_brief(error)}") from None


class ObjectArtifacts(Artifacts):
    """Blobs as objects ``UID/SHA256``. What is read or written is also in the folder ``cache``.

    Args:
        url: where they are, as messages name it.
        store: the object store.
        cache_bytes: the most that the cache takes, beside what was used within a minute.
    """

    def __init__(self, url: str, store: ObjectStore, cache: Path, cache_bytes: int) -> None:
        super().__init__(cache)
        self.url = url.rstrip("/")
        self._store = store
        self._listed: dict[str, tuple[float, dict[str, int]]] = {}
        self._damaged: set[str] = set()
        self._budget = CacheBudget(cache, cache_bytes)
        self._clock_ahead = 0.0

    @property
    def place(self) -> str:
        return self.url

    def put(self, uid: str, data: bytes) -> str:
        """Stores ``data`` and gives its sha256 in hexadecimal; :class:`Unavailable` when the store refuses."""
        digest = hashlib.sha256(data).hexdigest()
        self._create(uid, digest, data)
        self._keep(uid, digest, [data])
        return digest

    def put_parts(self, uid: str, digest: str, parts: Sequence[Part]) -> None:
        size = sum(map(len, parts))
        if self._sizes(uid).get(digest) != size or f"{uid}/{digest}" in self._damaged:
            self._send(uid, digest, parts, size)
        self._keep(uid, digest, parts)

    def _send(self, uid: str, digest: str, parts: Sequence[Part], size: int) -> None:
        """Sends a blob once its content has proved to be what it should be."""

        def chunks() -> Iterator[memoryview]:
            sha256 = hashlib.sha256()
            for chunk in chunks_of(parts):
                sha256.update(chunk)
                yield chunk
            if sha256.hexdigest() != digest:
                # Before the last byte is acknowledged, so that the store keeps nothing of it.
                raise OtherContent

        try:
            if size <= WHOLE_BYTES:
                self._create(uid, digest, b"".join(chunks()))
                return
            with _of_blob("write", self.place_of(uid, digest), digest):
                self._store.put(f"{uid}/{digest}", chunks(), chunk_size=2 * CHUNK_BYTES)
        except OtherContent:
            raise changed_meanwhile(self.place_of(uid, digest), digest) from None
        self._is_there(uid, digest, size)

    def _create(self, uid: str, digest: str, data: bytes) -> None:
        """Creates an object; one that is there stays, unless it was found to be damaged."""
        key = f"{uid}/{digest}"
        with _of_blob("write", self.place_of(uid, digest), digest):
            try:
                self._store.put(key, data, mode="create")
            except AlreadyExistsError:
                if key in self._damaged or self._store.head(key)["size"] != len(data):
                    self._store.put(key, data, use_multipart=False)
        self._is_there(uid, digest, len(data))

    def share(self, uid: str, other: str, digests: Collection[str]) -> None:
        """Lets a model have blobs of another one, which the store copies; those that it does not are sent like any others."""
        for digest in digests:
            with contextlib.suppress(FileNotFoundError, Unavailable), _refusals("copy", self.place_of(other, digest)):
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
        sha256 = hashlib.sha256()
        for chunk in self._chunks(uid, digest):
            sha256.update(chunk)
        if sha256.hexdigest() != digest:
            raise self._is_damaged(uid, digest)

    def _fetch(self, uid: str, digest: str) -> None:
        """Copies an object into the cache, unless it is there and whole."""
        path = self._path(uid, digest)
        with contextlib.suppress(OSError):
            if self._is_whole(path, digest, path.stat().st_size):
                os.utime(path)
                self._whole[path] = signature(path)
                return
        for is_last in (False, True):
            try:
                private.make_folder(path.parent)
                self._write(path, self._chunks(uid, digest), digest=digest, syncs_folder=False)
                break
            except OtherContent:
                if is_last:  # Not a connection that was cut off.
                    raise self._is_damaged(uid, digest) from None
            except OSError as error:
                raise unwilling("write", path, error) from error
        self._was_cached(path)

    def _chunks(self, uid: str, digest: str) -> Iterator[bytes]:
        """The bytes of an object as they come; what fails there is no failure of the disk that they are written to."""
        with _of_blob("read", self.place_of(uid, digest), digest):
            yield from self._store.get(f"{uid}/{digest}").stream(min_chunk_size=CHUNK_BYTES)

    def _is_damaged(self, uid: str, digest: str) -> CorruptData:
        """The store has other bytes than were written: whoever writes the blob again writes it over."""
        self._damaged.add(f"{uid}/{digest}")
        return damaged(self.place_of(uid, digest), digest)

    def _keep(self, uid: str, digest: str, parts: Sequence[Part]) -> None:
        """Puts what was sent into the cache too. It is no loss where the disk refuses."""
        path = self._path(uid, digest)
        try:
            if path.exists():
                os.utime(path)
                return
            private.make_folder(path.parent)
            self._write(path, parts, syncs_folder=False)
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

        def text(name: str) -> bytes | None:
            with contextlib.suppress(FileNotFoundError), _refusals("read", self.place_of(uid, name)):
                begin = self._store.get_range(f"{uid}/{name}", start=0, end=1)
                return self.get(uid, name) if bytes(begin) == b"{" else None
            return None

        with ThreadPoolExecutor(8) as readers:
            yield from filter(None, readers.map(text, [blob.name for blob in self.stored(uid) if blob.bytes]))

    def stored(self, uid: str) -> list[StoredBlob]:
        return [StoredBlob(path.partition("/")[2], size, at) for path, size, at in self._list(f"{uid}/")]

    def models(self) -> list[StoredBlob]:
        with _refusals("list", self.place):
            uids = self._store.list_with_delimiter()["common_prefixes"]
        return [
            StoredBlob(uid, sum(blob.bytes for blob in blobs), max(blob.modified for blob in blobs))
            for uid in uids
            if (blobs := self.stored(uid))
        ]

    def _list(self, prefix: str) -> list[tuple[str, int, float]]:
        """Path, bytes and time of the objects whose paths begin so."""
        with _refusals("list", f"{self.place}/{prefix}"):
            found = self._store.list(prefix).collect()
        return [(each["path"], each["size"], each["last_modified"].timestamp()) for each in found]

    def _delete(self, uid: str, names: Collection[str]) -> None:
        self._remove([f"{uid}/{name}" for name in names])
        for name in names:
            self._listed.get(uid, (0.0, dict[str, int]()))[1].pop(name, None)
        super()._delete(uid, names)

    def _remove(self, keys: Sequence[str]) -> None:
        with contextlib.suppress(FileNotFoundError), _refusals("tidy", self.place):
            if keys:
                self._store.delete(keys)

    def remove(self, uid: str) -> None:
        self._listed.pop(uid, None)
        super().remove(uid)
        # What cannot be deleted now belongs to no model any more, and is swept later.
        with contextlib.suppress(Unavailable):
            self._remove([path for path, _, _ in self._list(f"{uid}/")])

    def are_of(self, store_id: str) -> bool:
        with _refusals("read", self.place):
            try:
                self._store.put(OWNER_FILE, store_id.encode(), mode="create")
            except AlreadyExistsError:
                return bytes(self._store.get(OWNER_FILE).bytes()) == store_id.encode()
        return True

    def adopt(self, store_id: str) -> None:
        self._overwrite(OWNER_FILE, store_id)

    def leave_note(self, owner: str, text: str) -> None:
        key = note_name(owner)
        self._overwrite(key, text)
        with _refusals("read", f"{self.place}/{key}"):
            # What is swept is told by its age: by the clock of the store, whatever that of this machine says.
            self._clock_ahead = self._store.head(key)["last_modified"].timestamp() - time.time()

    def _now(self) -> float:
        return time.time() + self._clock_ahead

    def _overwrite(self, key: str, text: str) -> None:
        with _refusals("write", f"{self.place}/{key}"):
            self._store.put(key, text.encode(), use_multipart=False)

    def note_of(self, owner: str) -> str | None:
        key = note_name(owner)
        with contextlib.suppress(FileNotFoundError), _refusals("read", f"{self.place}/{key}"):
            return bytes(self._store.get(key).bytes()).decode()
        return None

    def remove_note(self, owner: str) -> None:
        self._remove([note_name(owner)])

    def remove_abandoned_notes(self, orphan_seconds: float) -> None:
        with _refusals("list", self.place):
            notes = [each for each in self._store.list_with_delimiter()["objects"] if NOTE in each["path"]]
        self._remove(
            [each["path"] for each in notes if self._now() - each["last_modified"].timestamp() > orphan_seconds]
        )


@contextlib.contextmanager
def _of_blob(verb: str, place: str, digest: str) -> Iterator[None]:
    """What the object store refuses is :class:`Unavailable`, and an object that is not there :class:`CorruptData`."""
    try:
        with _refusals(verb, place):
            yield
    except FileNotFoundError:
        raise missing(place, digest) from None


@contextlib.contextmanager
def _refusals(verb: str, place: str) -> Iterator[None]:
    """What the object store refuses is :class:`Unavailable`; an object that is not there is :class:`FileNotFoundError`."""
    try:
        yield
    except FileNotFoundError as error:
        if "NoSuchBucket" in str(error) or "ContainerNotFound" in str(error):
            raise _unwilling(verb, place, "there is no such bucket") from None
        raise
    except (BaseError, OSError) as error:
        raise _unwilling(verb, place, _brief(error)) from error


def _unwilling(verb: str, place: str, why: str) -> Unavailable:
    return Unavailable(
        f"cannot {verb} {place}: {why}; it is tried again until the object store takes it",
        code="object_store",
        retry_after=5,
    )


def _brief(error: BaseException) -> str:
    """What an object store has said, without the request: its code and message where it has given them."""
    text = str(error)
    told = [found[1] for name in ("Code", "Message") if (found := re.search(f"<{name}>([^<]{{1,200}})</{name}>", text))]
    if told:
        return ": ".join(told)
    first = (text.splitlines() or [type(error).__name__])[0]
    first = re.sub(r"^.*?retry_timeout: \S+\s*- ", "", first)
    return re.sub(r"\?\S*", "", first)[:200]
