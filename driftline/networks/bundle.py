"""A module as files: safetensors and a manifest. Never pickle."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

import msgspec
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from driftline.errors import CorruptData, InvalidInput
from driftline.networks import row_history, sealed
from driftline.networks.experts.serving import leave_out_missing, with_room
from driftline.networks.kernels import compiled
from driftline.networks.row_table import written_by_rows
from driftline.networks.running_prior import with_prior
from driftline.networks.running_scale import with_scales
from driftline.networks.set_tensors import set_tensors
from driftline.records import MANIFEST_FORMAT
from driftline.support.json_text import UNREADABLE

FORMAT = MANIFEST_FORMAT
MAX_HEADER_BYTES, MAX_DIMENSIONS = 4096, 64
MAX_TENSORS, MAX_TENSOR_NAMES_BYTES = 10_000, 4 * 2**20
"""Of a file of weights: the most tensors, and the most bytes that name them."""


class BundleFile(msgspec.Struct, frozen=True):
    """One file of a bundle, by its sha256 in hexadecimal."""

    sha256: str
    bytes: int


def this_build() -> dict[str, Any]:
    """What must be equal for the same computation to give the same bits."""
    return {**_fixed_build(), "threads": torch.get_num_threads()}


def build_changes(before: Mapping[str, object]) -> list[str]:
    """What of another build differs here: each part, and both values."""
    here = this_build()
    names = [name for name in sorted({*here, *before}) if here.get(name) != before.get(name)]
    return [f"{name} {before.get(name)} → {here.get(name)}" for name in names]


@cache
def _fixed_build() -> dict[str, Any]:
    cpu = torch.backends.cpu.get_cpu_capability()
    return {"torch": str(torch.__version__), "cpu": cpu, **compiled.build()}


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a version or a checkpoint is, and which files it consists of.

    ``files`` are all that it consists of, by their sha256, and by ``weights`` or ``state`` the one that holds the small tensors
    together. ``tensors`` are the names of the large ones, each with the sha256 of its blob, which other versions may refer to
    as well; ``rows`` the names of tables among these, each with the files of rows that were written since that blob was, oldest
    first. ``data`` is the plain part of a checkpoint's state. ``step`` and ``offset`` say where in its log the learner stood.
    ``code`` is the sha256 of the file of each function of a user's own.
    """

    format: int = 1
    kind: Literal["version", "checkpoint"]
    model: str
    version: int | None = None
    parent: int | None = None
    step: int
    offset: int
    spec: dict[str, Any]
    classes: list[int | str]
    edits: list[dict[str, Any]] = []
    scores: dict[str, float] = {}
    created: float
    build: dict[str, Any] = msgspec.field(default_factory=this_build)
    code: dict[str, str] = {}
    data: dict[str, Any] = {}
    files: dict[str, BundleFile]
    tensors: dict[str, str] = {}
    rows: dict[str, list[str]] = {}

    @property
    def together(self) -> BundleFile:
        """The file of the small tensors."""
        return self.files["weights" if self.kind == "version" else "state"]


def encode(manifest: Manifest) -> bytes:
    """The manifest as JSON, the same bytes for the same content."""
    return msgspec.json.encode(manifest)


def decode(data: bytes) -> Manifest:
    """The manifest that :func:`encode` wrote; :class:`CorruptData` where it is none."""
    try:
        manifest = msgspec.json.decode(data, type=Manifest)
    except UNREADABLE as error:
        raise CorruptData(f"not a manifest: {error}", code="artifact_damaged") from None
    if not 1 <= manifest.format <= FORMAT:
        message = f"a manifest of format {manifest.format}; this Driftline knows up to {FORMAT}"
        raise CorruptData(message, code="unknown_format")
    needed = {*manifest.tensors.values()}.union(*manifest.rows.values())
    if not needed <= {file.sha256 for file in manifest.files.values()}:
        raise CorruptData("not a manifest: a tensor is in none of its files", code="artifact_damaged")
    return manifest


def weights_to_bytes(tensors: Mapping[str, Tensor]) -> bytes:
    """Tensors by name as a safetensors file."""
    plain: dict[str, Tensor] = {}
    memories: set[int] = set()
    for name, tensor in tensors.items():
        kept = tensor.detach().cpu().contiguous()
        # A file of safetensors holds each tensor by itself; which of them share memory, the module knows that loads them.
        plain[name] = kept if (memory := kept.untyped_storage().data_ptr()) not in memories else kept.clone()
        memories.add(memory)
    return safetensors.torch.save(plain)


def weights_from_bytes(data: bytes) -> dict[str, Tensor]:
    """The tensors of a safetensors file; :class:`InvalidInput` where it is none."""
    try:
        return safetensors.torch.load(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise _no_safetensors(error) from None


def weights_of_file(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, which is read as they are needed; :class:`InvalidInput` where it is none."""
    _check_count(path)
    try:
        return safetensors.torch.load_file(path)
    except (SafetensorError, ValueError, KeyError) as error:
        raise _no_safetensors(error) from None


def _check_count(path: Path) -> None:
    """Refuses a header that names more tensors than any network has, before one of them is made: each takes its time."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        if size > path.stat().st_size:
            return  # It is no such file, and says so where it is read.
        count = file.read(size).count(b'"dtype"') if size <= MAX_TENSOR_NAMES_BYTES else None
    if count is None or count > MAX_TENSORS:
        told = f"a header of {size:,} bytes" if count is None else f"{count:,} tensors"
        most = f"{MAX_TENSORS:,} in a header of {MAX_TENSOR_NAMES_BYTES:,} bytes"
        raise InvalidInput(f"weights: {told}, where {most} are the most", code="too_many_tensors", field="weights")


def _no_safetensors(error: Exception) -> InvalidInput:
    message = f"weights: not a safetensors file: {error}; safetensors.torch.save_model(network, FILE) writes one"
    return InvalidInput(message, code="not_safetensors", field="weights")


class TensorBlob(Protocol):
    """Reads a blob from its beginning to its end."""

    @property
    def size(self) -> int: ...

    def take(self, count: int) -> bytes: ...

    def fill(self, target: memoryview) -> None: ...


def read_tensor(reader: TensorBlob) -> Tensor:
    """The tensor of a blob of its own, read into place; :class:`ValueError` where it is none."""
    size = int.from_bytes(reader.take(8), "little")
    if not 0 < size <= MAX_HEADER_BYTES:
        raise ValueError("not the blob of a tensor")
    try:
        described = msgspec.json.decode(reader.take(size), type=dict[str, _Described])[sealed.NAME]
    except (*UNREADABLE, KeyError):
        raise ValueError("the blob of a tensor has no header") from None
    dtype = sealed.dtype_of(described.dtype)
    if math.prod(described.shape) * dtype.itemsize != reader.size - 8 - size:
        raise ValueError("the blob of a tensor of another size")
    found = torch.empty(described.shape, dtype=dtype)
    reader.fill(sealed.bytes_of(found))
    return found


class _Described(msgspec.Struct):
    """What the header of a blob says of its tensor."""

    dtype: str
    shape: Annotated[list[Annotated[int, msgspec.Meta(gt=0)]], msgspec.Meta(max_length=MAX_DIMENSIONS)]


def load(module: nn.Module, tensors: Mapping[str, Tensor], *, is_trained: bool = True) -> None:
    """Sets all of a module's tensors; :class:`InvalidInput` names the first that does not fit, and nothing is set.

    Large tensors that nothing will write are taken as they are, not copied: frozen ones, and all where the module is not
    trained.
    """
    leave_out_missing(module, tensors)
    tensors = with_prior(module, with_scales(module, with_room(module, tensors)))
    own = module.state_dict()
    for name, tensor in own.items():
        if name not in tensors:
            raise _misfit(name, f"it is missing; the network has it with shape {list(tensor.shape)}")
        if tensors[name].shape != tensor.shape:
            raise _misfit(name, f"its shape is {list(tensors[name].shape)} where the network has {list(tensor.shape)}")
    for name in tensors:
        if name not in own:
            raise _misfit(name, "the network has no such tensor")
    fitting = {name: tensors[name].to(tensor.dtype) for name, tensor in own.items()}
    # What another module of this process has was looked at when that took it.
    new = {name: tensor for name, tensor in fitting.items() if not sealed.is_sealed(tensor)}
    if not are_finite(new):
        name = next(name for name, tensor in new.items() if not are_finite({name: tensor}))
        raise _misfit(name, "it holds numbers that are not finite")
    set_tensors(module, tensors, is_trained=is_trained)


def are_finite(tensors: Mapping[str, Tensor]) -> bool:
    """Whether all numbers of a module's tensors are finite, as they must be to be served; only a scale may have no limit."""
    return all(
        _is_finite(tensor)
        for name, tensor in tensors.items()
        if tensor.is_floating_point() and not name.endswith(".limit")
    )


def _is_finite(numbers: Tensor) -> bool:
    # A sum is many times cheaper, and carries on what is not finite; only it may leave the range by itself.
    return math.isfinite(numbers.sum().item()) or bool(numbers.isfinite().all())


def digest_of(module: nn.Module, text: str, *, reads_all: bool = False) -> str:
    """16 hexadecimal digits that stand for every tensor of a module and its name, and for a text.

    Of large frozen parameters it takes the digest that is known of them; ``reads_all``: their bytes, as a former release did.
    """
    found, by_rows = hashlib.sha256(text.encode()), written_by_rows(module)
    for name, value in module.state_dict(keep_vars=True).items():
        found.update(name.encode())
        if name in by_rows:
            found.update(row_history.content_hash(value).to_bytes(8, "little"))
        elif sealed.is_constant(value) and not reads_all:
            sealed.seal(value)
            found.update(sealed.digest_of(value).encode())
        else:
            found.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()[:16]


def _misfit(name: str, reason: str) -> InvalidInput:
    return InvalidInput(f"weights: {name}: {reason}", code="wrong_weights", field="weights", value=name)
