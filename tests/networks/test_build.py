"""A spec becomes the module that it says, or an error that names the layer."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from driftline.errors import InvalidInput
from driftline.networks.build import build
from driftline.networks.modules import ClampedEmbedding
from driftline.networks.served_model import ServedModel
from driftline.spec import ModelSpec, parse
from driftline.spec.parts.layers import LAYERS, Activation
from tests.services import spec

FACTORIES = "tests.networks.factories"

LAYER_SHAPES: list[tuple[dict[str, Any], list[int], list[int]]] = [
    ({"type": "linear", "features": 3}, [4], [3]),
    ({"type": "linear", "features": 3, "bias": False}, [2, 4], [2, 3]),
    ({"type": "flatten"}, [2, 3, 4], [24]),
    ({"type": "flatten"}, [], [1]),
    ({"type": "reshape", "shape": [3, 4]}, [12], [3, 4]),
    ({"type": "reshape", "shape": [1]}, [], [1]),
    ({"type": "dropout", "share": 0.9}, [4], [4]),
    ({"type": "layer_norm"}, [2, 4], [2, 4]),
    *(({"type": "batch_norm"}, shape, shape) for shape in ([4], [4, 2], [4, 2, 2])),
    ({"type": "conv2d", "channels": 6}, [3, 8, 5], [6, 8, 5]),
    ({"type": "conv2d", "channels": 6}, [8, 5], [6, 8, 5]),
    ({"type": "conv2d", "channels": 2, "kernel": 2, "stride": 2, "padding": 1}, [1, 8, 8], [2, 5, 5]),
    ({"type": "conv2d", "channels": 2, "padding": "valid"}, [1, 8, 8], [2, 6, 6]),
    ({"type": "max_pool"}, [3, 9, 8], [3, 4, 4]),
    ({"type": "average_pool", "kernel": 3}, [3, 9, 8], [3, 3, 2]),
    ({"type": "average_pool"}, [3, 9, 8], [3, 1, 1]),
    *(({"type": name}, [2, 3], [2, 3]) for name, kind in LAYERS.parts.items() if issubclass(kind, Activation)),
]

MISFITS: list[tuple[list[dict[str, Any]], list[int], str]] = [
    ([{"type": "conv2d", "channels": 4}], [8], "network.layers.0 (conv2d1): it cannot take rows of shape [8]"),
    ([{"type": "relu"}, {"type": "max_pool"}], [3, 1, 5], "network.layers.1 (max_pool1)"),
    ([{"type": "average_pool", "kernel": 9, "name": "shrink"}], [3, 8, 8], "network.layers.0 (shrink)"),
    ([{"type": "reshape", "shape": [5]}], [3], "3 numbers do not fill [5]"),
    ([{"type": "reshape", "shape": [-2, -2]}], [4], "network.layers.0 (reshape1)"),
    ([{"type": "linear", "features": 2}], [], "network.layers.0 (linear1)"),
    ([{"type": "layer_norm"}], [], "network.layers.0 (layer_norm1)"),
    ([{"type": "batch_norm"}], [1, 2, 3, 4], "network.layers.0 (batch_norm1)"),
    ([{"type": "conv2d", "channels": 4, "stride": 2}], [3, 8, 8], 'padding "same" needs a stride of 1'),
    ([{"type": "conv2d", "channels": 4, "kernel": 9, "padding": 0}], [3, 8, 8], "network.layers.0 (conv2d1)"),
]


def model(network: Any, shape: list[int] | None = None, **changes: Any) -> ModelSpec:
    inputs: dict[str, Any] = {"inputs": {"shape": shape}} if shape is not None else {}
    return parse(ModelSpec, spec(network=network, **inputs, **changes))


def built(network: Any, shape: list[int] | None = None, seed: int = 0, **changes: Any) -> ServedModel:
    found = model(network, shape, **changes)
    return build(found, found.known_classes(), seed=seed)


def made(factory: str, allowed: bool = True, **changes: Any) -> ServedModel:
    """A network by one of the test's factories."""
    name = f"{FACTORIES}:{factory}"
    network = {"factory": name} | changes.pop("network", {})
    found = parse(ModelSpec, spec(network=network, inputs={"shape": [4]}) | changes)
    return build(found, found.known_classes(), factories=[name] if allowed else [], seed=0)


def rows(shape: list[int], count: int = 3) -> dict[str, torch.Tensor]:
    return {"inputs": torch.randn((count, *shape), generator=torch.Generator().manual_seed(0))}


@pytest.mark.parametrize(("layer", "shape", "expected"), LAYER_SHAPES, ids=str)
def test_a_layer_gives_rows_of_its_shape(layer: dict[str, Any], shape: list[int], expected: list[int]) -> None:
    module = built({"layers": [layer]}, shape)
    assert list(module.network(rows(shape)["inputs"]).shape[1:]) == expected
    assert module(rows(shape)).shape == (3, 2)


def test_every_kind_of_layer_is_tried_here() -> None:
    assert {layer["type"] for layer, _, _ in LAYER_SHAPES} | {"embedding"} == LAYERS.parts.keys()


@pytest.mark.parametrize("preset", ["mlp", "cnn"])
@pytest.mark.parametrize("shape", [[8, 8], [1, 28, 28], [3, 32, 32]], ids=str)
@pytest.mark.parametrize("count", [1, 3])
def test_presets_take_images(preset: str, shape: list[int], count: int) -> None:
    module = built({"preset": preset}, shape, classes=["a", "b", "c"])
    probabilities = module.predict(rows(shape, count))
    assert probabilities.shape == (count, 3)
    assert probabilities.sum(1).tolist() == pytest.approx([1] * count)


@pytest.mark.parametrize("shape", [[], [1], [8], [2, 3, 4, 5]], ids=str)
def test_a_network_takes_rows_of_any_rank(shape: list[int]) -> None:
    networks: list[dict[str, Any]] = [{"preset": "mlp"}, {"layers": []}, {"layers": [{"type": "relu"}]}]
    for network in networks:
        assert built(network, shape)(rows(shape)).shape == (3, 2)


def test_a_regression_gives_one_value_a_row() -> None:
    module = built({"preset": "mlp"}, [8], task="regression", classes=None)
    assert module.predict(rows([8])).shape == (3, 1)


def test_without_any_class_yet_there_are_no_probabilities() -> None:
    assert built({"preset": "mlp"}, [8], classes="open").predict(rows([8])).shape == (3, 0)


def test_layers_are_named_by_type_and_order_or_as_the_spec_says() -> None:
    layers = [
        {"type": "linear", "features": 4},
        {"type": "relu"},
        {"type": "linear", "features": 4, "name": "middle"},
        {"type": "relu", "name": "relu2"},
        {"type": "linear", "features": 4},
        {"type": "relu"},
        {"type": "relu"},
    ]
    names = [name for name, _ in built({"layers": layers}, [8]).network.named_children()]
    assert names == ["linear1", "relu1", "middle", "relu2", "linear2", "relu3", "relu4"]
    with pytest.raises(InvalidInput, match="two layers are named 'a'"):
        model({"layers": [{"type": "relu", "name": "a"}, {"type": "tanh", "name": "a"}]})


def test_presets_name_their_layers_too() -> None:
    module = built({"preset": "cnn", "channels": [4], "hidden": [6]}, [8, 8])
    assert {name.rpartition(".")[0] for name, _ in module.named_parameters()} == {
        "network.conv2d1",
        "network.linear1",
        "output",
    }


@pytest.mark.parametrize("name", ["append", "double", "training", "forward", "_modules"])
def test_a_name_that_torch_needs_itself_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match=f"network.layers.0.name: .*{name}"):
        built({"layers": [{"type": "relu", "name": name}]}, [8])


@pytest.mark.parametrize(("layers", "shape", "message"), MISFITS, ids=[message for _, _, message in MISFITS])
def test_the_layer_that_cannot_take_its_rows_is_named(
    layers: list[dict[str, Any]], shape: list[int], message: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        built({"layers": layers}, shape)
    assert message in refused.value.message
    assert refused.value.details["field"] == f"network.layers.{len(layers) - 1}"
    assert refused.value.details["value"] == layers[-1] | refused.value.details["value"]


def test_a_preset_that_cannot_take_its_rows_says_where() -> None:
    with pytest.raises(InvalidInput, match=r"network.5 \(max_pool2\)"):
        built({"preset": "cnn"}, [2, 2])


def test_named_inputs_are_joined_in_the_order_of_the_spec() -> None:
    inputs = {"user": {"shape": [], "dtype": "int64"}, "item": {"shape": [2, 2]}}
    found = parse(ModelSpec, spec(inputs=inputs, network={"layers": []}))
    module = build(found, [0, 1], seed=0)
    given = {"item": torch.tensor([[[1.0, 2], [3, 4]]]), "user": torch.tensor([7])}
    assert isinstance(module.output, nn.Linear)
    expected = module.output(torch.tensor([[7.0, 1, 2, 3, 4]]))
    assert torch.equal(module(given), expected)
    assert list(module.scale) == ["item"], "integers are not scaled"


def test_a_single_named_input_keeps_its_shape_and_type() -> None:
    network = {"layers": [{"type": "embedding", "count": 5, "features": 3}, {"type": "flatten"}]}
    found = parse(ModelSpec, spec(inputs={"words": {"shape": [4], "dtype": "int64"}}, network=network))
    module = build(found, [0, 1], seed=0)
    assert module({"words": torch.tensor([[0, 1, 2, 3]])}).shape == (1, 2)


@given(st.integers(-(2**63), 2**63 - 1))
@settings(max_examples=30)
def test_any_integer_has_an_embedding(number: int) -> None:
    embedding = ClampedEmbedding(5, 2)
    expected = number if 0 <= number < 5 else 4
    assert torch.equal(embedding(torch.tensor([number])), embedding.weight[expected : expected + 1])


def test_an_own_output_is_what_the_network_gives() -> None:
    layers = [{"type": "linear", "features": 2}]
    module = built({"layers": layers, "output": "own"}, [8])
    assert isinstance(module.output, nn.Identity)
    assert torch.equal(module(rows([8])), module.network(rows([8])["inputs"]))
    with pytest.raises(InvalidInput, match="the network gives 2 numbers where the task needs 3") as refused:
        built({"layers": layers, "output": "own"}, [8], classes=[1, 2, 3])
    assert refused.value.details["field"] == "network.output"


def test_a_factory_of_the_operator_is_called_with_its_arguments() -> None:
    module = made("plain", network={"arguments": {"features": 6}})
    assert module(rows([4])).shape == (3, 2)
    assert module.state_dict()["network.0.weight"].shape == (6, 4)


def test_a_factory_takes_named_inputs_by_name() -> None:
    inputs = {"item": {"shape": [2]}, "user": {"shape": [], "dtype": "int64"}}
    module = made("towers", inputs=inputs)
    assert module({"user": torch.tensor([1, 2]), "item": torch.zeros(2, 2)}).shape == (2, 2)


def test_a_factory_may_give_one_number_a_row() -> None:
    regression: dict[str, Any] = {"task": "regression", "classes": None, "network": {"output": "own"}}
    assert made("sums", **regression)(rows([4])).shape == (3, 1)
    assert made("sums")(rows([4])).shape == (3, 2)


def test_a_factory_that_is_not_listed_is_not_imported() -> None:
    with pytest.raises(InvalidInput, match="DRIFTLINE_FACTORIES") as refused:
        made("raising", allowed=False)
    assert refused.value.code == "factory_not_allowed"


@pytest.mark.parametrize(
    ("factory", "reason"),
    [
        ("raising", "OSError: the file is"),
        ("no_module", "it gave a int, not a torch.nn.Module"),
        ("narrow", "RuntimeError: mat1 and mat2"),
        ("missing", "AttributeError"),
    ],
)
def test_a_factory_that_fails_says_how(factory: str, reason: str) -> None:
    with pytest.raises(InvalidInput, match=f"{factory} failed: .*{reason}") as refused:
        made(factory)
    assert (refused.value.code, refused.value.details["field"]) == ("factory_failed", "network.factory")


def test_the_same_seed_gives_the_same_weights_and_leaves_torchs_random_state_alone() -> None:
    before = torch.get_rng_state()
    one, same, other = (built({"preset": "cnn"}, [8, 8], seed=seed).state_dict() for seed in (5, 5, 6))
    assert all(torch.equal(value, same[name]) for name, value in one.items())
    assert not torch.equal(one["network.conv2d1.weight"], other["network.conv2d1.weight"])
    assert torch.equal(torch.get_rng_state(), before)


def test_a_module_is_built_to_answer_not_to_train() -> None:
    module = built({"layers": [{"type": "dropout"}, {"type": "batch_norm"}]}, [8])
    assert not module.training and not any(part.training for part in module.network.modules())
    assert torch.equal(module(rows([8])), module(rows([8])))
