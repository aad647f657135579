"""What a model is said to consist of is what it consists of."""

from __future__ import annotations

from typing import Any

import torch

from driftline.networks.build import build
from driftline.networks.bundle import weights_to_bytes
from driftline.networks.describe import describe, describe_edits
from driftline.networks.model import Model
from driftline.spec import ModelSpec, parse
from driftline.spec.parts.edits import parse_edits


def model(network: dict[str, Any], factories: tuple[str, ...] = ()) -> Model:
    found = parse(
        ModelSpec,
        {"name": "m", "task": "classification", "classes": ["a", "b"], "inputs": {"shape": [8]}}
        | {"network": network, "recipe": {"strategy": "replay"}},
    )
    return Model(found, ["a", "b"], build(found, ["a", "b"], factories=factories, seed=0))


MLP = {"preset": "mlp", "hidden": [6]}


def test_layers_and_sums() -> None:
    found = model(MLP)
    described = describe(found)
    assert [(layer["name"], layer["type"], layer["shape"], layer["parameters"]) for layer in described["layers"]] == [
        ("flatten1", "Flatten", [8], 0),
        ("linear1", "Linear", [6], 8 * 6 + 6),
        ("relu1", "ReLU", [6], 0),
        ("output", "Linear", [2], 6 * 2 + 2),
    ]
    assert described["parameters"] == described["trained"] == sum(layer["parameters"] for layer in described["layers"])
    assert described["flops"] == 2 * (8 * 6 + 6 * 2)
    assert 0 < len(weights_to_bytes(found.module.state_dict())) - described["bytes"] < 2000


def test_a_dry_run_tells_of_both_and_changes_nothing() -> None:
    found = model(MLP)
    state = {name: value.clone() for name, value in found.module.state_dict().items()}
    edits: list[dict[str, Any]] = [
        {"type": "concatenate", "branch": [{"type": "linear", "features": 3}]},
        {"type": "freeze", "layers": ["branch1.linear1"]},
        {"type": "adapter", "rank": 2, "layers": ["linear1"]},
    ]
    told = describe_edits(parse_edits(edits), found)
    assert told["before"] == describe(found)
    after = {layer["name"]: layer for layer in told["after"]["layers"]}
    assert list(after) == ["flatten1", "linear1", "relu1", "branch1.linear1", "output"]
    assert (after["linear1"]["type"], after["linear1"]["trained"]) == ("Linear", 2 * (8 + 6))
    assert (after["branch1.linear1"]["shape"], after["branch1.linear1"]["trained"]) == ([3], 0)
    assert told["keeps_function"]
    assert all(torch.equal(value, state[name]) for name, value in found.module.state_dict().items())


def test_a_network_of_ones_own_is_described_by_its_paths() -> None:
    name = "tests.networks.factories:eights"
    found = model({"factory": name}, (name,))
    described = describe(found)
    assert [layer["name"] for layer in described["layers"]] == ["0.0", "0.1", "1", "output"]
