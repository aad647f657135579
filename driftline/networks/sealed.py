"""Sealed tensors: nothing writes them any more, so that one copy in a process serves every module that has them.

A frozen parameter of some size is *constant*: modules share it (:func:`share`), checkpoints do not copy it, and its digest is
computed once. Whoever does write to the weights of a module gives it tensors of its own first (:func:`own`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from dataclasses import dataclass
from weakref import WeakKeyDictionary, WeakValueDictionary

import torch
from torch import Tensor, UntypedStorage, nn

MIN_CONSTANT_BYTES = 16 * 2**10
"""A frozen parameter that is smaller is copied: that costs less than to keep account of it."""
DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
"""The types that a blob may have, as safetensors calls them."""
NAME = "tensor"
"""What a blob calls its one tensor."""


@dataclass
class Seal:
    """What is known of a storage that nothing writes any more; ``digest`` once it was asked for."""

    dtype: torch.dtype
    shape: torch.Size
    digest: str | None = None


# Torch gives the same object for a storage as long as any tensor has it, and a module may put other tensors around one.
_seals: WeakKeyDictionary[UntypedStorage, Seal] = WeakKeyDictionary()
_by_digest: WeakValueDictionary[str, UntypedStorage] = WeakValueDictionary()
_read: WeakKeyDictionary[UntypedStorage, str] = WeakKeyDictionary()


def header(dtype: torch.dtype, shape: torch.Size) -> bytes:
    """How the blob of a tensor begins: a safetensors file that holds it alone."""
    size = shape.numel() * dtype.itemsize
    described = {NAME: {"dtype": DTYPES[dtype], "shape": list(shape), "data_offsets": [0, size]}}
    text = json.dumps(described, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def dtype_of(name: str) -> torch.dtype:
    """The type that safetensors calls by this name; :class:`ValueError` where a blob cannot have it."""
    for dtype, known in DTYPES.items():
        if known == name:
            return dtype
    raise ValueError(f"no type of a tensor: {name}")


def bytes_of(tensor: Tensor) -> memoryview:
    """The bytes of a contiguous tensor on the CPU, which are not copied."""
    return tensor.detach().reshape(-1).view(torch.uint8).numpy().data


def can_be_blob(tensor: Tensor) -> bool:
    """Whether a tensor can be a blob of its own as it lies in memory."""
    is_plain = tensor.layout == torch.strided and tensor.device.type == "cpu" and tensor.dtype in DTYPES
    return is_plain and tensor.is_contiguous() and tensor.numel() > 0


def is_constant(tensor: Tensor) -> bool:
    """Whether this is a frozen parameter of some size, in a storage of its own."""
    return (
        type(tensor) is nn.Parameter
        and not tensor.requires_grad
        and tensor.nbytes >= MIN_CONSTANT_BYTES
        and can_be_blob(tensor)
        and tensor.untyped_storage().nbytes() == tensor.nbytes
    )


def seal(tensor: Tensor) -> Seal:
    """Says that nothing writes a whole tensor any more."""
    storage = tensor.untyped_storage()
    found = _seals.get(storage)
    if found is None:
        found = _seals[storage] = Seal(tensor.dtype, tensor.shape, _read.pop(storage, None))
        if found.digest is not None:
            _register(found.digest, storage)
    return found


def _register(digest: str, storage: UntypedStorage) -> None:
    """Remembers who has a blob's numbers: the first, so that those who come later have one copy between them."""
    known = _by_digest.get(digest)
    if known is None or known not in _seals:
        _by_digest[digest] = storage


def unseal(tensor: Tensor) -> None:
    """Says that a tensor may be written after all, before anything has shared it."""
    _seals.pop(tensor.untyped_storage(), None)


def is_sealed(tensor: Tensor) -> bool:
    """Whether nothing writes a tensor any more."""
    return tensor.device.type == "cpu" and tensor.layout == torch.strided and tensor.untyped_storage() in _seals


def digest_of(tensor: Tensor) -> str:
    """The sha256 of a tensor's blob, in hexadecimal; of a sealed one it is computed once."""
    found = _seals.get(tensor.untyped_storage())
    if found is None or (found.dtype, found.shape) != (tensor.dtype, tensor.shape):
        return _computed(tensor)
    if found.digest is None:
        found.digest = _computed(tensor)
        _register(found.digest, tensor.untyped_storage())
    return found.digest


def _computed(tensor: Tensor) -> str:
    digest = hashlib.sha256(header(tensor.dtype, tensor.shape))
    digest.update(bytes_of(tensor))
    return digest.hexdigest()


def was_read(tensor: Tensor, digest: str) -> Tensor:
    """Notes the digest of a blob that was just read: it holds where the tensor is sealed before anything writes it."""
    _read[tensor.untyped_storage()] = digest
    return tensor


def in_memory(digest: str) -> Tensor | None:
    """The sealed tensor whose blob has this digest, if any module of this process has it."""
    storage = _by_digest.get(digest)
    found = _seals.get(storage) if storage is not None else None
    if storage is None or found is None:
        return None
    return torch.empty(0, dtype=found.dtype).set_(storage, 0, found.shape)  # type: ignore[call-overload, no-any-return]


def writable(tensor: Tensor) -> Tensor:
    """A tensor with the same numbers that may be written: itself, unless it is sealed."""
    return tensor.clone() if is_sealed(tensor) else tensor


def release(module: nn.Module, names: Collection[str]) -> None:
    """Frees the memory of a module's large parameters, by name, which are about to be set: till then they have no numbers."""
    for name, parameter in module.named_parameters(remove_duplicate=False):
        if name in names and parameter.nbytes >= MIN_CONSTANT_BYTES and can_be_blob(parameter):
            nothing = torch.zeros((), dtype=parameter.dtype).expand(parameter.shape)
            seal(nothing)
            parameter.data = nothing


def is_released(tensor: Tensor) -> bool:
    """Whether this is a frozen parameter that has no numbers yet."""
    return is_sealed(tensor) and not tensor.requires_grad and tensor.untyped_storage().nbytes() < tensor.nbytes


def own(module: nn.Module, leaving: Collection[int] = ()) -> None:
    """Gives a module tensors of its own in place of the ones that it shares, so that they may be written.

    Args:
        leaving: the ids of parameters that stay as they are.
    """
    for tensor in (*module.parameters(), *module.buffers()):
        if id(tensor) not in leaving:
            own_tensor(tensor)


def own_tensor(tensor: Tensor) -> None:
    """Gives a parameter memory of its own in place of what it shares, so that it may be written."""
    if is_sealed(tensor):
        tensor.data = tensor.detach().clone()


def share(tensor: Tensor, other: Tensor) -> None:
    """Lets a constant have the memory of another where they are equal."""
    if not (is_constant(tensor) and is_constant(other)) or tensor.data_ptr() == other.data_ptr():
        return
    if (tensor.shape, tensor.dtype) == (other.shape, other.dtype) and torch.equal(tensor, other):
        seal(other)
        tensor.data = other.detach()
