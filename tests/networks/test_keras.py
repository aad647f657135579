"""Weights of Keras, beside a forward pass in numpy as Keras computes it."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from driftline.errors import InvalidInput
from driftline.learning.learner import Learner
from driftline.networks import keras
from driftline.networks.bundle import weights_from_bytes, weights_to_bytes
from driftline.spec import ModelSpec, parse

DENSE: list[dict[str, Any]] = [{"type": "flatten"}, {"type": "linear", "features": 6}, {"type": "relu"}]
CONVOLVED: list[dict[str, Any]] = [
    {"type": "conv2d", "channels": 4, "padding": "valid"},
    {"type": "relu"},
    {"type": "max_pool"},
    {"type": "flatten"},
    {"type": "linear", "features": 6},
    {"type": "relu"},
]


def spec(layers: list[dict[str, Any]], shape: list[int]) -> ModelSpec:
    given = {"name": "m", "task": "classification", "classes": [0, 1, 2]}
    return parse(ModelSpec, given | {"inputs": {"shape": shape}, "network": {"layers": layers}})


def drawn(*shapes: tuple[int, ...]) -> list[NDArray[Any]]:
    random = np.random.default_rng(0)
    return [random.normal(size=shape).astype(np.float32) for shape in shapes]


def softmax(logits: NDArray[Any]) -> NDArray[Any]:
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(powers / powers.sum(1, keepdims=True))


def convolve(rows: NDArray[Any], kernel: NDArray[Any], bias: NDArray[Any]) -> NDArray[Any]:
    """``Conv2D`` with padding "valid": rows ``[batch, height, width, in]``."""
    windows = np.lib.stride_tricks.sliding_window_view(rows, kernel.shape[:2], axis=(1, 2))
    return np.asarray(np.einsum("bhwcij,ijco->bhwo", windows, kernel) + bias)


def pool(rows: NDArray[Any]) -> NDArray[Any]:
    batch, height, width, channels = rows.shape
    return np.asarray(rows.reshape(batch, height // 2, 2, width // 2, 2, channels).max((2, 4)))


def answered(found: ModelSpec, arrays: dict[str, NDArray[Any]], rows: NDArray[Any]) -> NDArray[Any]:
    served = Learner.create(found, seed=0, weights=keras.convert(arrays, found)).served
    with torch.no_grad():
        return np.asarray(served({"inputs": torch.from_numpy(rows.copy())}).softmax(1))


def test_dense_layers_answer_as_in_keras() -> None:
    weights = drawn((20, 6), (6,), (6, 3), (3,))
    (rows,) = drawn((5, 4, 5))
    hidden = np.maximum(rows.reshape(5, -1) @ weights[0] + weights[1], 0)
    wanted = softmax(hidden @ weights[2] + weights[3])
    numbered = {f"arr_{n}": array for n, array in enumerate(weights)}
    names = ("linear1/kernel", "linear1/bias", "output/kernel", "output/bias")
    for arrays in (numbered, dict(zip(names, weights, strict=True))):
        assert np.allclose(answered(spec(DENSE, [4, 5]), arrays, rows), wanted, atol=1e-6)


def test_convolutions_answer_as_in_keras_with_channels_first() -> None:
    weights = drawn((3, 3, 2, 4), (4,), (3 * 2 * 4, 6), (6,), (6, 3), (3,))
    (rows,) = drawn((5, 8, 6, 2))
    images = pool(np.maximum(convolve(rows, *weights[:2]), 0))
    hidden = np.maximum(images.reshape(5, -1) @ weights[2] + weights[3], 0)
    wanted = softmax(hidden @ weights[4] + weights[5])
    arrays = {f"arr_{n}": array for n, array in enumerate(weights)}
    assert np.allclose(answered(spec(CONVOLVED, [2, 8, 6]), arrays, rows.transpose(0, 3, 1, 2)), wanted, atol=1e-5)


def test_files_are_read_back() -> None:
    weights, file = drawn((20, 6), (6,), (6, 3), (3,)), io.BytesIO()
    np.savez(file, *weights)
    read = keras.read(file.getvalue())
    assert list(read) == ["arr_0", "arr_1", "arr_2", "arr_3"]
    safe = weights_to_bytes({"output/bias": torch.ones(3)})
    assert keras.read(safe)["output/bias"].tolist() == [1, 1, 1]
    converted = weights_from_bytes(weights_to_bytes(keras.convert(read, spec(DENSE, [4, 5]))))
    assert converted["network.linear1.weight"].shape == (6, 20)
    with pytest.raises(InvalidInput, match="no npz and no safetensors"):
        keras.read(b"nothing of the kind")


@pytest.mark.parametrize(
    ("layers", "shapes", "reason"),
    [
        (DENSE, [(20, 6), (6,), (6, 3)], "'arr_3', the bias of 'output', is missing"),
        (DENSE, [(20, 6), (6,), (6, 3), (3,), (3,)], "'arr_4' belongs to no layer"),
        (DENSE, [(20, 6, 1), (6,), (6, 3), (3,)], "'arr_0' has the shape"),
        ([{"type": "flatten"}, {"type": "batch_norm"}], [(20, 3), (3,)], "the batch_norm layer 'batch_norm1'"),
        ([{"type": "linear", "features": 6}], [(5, 6), (6,)], "put a flatten in front"),
    ],
    ids=str,
)
def test_what_does_not_fit_says_why(layers: list[dict[str, Any]], shapes: list[tuple[int, ...]], reason: str) -> None:
    arrays = {f"arr_{n}": array for n, array in enumerate(drawn(*shapes))}
    with pytest.raises(InvalidInput, match="weights") as refused:
        keras.convert(arrays, spec(layers, [4, 5]))
    assert reason in refused.value.message


def test_a_flatten_of_another_size_is_refused() -> None:
    arrays = {f"arr_{n}": array for n, array in enumerate(drawn((3, 3, 2, 4), (4,), (25, 6), (6,), (6, 3), (3,)))}
    with pytest.raises(InvalidInput, match="takes 25 numbers, and the flatten in front gives 24"):
        keras.convert(arrays, spec(CONVOLVED, [2, 8, 6]))
