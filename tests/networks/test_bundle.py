"""A module comes back from its files bit for bit, or an error names what is wrong with them."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from driftline.errors import CorruptData, InvalidInput
from driftline.networks import bundle
from driftline.networks.build import build
from driftline.networks.experts.mixture import Mixture
from driftline.networks.served_model import ServedModel
from driftline.spec import ModelSpec, parse
from tests.services import spec

NETWORK = {"layers": [{"type": "linear", "features": 3}, {"type": "batch_norm"}]}


def module(seed: int = 0, **changes: Any) -> ServedModel:
    found = parse(ModelSpec, spec(network=NETWORK, **changes))
    return build(found, found.known_classes(), seed=seed)


def learned() -> ServedModel:
    """A module whose scales and statistics have moved."""
    found = module(task="regression", classes=None)
    rows = torch.randn((20, 8), generator=torch.Generator().manual_seed(1)) * 1e5
    found.observe({"inputs": rows}, rows[:, 0])
    found.train()({"inputs": rows})
    return found.eval()


def manifest(**changes: Any) -> bundle.Manifest:
    whole: dict[str, Any] = {
        "kind": "version",
        "model": "0a",
        "version": 2,
        "parent": 1,
        "step": 3,
        "offset": 40,
        "spec": spec(),
        "classes": [0, "zero", 1],
        "scores": {"error": 0.1 + 0.2},
        "created": 1.5,
        "data": {"detector": {"total": 1e-300}},
        "files": {"weights": bundle.BundleFile("ab", 3)},
    }
    return bundle.Manifest(**(whole | changes))


def test_a_module_comes_back_bit_for_bit() -> None:
    one, other = learned(), module(seed=9, task="regression", classes=None)
    bundle.load(other, bundle.weights_from_bytes(bundle.weights_to_bytes(one.state_dict())))
    for name, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]) and value.dtype == other.state_dict()[name].dtype
    rows = {"inputs": torch.randn(5, 8)}
    assert torch.equal(one.predict(rows), other.predict(rows))


@pytest.mark.parametrize("held", [[], [0], [2, 0], [1, 2, 0]])
def test_a_mixture_has_the_columns_of_what_it_is_loaded_with(held: list[int]) -> None:
    changes: dict[str, Any] = {"classes": ["a", "b", "c"], "recipe": {"strategy": "experts"}}
    one, other = module(**changes), module(seed=9, **changes)
    assert isinstance(one.experts, Mixture) and isinstance(other.experts, Mixture)
    one.experts.see([2, 0])
    other.experts.see(held)
    kept = other.experts.ridge.heads
    bundle.load(other, bundle.weights_from_bytes(bundle.weights_to_bytes(one.state_dict())))
    assert (other.experts.ridge.heads is kept) == (held == [2, 0]), "the memory is taken as it is where it fits"
    rows = {"inputs": torch.randn(5, 8)}
    assert torch.equal(one.predict(rows), other.predict(rows))


@given(st.lists(st.floats(width=32), max_size=9), st.lists(st.floats(), max_size=3), st.integers(-(2**63), 2**63 - 1))
@settings(max_examples=40)
def test_numbers_of_any_type_keep_their_bits(floats: list[float], doubles: list[float], integer: int) -> None:
    tensors = {
        "floats": torch.tensor(floats, dtype=torch.float32).reshape(1, -1),
        "doubles": torch.tensor(doubles, dtype=torch.float64),
        "integer": torch.tensor(integer),
        "bytes": torch.get_rng_state()[:9],
        "turned": torch.tensor([floats, floats], dtype=torch.float32).T,
    }
    found = bundle.weights_from_bytes(bundle.weights_to_bytes(tensors))
    assert found.keys() == tensors.keys()
    for name, value in tensors.items():
        assert found[name].shape == value.shape and found[name].dtype == value.dtype
        assert found[name].contiguous().numpy().tobytes() == value.contiguous().numpy().tobytes()


def changed(name: str, value: torch.Tensor | None) -> dict[str, torch.Tensor]:
    tensors = {key: tensor.clone() for key, tensor in module(seed=9).state_dict().items()}
    if value is None:
        del tensors[name]
    else:
        tensors[name] = value
    return tensors


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("network.linear1.weight", torch.zeros(3, 7), "its shape is [3, 7] where the network has [3, 8]"),
        ("output.bias", torch.zeros(3), "its shape is [3] where the network has [2]"),
        ("output.weight", None, "it is missing; the network has it with shape [2, 3]"),
        ("scale.inputs.mean", None, "it is missing"),
        ("more", torch.zeros(1), "the network has no such tensor"),
        ("output.bias", torch.tensor([0, math.nan]), "it holds numbers that are not finite"),
        ("output.bias", torch.tensor([0, -math.inf]), "it holds numbers that are not finite"),
        ("output.bias", torch.tensor([0, 1e300], dtype=torch.float64), "it holds numbers that are not finite"),
        ("scale.inputs.variance", torch.full((8,), math.inf), "it holds numbers that are not finite"),
        ("network.batch_norm1.running_var", torch.full((3,), math.nan), "it holds numbers that are not finite"),
    ],
)
def test_weights_that_do_not_fit_are_named_and_nothing_is_set(
    name: str, value: torch.Tensor | None, reason: str
) -> None:
    one = module()
    before = {key: tensor.clone() for key, tensor in one.state_dict().items()}
    with pytest.raises(InvalidInput) as refused:
        bundle.load(one, changed(name, value))
    assert refused.value.message.startswith(f"weights: {name}: {reason}")
    assert (refused.value.code, refused.value.details["value"]) == ("wrong_weights", name)
    assert all(torch.equal(tensor, before[key]) for key, tensor in one.state_dict().items())


def test_weights_of_another_precision_are_taken() -> None:
    one = module()
    bundle.load(one, changed("output.bias", torch.tensor([0.5, -2], dtype=torch.float64)))
    assert one.state_dict()["output.bias"].tolist() == [0.5, -2]
    assert one.state_dict()["output.bias"].dtype == torch.float32


@pytest.mark.parametrize("data", [b"", b"not it", b"\xff" * 200, bytes(8) + b"{}", b"\x80\x04\x95pickle"])
def test_what_is_no_safetensors_file_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidInput, match="not a safetensors file") as refused:
        bundle.weights_from_bytes(data)
    assert refused.value.code == "not_safetensors"


@pytest.mark.parametrize("cut", [4, 60, -1])
def test_a_torn_file_is_refused(cut: int) -> None:
    with pytest.raises(InvalidInput, match="not a safetensors file"):
        bundle.weights_from_bytes(bundle.weights_to_bytes(module().state_dict())[:cut])


def test_a_manifest_comes_back_as_it_was_and_in_the_same_bytes() -> None:
    data = bundle.encode(manifest())
    assert bundle.decode(data) == manifest()
    assert bundle.encode(bundle.decode(data)) == data
    assert bundle.decode(data).build == bundle.this_build()


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"\xff", b'{"kind": "\xff"}', bundle.encode(manifest())[:-5]])
def test_what_is_no_manifest_is_refused(data: bytes) -> None:
    with pytest.raises(CorruptData, match="not a manifest") as refused:
        bundle.decode(data)
    assert refused.value.code == "artifact_damaged"


def test_a_manifest_of_a_format_to_come_is_refused_by_its_number() -> None:
    with pytest.raises(CorruptData, match="format 4; this Driftline knows up to 3") as refused:
        bundle.decode(msgspec.json.encode(manifest(format=4)))
    assert refused.value.code == "unknown_format"
