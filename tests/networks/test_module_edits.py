"""Edits of a network of a user's own, by the paths of its submodules."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from driftline.errors import InvalidInput
from driftline.networks.build import build
from driftline.networks.edit_session import EditResult
from driftline.networks.edits import apply_all
from driftline.networks.model import Model
from driftline.spec import Factory, ModelSpec, parse
from driftline.spec.parts.edits import parse_edits
from tests.networks.checks import check_function, check_spec, disturb

FACTORIES = "tests.networks.factories:"
INPUTS: dict[str, Any] = {
    "convolved": {"shape": [2, 4, 4]},
    "plain": {"shape": [4]},
    "shared": {"shape": [4]},
    "towers": {"user": {"shape": [], "dtype": "int64"}, "item": {"shape": [2]}},
    "narrow": {"shape": [3]},
    "factors": {"user": {"shape": [], "dtype": "int64"}, "item": {"shape": [], "dtype": "int64"}},
}


def model(factory: str = "convolved") -> Model:
    network = {"factory": FACTORIES + factory}
    found = parse(ModelSpec, {"name": "m", "task": "regression", "inputs": INPUTS[factory], "network": network})
    module = build(found, [], factories=[FACTORIES + factory], seed=0)
    disturb(module)
    return Model(found, [], module)


def edited(before: Model, *edits: dict[str, Any]) -> EditResult:
    return apply_all(parse_edits(edits), before)


@pytest.mark.parametrize(
    "edit",
    [
        {"type": "widen", "layer": "features.0.0", "features": 5},
        {"type": "widen", "layer": "features.1.0", "features": 4},
        {"type": "widen", "layer": "features.4", "features": 9},
        {"type": "insert", "after": "features.5", "layer": {"type": "linear", "features": 6}},
        {"type": "insert", "after": "gate", "layer": {"type": "batch_norm"}},
        {"type": "merge", "layers": ["features.0.0", "features.0.1"]},
        {"type": "merge", "layers": ["features.1.0", "features.1.1"]},
        {"type": "freeze", "layers": ["features"]},
        {"type": "adapter", "rank": 2},
        {"type": "concatenate", "branch": [{"type": "flatten"}, {"type": "linear", "features": 2}]},
        {"type": "activation", "to": "gelu", "layer": "act", "blend": 20},
    ],
    ids=lambda edit: f"{edit['type']} {edit.get('layer', edit.get('layers', ''))}",
)
def test_an_edit_that_keeps_the_function(edit: dict[str, Any]) -> None:
    before = model()
    after = edited(before, edit)
    assert after.keeps_function
    check_spec_of(after)
    check_function(before, after)
    assert isinstance(after.spec.network, Factory) and [e.type for e in after.spec.network.edits] == [edit["type"]]


def check_spec_of(after: EditResult) -> None:
    """The recorded edits, read again, build the module."""
    assert isinstance(after.spec.network, Factory)
    read = parse(ModelSpec, after.spec.model_dump(mode="json"))
    assert read == after.spec
    rebuilt = build(read, after.classes, factories=[after.spec.network.factory], seed=3)
    assert list(rebuilt.state_dict()) == list(after.module.state_dict())
    rebuilt.load_state_dict(after.module.state_dict())
    trained, said = ({name: p.requires_grad for name, p in m.named_parameters()} for m in (rebuilt, after.module))
    assert trained == said
    data = {
        name: torch.ones((3, *tensor.shape), dtype=getattr(torch, tensor.dtype))
        for name, tensor in read.tensors.items()
    }
    assert torch.equal(rebuilt(data), after.module(data))


def test_edits_follow_one_another() -> None:
    before = model()
    after = edited(
        before,
        {"type": "concatenate", "branch": [{"type": "flatten"}, {"type": "linear", "features": 2}, {"type": "relu"}]},
        {"type": "widen", "layer": "features.4", "features": 8},
        {"type": "widen", "layer": "branch1.linear1", "features": 3},
        {"type": "adapter", "rank": 1, "layers": ["gate", "features.6"]},
        {"type": "merge_adapters"},
        {"type": "insert", "after": "branch1.relu1", "layer": {"type": "dropout"}},
        {"type": "freeze", "layers": ["features.0", "branch1.linear1"]},
    )
    assert after.keeps_function
    check_spec(after)
    check_function(before, after)


def test_what_changes_the_function_says_so() -> None:
    after = edited(
        model(), {"type": "prune", "layer": "features.0.0", "fraction": 0.4}, {"type": "remove", "layer": "act"}
    )
    assert not after.keeps_function
    check_spec_of(after)


def test_named_inputs() -> None:
    before = model("towers")
    after = edited(
        before,
        {"type": "concatenate", "branch": [{"type": "linear", "features": 2}]},
        {"type": "freeze", "layers": ["users"]},
    )
    check_spec_of(after)
    data = {"user": torch.tensor([1, 3]), "item": torch.randn(2, 2)}
    assert torch.allclose(after.module(data), before.module(data), atol=1e-6)


def test_an_embedding_of_ones_own_grows() -> None:
    before = model("factors")
    after = edited(before, {"type": "grow_embedding", "layer": "users", "count": 7})
    check_spec_of(after)
    data = {"user": torch.tensor([-1, 0, 2, 3, 5, 99]), "item": torch.tensor([0, 1, 2, 3, 4, 0])}
    assert torch.equal(after.module(data), before.module(data))


@pytest.mark.parametrize(
    ("factory", "edit", "reason"),
    [
        ("convolved", {"type": "widen", "layer": "gate", "features": 9}, "only known to Convolved.forward"),
        ("convolved", {"type": "widen", "layer": "features.6", "features": 9}, "only known to Convolved.forward"),
        ("convolved", {"type": "widen", "layer": "features", "features": 9}, "Sequential has no units"),
        (
            "convolved",
            {"type": "prune", "layer": "nothing", "fraction": 0.5},
            "there is no layer 'nothing'; there are features",
        ),
        ("convolved", {"type": "remove", "layer": "features.4"}, "cannot take its rows"),
        (
            "convolved",
            {"type": "insert", "after": "gate", "layer": {"type": "linear", "features": 3}},
            "cannot take its rows",
        ),
        ("convolved", {"type": "insert", "layer": {"type": "dropout"}}, "no first layer"),
        ("convolved", {"type": "merge", "layers": ["features.4", "features.6"]}, "not stand right behind"),
        ("convolved", {"type": "merge", "layers": ["gate", "act"]}, "only known to Convolved.forward"),
        ("convolved", {"type": "freeze", "layers": ["act"]}, "has no weights"),
        ("convolved", {"type": "adapter", "rank": 2, "layers": ["act"]}, "takes no adapter"),
        ("convolved", {"type": "merge_adapters"}, "no layer has an adapter"),
        ("shared", {"type": "widen", "layer": "stack.0", "features": 9}, "not used exactly once"),
        ("factors", {"type": "grow_embedding", "layer": "items", "count": 9}, "'items' is a Embedding; only"),
        ("factors", {"type": "grow_embedding", "layer": "users", "count": 4}, "has 4 vectors, and 4 are no more"),
        ("narrow", {"type": "activation", "to": "gelu"}, "the network has no activation"),
    ],
    ids=str,
)
def test_what_does_not_work_says_why(factory: str, edit: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        edited(model(factory), edit)
    assert refused.value.message.startswith(f"edits.0 ({edit['type']}): ") and reason in refused.value.message


def test_a_factory_that_has_changed_under_its_edits_says_so() -> None:
    after = edited(model(), {"type": "widen", "layer": "features.4", "features": 9})
    assert isinstance(after.spec.network, Factory)
    other = after.spec.network.model_copy(update={"factory": FACTORIES + "plain"})
    spec = after.spec.changed(network=other, inputs={"shape": [4]})
    with pytest.raises(InvalidInput, match=r"network\.edits\.0 \(widen\): there is no layer 'features.4'"):
        build(spec, [], factories=[FACTORIES + "plain"])
