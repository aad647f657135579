"""Files that others may have written: weights, artifacts, backups, plain and encrypted."""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from pathlib import Path

import msgspec
import torch

from driftline.errors import ConfigurationError, CorruptData, DriftlineError
from driftline.networks import bundle, sealed
from driftline.networks.build import build
from driftline.networks.served_model import ServedModel
from driftline.spec import ModelSpec, parse
from driftline.store.backup import format
from driftline.store.backup.format import BackupFile, Entries, Fields, Index, Piece, SavedModel, Scores, Text
from driftline.store.blobs import BlobReader
from driftline.store.encryption import Altered, Encryption, EncryptionKey, PlainFile
from tests.services import spec

UID = "0123456789ab"
KEY = EncryptionKey("2026", b"k" * 32)


@cache
def _scratch() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="driftline-fuzz-")  # Gone with the process.


def folder() -> Path:
    """Where files lie that are read from a path."""
    return Path(_scratch().name)


@cache
def module() -> ServedModel:
    return build(parse(ModelSpec, spec(inputs={"shape": [2]})), [0, 1], seed=0)


def read_weights(data: bytes) -> None:
    """A file of weights that is taken gives tensors as its header says, which a network takes or not."""
    path = folder() / "weights.safetensors"
    path.write_bytes(data)
    tensors = bundle.weights_of_file(path)
    assert bundle.weights_from_bytes(data).keys() == tensors.keys()
    assert sum(tensor.nbytes for tensor in tensors.values()) <= len(data)
    bundle.are_finite(tensors)
    bundle.load(module(), tensors)


def read_artifact(data: bytes) -> None:
    """A manifest, or the blob of a tensor."""
    if not data.startswith(b"{"):
        reader = BlobReader("here", PlainFile(io.BufferedReader(io.BytesIO(data)), len(data), None))
        try:
            assert bundle.read_tensor(reader).nbytes <= len(data)
        except ValueError as error:
            raise CorruptData(str(error)) from None
    manifest = bundle.decode(data)
    bundle.encode(manifest)


def read_backup(data: bytes) -> None:
    """An index, or the pieces of a file of which the index says that it is as it was written."""
    name = format.INDEX if data.startswith(b"{") else format.KEYS
    (folder() / name).write_bytes(data)
    if name == format.INDEX:
        format.verify(folder(), format.read_index(folder(), Encryption()), Encryption())
        return
    for piece in format.read_pieces(folder() / name, Encryption([KEY])):
        piece.write(_Nowhere(), b"base:")


class _Nowhere:
    """Takes what a piece writes."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *arguments, **options: None


def read_encrypted(data: bytes) -> None:
    """A file that is encrypted gives what was written or nothing."""
    try:
        found = Encryption([KEY]).decrypted_whole(data, "here")
    except (Altered, DriftlineError):
        return
    assert found in (data, SECRET), found


def _taken_as_damage(read: Callable[[bytes], None]) -> Callable[[bytes], None]:
    """Data that is damaged, or needs another key, is no fault of whoever reads it and says so."""

    def checked(data: bytes) -> None:
        try:
            read(data)
        except (CorruptData, ConfigurationError):
            return

    return checked


SECRET = b'{"weights": [1, 2, 3]}'
ENCRYPTED = Encryption([KEY]).encrypted_whole(SECRET)


def weights_seeds() -> list[bytes]:
    state = dict(module().state_dict())
    others = {"a": torch.zeros(3), "b": torch.ones(2, dtype=torch.bool)}
    return [bundle.weights_to_bytes(state), bundle.weights_to_bytes(others)]


def artifact_seeds() -> list[bytes]:
    tensor = torch.arange(6, dtype=torch.float32).reshape(2, 3)
    file = bundle.BundleFile("a" * 64, 10)
    manifest = bundle.Manifest(
        format=2,
        kind="version",
        model=UID,
        step=1,
        offset=2,
        spec=spec(),
        classes=[0, 1],
        created=1.5,
        files={"weights": file, "blob": bundle.BundleFile("b" * 64, 3)},
        tensors={"x": "b" * 64},
        version=1,
    )
    return [bundle.encode(manifest), sealed.header(tensor.dtype, tensor.shape) + bytes(sealed.bytes_of(tensor))]


PIECES: list[Piece] = [
    Text(b"epoch", b"3"),
    Text(b"live", b"1", 500),
    Fields(b"head", [(b"a", b"b")]),
    Scores(b"by", [(b"m", 1.5)]),
    Entries(b"log", [(b"1-0", [(b"k", b"v")])], 100),
]


def backup_seeds() -> list[bytes]:
    files = {}
    for number, encryption in enumerate((Encryption(), Encryption([KEY]))):
        place = folder() / f"seed-{number}"
        format.append_pieces(place, PIECES, encryption)
        files[number] = format.aside(place).read_bytes()
        format.aside(place).unlink()
    described = BackupFile(sha256(b"").hexdigest(), 0)
    saved = SavedModel("weather", UID, 1, 2, 3, {format.KEYS: described, format.RECEIPTS: described}, ["a" * 64])
    index = json.dumps(json.loads(msgspec.json.encode(Index(models=[saved], created=1.5))))
    return [index.encode(), *files.values()]


weights, artifact, backup = read_weights, _taken_as_damage(read_artifact), _taken_as_damage(read_backup)
