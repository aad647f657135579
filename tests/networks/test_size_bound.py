"""What layers come to is never more than is told of them before; so small ones may be built as they are to be priced."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from driftline.errors import InvalidInput
from driftline.networks import price
from driftline.networks.sequential import layered, network_rows
from driftline.networks.size_bound import size_bound
from driftline.networks.unit_flow import shapes
from driftline.spec.network import layers_of
from tests.networks.test_build import LAYER_SHAPES, model

ADAPTER = {"rank": 1}
LAYERS = [
    *(layer for layer, _, _ in LAYER_SHAPES),
    {"type": "linear", "features": 5, "adapter": ADAPTER},
    {"type": "conv2d", "channels": 3, "kernel": 5, "adapter": ADAPTER},
    {"type": "reshape", "shape": [2, 6]},
]
SHAPES = [[], [4], [12], [2, 3], [3, 8, 5]]


@settings(max_examples=150)
@given(layers=st.lists(st.sampled_from(LAYERS), max_size=4), shape=st.sampled_from(SHAPES))
def test_it_is_no_less_than_layers_come_to(layers: list[dict[str, Any]], shape: list[int]) -> None:
    spec = model({"layers": layers}, shape)
    try:
        module, _ = layered(spec)
    except InvalidInput:
        assume(False)
    given = shapes(module, network_rows(spec), takes_names=False)
    found = sum(value.numel() for value in module.state_dict().values())
    network = layers_of(spec.network)
    assert network is not None
    assert found + sum(int(torch.Size(each).numel()) for each in given.values()) <= size_bound(network.layers, shape)


@pytest.mark.parametrize(("layer", "shape", "_"), LAYER_SHAPES, ids=str)
def test_the_price_is_the_same_however_it_is_found(
    layer: dict[str, Any], shape: list[int], _: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = model({"layers": [layer, {"type": "flatten"}, {"type": "linear", "features": 2}]}, shape)
    found = []
    for small in (-1, 2**20):
        monkeypatch.setattr(price, "SMALL", small)
        found.append(price.price_of(spec, [0, 1]))
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("network", "shape"),
    [
        ({"layers": []}, [2**11, 2**11]),
        ({"preset": "mlp", "hidden": [2**11, 2**11]}, [8]),
        ({"layers": [{"type": "conv2d", "channels": 1, "padding": 30_000}]}, [1, 8, 8]),
        ({"layers": [{"type": "conv2d", "channels": 100_000}]}, [1, 8, 8]),
        ({"layers": [], "branches": {"branch1": [{"type": "linear", "features": 10**6}]}}, [8]),
    ],
    ids=str,
)
def test_what_is_not_small_is_not_built(network: dict[str, Any], shape: list[int]) -> None:
    assert not price._is_small(model(network, shape))


def test_a_small_model_loads_no_compiler_of_torch() -> None:
    program = """
import sys
from driftline.learning.learner import Learner
from driftline.networks.price import ModelBudget
from driftline.spec import ModelSpec, parse
from tests.services import spec
for network in ({"preset": "mlp"}, {"layers": [{"type": "linear", "features": 8}, {"type": "relu"}]}):
    wanted = parse(ModelSpec, spec(network=network))
    ModelBudget().check_spec(wanted, [0, 1])
    Learner.create(wanted, seed=1)
assert "torch._dynamo" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)
