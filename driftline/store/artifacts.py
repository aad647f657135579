"""The files of versions and checkpoints: immutable blobs, named by the sha256 of their content.

A blob may be large, and many versions refer to it: it is read and written in chunks, and written and compared only once.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from driftline.store.blobs import (
    BlobReader,
    OtherContent,
    changed_meanwhile,
    checked,
    damaged,
    missing,
    unwilling,
)
from driftline.store.encryption import HEADER_BYTES, Altered, Encryption, Part, PlainFile, key_name
from driftline.store.file_writes import locked, signature, sync_folder, written_aside
from driftline.store.notes import Notes, StoredBlob, listed, tolerated
from driftline.support import private


class Artifacts(Notes):
    """Blobs by sha256, in a folder for each model. A blob is complete or not there: it is written aside, synced, renamed.

    Args:
        encryption: how blobs are encrypted; notes and the file of the owner hold nothing of a model, and are plain.
    """

    def __init__(self, root: Path, encryption: Encryption | None = None) -> None:
        super().__init__(root)
        self.encryption = encryption or Encryption()
        self._whole: dict[Path, tuple[int, int, int]] = {}

    def put(self, uid: str, data: bytes) -> str:
        """Stores ``data`` and gives its sha256 in hexadecimal; :class:`Unavailable` when the disk refuses."""
        digest = hashlib.sha256(data).hexdigest()
        path = self._path(uid, digest)
        try:
            if self._reads_as(path, digest, len(data)):
                os.utime(path)
            else:
                private.make_folder(path.parent)
                self._write(path, self.encryption.encrypted([data]))
        except OSError as error:
            raise unwilling("write", path, error) from error
        return digest

    def put_parts(self, uid: str, digest: str, parts: Sequence[Part]) -> None:
        """Stores the blob of this sha256, which consists of ``parts``, where it is not there already.

        A blob that is there is read once, to see that it is whole, and again only after its file was changed. The folder is
        not synced: the manifest that names the blob is put after it, and syncs both.

        Raises:
            CorruptData: the parts are not what the sha256 is of: something else writes them.
            Unavailable: the disk refuses.
        """
        path = self._path(uid, digest)
        try:
            if self._is_whole(path, digest, sum(map(len, parts))):
                os.utime(path)
            else:
                private.make_folder(path.parent)
                self._write(path, self.encryption.encrypted(checked(parts, digest)), syncs_folder=False)
            self._whole[path] = signature(path)
        except OSError as error:
            raise unwilling("write", path, error) from error
        except OtherContent:
            raise changed_meanwhile(str(path), digest) from None

    def share(self, uid: str, other: str, digests: Collection[str]) -> None:
        """Lets a model have blobs of another one, on the same place of the disk, where the file system can do that.

        Those that are not there then are written like any others. Each model's stay until it needs them no more.
        """
        for digest in digests:
            with contextlib.suppress(OSError):
                private.make_folder(self.root / uid)
                os.link(self._path(other, digest), self._path(uid, digest))

    def _is_whole(self, path: Path, digest: str, size: int) -> bool:
        try:
            found = signature(path)
        except FileNotFoundError:
            return False
        return self._whole.get(path) == found or self._reads_as(path, digest, size)

    def _reads_as(self, path: Path, digest: str, size: int) -> bool:
        """Whether a file is there and holds what it should."""
        with contextlib.suppress(FileNotFoundError, Altered), self._opened(path) as plain:
            reader = BlobReader(str(path), plain)
            return reader.size == size and reader.digest() == digest
        return False

    @contextlib.contextmanager
    def _opened(self, path: Path) -> Iterator[PlainFile]:
        with path.open("rb") as file:
            yield self.encryption.opened(file, os.fstat(file.fileno()).st_size, str(path))

    def rewrite(self, uid: str, digest: str, links: dict[tuple[int, int], Path]) -> None:
        """Writes a blob again, encrypted as it would be now, in the place of what is there. Its age stays.

        Args:
            links: files that were written again, by what they were: models may share one.

        Raises:
            CorruptData: it is damaged, and stays as it is, or was deleted meanwhile.
            Unavailable: the disk refuses, or it is encrypted by a key that is not here.
        """
        path = self._path(uid, digest)
        try:
            with self._opened(path) as plain:
                was = path.stat()
                shared = links.get((was.st_dev, was.st_ino))
                reader = BlobReader(str(path), plain)
                parts = self.encryption.encrypted(checked(reader.chunks(), digest))
                with written_aside(path.parent, () if shared else parts) as aside:
                    if shared:
                        aside.unlink()
                        os.link(shared, aside)
                    with locked(path.parent):
                        now = path.stat()  # What was deleted meanwhile must not be there again.
                        os.utime(aside, ns=(now.st_atime_ns, now.st_mtime_ns))
                        aside.rename(path)
                sync_folder(path.parent)
        except FileNotFoundError:
            raise missing(str(path), digest) from None
        except (OtherContent, Altered):
            raise damaged(str(path), digest) from None
        except OSError as error:
            raise unwilling("write", path, error) from error
        links[was.st_dev, was.st_ino] = path

    def get(self, uid: str, digest: str) -> bytes:
        """The blob with this sha256; :class:`CorruptData` when it is missing or damaged."""
        with self.reading(uid, digest) as reader:
            return reader.take(reader.size)

    def check(self, uid: str, digest: str) -> None:
        """Reads a blob without keeping it; :class:`CorruptData` when it is missing or damaged."""
        with self.reading(uid, digest):
            pass

    @contextlib.contextmanager
    def reading(self, uid: str, digest: str) -> Iterator[BlobReader]:
        """Reads a blob in parts. They are to be used after the block alone, whose end has compared the sha256.

        A :class:`ValueError` within says that the content is not what it should be.

        Raises:
            CorruptData: it is missing or damaged.
        """
        path, is_whole = self._path(uid, digest), False
        with contextlib.ExitStack() as stack:
            try:
                file = stack.enter_context(path.open("rb"))
                plain = self.encryption.opened(file, os.fstat(file.fileno()).st_size, str(path))
            except FileNotFoundError:
                raise missing(str(path), digest) from None
            except OSError as error:
                raise unwilling("read", path, error) from error
            except Altered:
                raise damaged(str(path), digest) from None
            reader = BlobReader(str(path), plain)
            with contextlib.suppress(ValueError):
                yield reader
                is_whole = reader.digest() == digest
        if not is_whole:
            raise damaged(str(path), digest)

    def texts(self, uid: str) -> Iterator[bytes]:
        """The blobs of a model that look like JSON: its manifests, as its other blobs are binary."""
        with tolerated(self.root / uid):
            for entry in list(os.scandir(self.root / uid)):
                with contextlib.suppress(FileNotFoundError, Altered), self._opened(Path(entry.path)) as plain:
                    if (first := plain.file.read(1)) == b"{":
                        yield first + plain.file.read()

    def key_of(self, uid: str, blob: StoredBlob) -> str | None:
        """The name of the key that has encrypted a blob; None: it is plain, or gone."""
        with contextlib.suppress(FileNotFoundError, Altered):
            return key_name(self._begin(uid, blob.name, min(blob.bytes, HEADER_BYTES))) if blob.bytes else None
        return None

    def _begin(self, uid: str, name: str, count: int) -> bytes:
        """The first bytes of what is stored of a blob."""
        with self._path(uid, name).open("rb") as file:
            return file.read(count)

    def collect(self, uid: str, keep: Collection[str], orphan_seconds: float, retired: Collection[str] = ()) -> int:
        """Deletes the blobs of a model that are not in ``keep``: ``retired`` ones at once, others when old enough.

        Returns:
            How many were deleted.
        """
        now = self._now()
        gone = [
            blob.name
            for blob in self.stored(uid)
            if blob.name not in keep and (blob.name in retired or now - blob.modified > orphan_seconds)
        ]
        self._delete(uid, gone)
        return len(gone)

    def _delete(self, uid: str, names: Collection[str]) -> None:
        with tolerated(self.root / uid), locked(self.root / uid):
            for path in (self._path(uid, name) for name in names):
                path.unlink(missing_ok=True)
                self._whole.pop(path, None)

    def stored(self, uid: str) -> list[StoredBlob]:
        """The blobs of a model that are there, whether or not anything refers to them."""
        with tolerated(self.root / uid):
            return list(listed(self.root / uid))
        return []

    def abandoned(self, known: Collection[str], orphan_seconds: float) -> list[str]:
        """The models that are not ``known``, and whose newest file is older than ``orphan_seconds``."""
        now = self._now()
        return [each.name for each in self.models() if each.name not in known and now - each.modified > orphan_seconds]

    def models(self) -> list[StoredBlob]:
        """Every model that has blobs here: its uid, their bytes, and when the newest was written."""
        with tolerated(self.root):
            folders = [each for each in listed(self.root) if not each.name.startswith(".")]
            return [each._replace(bytes=sum(blob.bytes for blob in self.stored(each.name))) for each in folders]
        return []

    def remove(self, uid: str) -> None:
        """Deletes everything of a model."""
        self._whole = {path: known for path, known in self._whole.items() if path.parent.name != uid}
        shutil.rmtree(self.root / uid, ignore_errors=True)

    def place_of(self, uid: str, digest: str = "") -> str:
        """Where a model's blobs are, or one of them."""
        return f"{self.place}/{uid}/{digest}".rstrip("/")

    def _path(self, uid: str, digest: str) -> Path:
        return self.root / uid / digest
