"""Weights that Keras has trained, as tensors of a network given by layers.

Names: ``arr_0``, ``arr_1``, … in the order of ``model.get_weights()``, as ``numpy.savez(file, *model.get_weights())`` writes
them; or ``<layer>/kernel`` and ``<layer>/bias`` with the layer's name in the spec, the last one called ``output``.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import safetensors.numpy
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError

from driftline.errors import InvalidInput
from driftline.networks.bundle import weights_to_bytes
from driftline.networks.layers import builder
from driftline.networks.sequential import layer_names, sequential
from driftline.spec import ModelSpec
from driftline.spec.network import layers_of
from driftline.spec.parts.layers import Conv2d, Layer, Linear

Arrays = Mapping[str, NDArray[np.generic]]


def read(data: bytes, name: str = "weights") -> dict[str, NDArray[np.generic]]:
    """The arrays of an npz or a safetensors file; :class:`InvalidInput` where it is neither."""
    try:
        if zipfile.is_zipfile(io.BytesIO(data)):
            with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                return dict(arrays)
        return dict(safetensors.numpy.load(data))
    except (SafetensorError, ValueError, OSError, zipfile.BadZipFile) as error:
        raise InvalidInput(f"{name} is no npz and no safetensors file: {error}", field="weights") from None


def convert(arrays: Arrays, spec: ModelSpec) -> dict[str, torch.Tensor]:
    """Tensors by the names of Driftline's module, for :meth:`driftline.learning.learner.Learner.create`.

    Kernels of ``Dense`` are ``[in, out]``, those of ``Conv2D`` ``[height, width, in, out]``, and rows after them have their
    channels last; here they come first, also in the inputs, and a ``Dense`` after ``Flatten`` is put in that order.

    Raises:
        InvalidInput: it names the layer that cannot be taken over, or the array that is missing, left over, or misshapen.
    """
    left = dict(arrays)
    is_numbered = "arr_0" in left
    tensors: dict[str, torch.Tensor] = {}
    used = 0
    for name, layer, image in _weighted(spec):
        for part in ("kernel", "bias") if layer is None or layer.bias else ("kernel",):
            key = f"arr_{used}" if is_numbered else f"{name}/{part}"
            used += 1
            if key not in left:
                raise InvalidInput(f"weights: {key!r}, the {part} of {name!r}, is missing", field="weights", value=key)
            array = left.pop(key)
            module = name if layer is None else f"network.{name}"
            tensor = _kernel(key, array, layer, image) if part == "kernel" else array
            tensors[f"{module}.{'weight' if part == 'kernel' else 'bias'}"] = torch.tensor(tensor, dtype=torch.float32)
    if left:
        raise InvalidInput(f"weights: {next(iter(left))!r} belongs to no layer of the spec", field="weights")
    return tensors


def weights_of(path: Path, spec: ModelSpec) -> bytes:
    """A file of Keras' weights as Driftline's safetensors."""
    return weights_to_bytes(convert(read(path.read_bytes(), str(path)), spec))


def _weighted(spec: ModelSpec) -> Iterator[tuple[str, Conv2d | Linear | None, tuple[int, ...]]]:
    """Each layer with weights, None for the output; and the shape of the images that were flattened into its rows."""
    network = layers_of(spec.network)
    if network is None or network.branches or len(spec.tensors) > 1:
        raise InvalidInput(
            "weights of Keras fit a network of layers, without branches and with one input", field="network"
        )
    (tensor,) = spec.tensors.values()
    shape: tuple[int, ...] = tuple(tensor.shape)
    image: tuple[int, ...] = ()
    for name, layer in zip(layer_names(network.layers), network.layers, strict=True):
        if isinstance(layer, Conv2d | Linear):
            if isinstance(layer, Linear) and len(shape) > 1:
                raise _refused(name, layer, "it would take the last axis of an image; put a flatten in front")
            yield name, layer, image
            image = ()
        elif any(True for _ in builder(layer).build(shape).parameters()) or layer.type == "reshape":
            raise _refused(name, layer, "only flatten, dropout, pools and activations may stand between them")
        before, shape = shape, _shape_after(layer, shape)
        if layer.type == "flatten":
            image = before if len(before) == 3 else image
    if network.output == "task":
        if len(shape) > 1:
            raise InvalidInput("weights of Keras need a flatten in front of the output", field="network")
        yield "output", None, image


def _shape_after(layer: Layer, shape: tuple[int, ...]) -> tuple[int, ...]:
    return sequential([layer], torch.zeros((1, *shape)), "network.layers")[1]


def _refused(name: str, layer: Layer, reason: str) -> InvalidInput:
    return InvalidInput(f"weights of Keras: the {layer.type} layer {name!r}: {reason}", field="network", value=name)


def _kernel(
    key: str, array: NDArray[np.generic], layer: Conv2d | Linear | None, image: tuple[int, ...]
) -> NDArray[np.generic]:
    axes = 4 if isinstance(layer, Conv2d) else 2
    if array.ndim != axes:
        raise InvalidInput(f"weights: {key!r} has the shape {list(array.shape)}, not {axes} axes", field="weights")
    if isinstance(layer, Conv2d):
        return array.transpose(3, 2, 0, 1)
    if image:
        channels, height, width = image
        if len(array) != channels * height * width:
            raise InvalidInput(
                f"weights: {key!r} takes {len(array)} numbers, and the flatten in front gives {channels * height * width}",
                field="weights",
            )
        array = array.reshape(height, width, channels, -1).transpose(2, 0, 1, 3).reshape(len(array), -1)
    return array.T
