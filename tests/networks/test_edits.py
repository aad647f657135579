"""An edit changes the structure that it names, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from driftline.errors import InvalidInput
from driftline.networks.build import build
from driftline.networks.edit_session import EditResult
from driftline.networks.edits import apply_all
from driftline.networks.model import Model
from driftline.networks.served_model import ServedModel
from driftline.spec import Layers, ModelSpec, parse
from driftline.spec.parts.edits import EDITS, parse_edits
from driftline.spec.parts.layers import LAYERS, Activation
from tests.services import spec

ACTIVATIONS = [name for name, kind in LAYERS.parts.items() if issubclass(kind, Activation)]
CLASSES: list[int | str] = ["a", 1, "1", "b", 2]


def model(**changes: Any) -> Model:
    """A new model before any edit."""
    found = parse(ModelSpec, spec(**changes))
    return Model(found, found.known_classes(), build(found, found.known_classes(), seed=0))


def edited(before: Model, *edits: dict[str, Any]) -> EditResult:
    return apply_all(parse_edits(edits), before)


def rows(count: int = 7) -> dict[str, torch.Tensor]:
    return {"inputs": torch.randn((count, 8), generator=torch.Generator().manual_seed(0))}


def layers(edited: EditResult) -> dict[str, str]:
    """Type by name, as the spec has it."""
    assert isinstance(edited.spec.network, Layers)
    return {str(layer.name): layer.type for layer in edited.spec.network.layers}


def assert_its_spec_builds_it(edited: EditResult) -> None:
    rebuilt: ServedModel = build(edited.spec, edited.classes, seed=1)
    rebuilt.load_state_dict(edited.module.state_dict())
    # Torch makes a class of its own for each layer with an adapter.
    kinds = [[type(part).__name__ for part in module.modules()] for module in (rebuilt, edited.module)]
    assert kinds[0] == kinds[1]
    trained = [
        [(name, part.requires_grad) for name, part in module.named_parameters()] for module in (rebuilt, edited.module)
    ]
    assert trained[0] == trained[1]
    assert torch.equal(rebuilt(rows()), edited.module.eval()(rows()))
    assert parse(ModelSpec, edited.spec.model_dump(mode="json")) == edited.spec


def test_an_activation_is_swapped_in_all_layers_and_names_are_kept() -> None:
    before = model(network={"preset": "mlp", "hidden": [4, 3]})
    after = edited(before, {"type": "activation", "to": "gelu"})
    assert layers(after) == {
        "flatten1": "flatten",
        "linear1": "linear",
        "relu1": "gelu",
        "linear2": "linear",
        "relu2": "gelu",
    }
    assert after.module.state_dict().keys() == before.module.state_dict().keys()
    assert not torch.equal(after.module(rows()), before.module(rows()))
    assert_its_spec_builds_it(after)


def test_an_activation_is_swapped_in_one_layer() -> None:
    network = {"layers": [{"type": "relu"}, {"type": "linear", "features": 2}, {"type": "relu", "name": "last"}]}
    before = model(network=network)
    after = edited(before, {"type": "activation", "to": "tanh", "layer": "last"})
    assert layers(after) == {"relu1": "relu", "linear1": "linear", "last": "tanh"}
    assert_its_spec_builds_it(after)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("network", [{"preset": "cnn", "hidden": [4]}, {"layers": [{"type": "elu"}], "output": "own"}])
def test_every_activation_may_be_put_in(activation: str, network: dict[str, Any]) -> None:
    found = parse(ModelSpec, spec(network=network, inputs={"shape": [4, 4] if "preset" in network else [2]}))
    before = Model(found, [0, 1], build(found, [0, 1], seed=0))
    after = edited(before, {"type": "activation", "to": activation})
    rebuilt = build(after.spec, after.classes, seed=1)
    rebuilt.load_state_dict(after.module.state_dict())
    assert [type(part) for part in rebuilt.modules()] == [type(part) for part in after.module.modules()]


def test_the_model_before_an_edit_stays_as_it_was() -> None:
    before = model(classes=["a", "b"])
    state = {name: value.clone() for name, value in before.module.state_dict().items()}
    description, outputs = before.spec.model_dump(), before.module(rows())
    edited(before, {"type": "activation", "to": "tanh"}, {"type": "add_classes", "classes": ["c"]})
    assert before.spec.model_dump() == description and before.classes == ["a", "b"]
    assert before.module.state_dict().keys() == state.keys()
    assert torch.equal(before.module(rows()), outputs)


@given(
    st.lists(st.integers(1, 9), max_size=2),
    st.sampled_from(ACTIVATIONS),
    st.integers(0, len(CLASSES) - 1),
    st.booleans(),
    st.integers(0, 2**32),
)
@settings(max_examples=40)
def test_more_classes_leave_the_old_logits_as_they_are(
    hidden: list[int], activation: str, known: int, is_open: bool, seed: int
) -> None:
    network = [layer for width in hidden for layer in ({"type": "linear", "features": width}, {"type": activation})]
    named = is_open or not known
    found = parse(ModelSpec, spec(network={"layers": network}, classes="open" if named else CLASSES[:known]))
    module = build(found, CLASSES[:known], seed=seed)
    after = edited(Model(found, CLASSES[:known], module), {"type": "add_classes", "classes": CLASSES[known:]})
    logits = after.module(rows())
    assert after.classes == CLASSES and logits.shape == (7, len(CLASSES))
    assert torch.allclose(logits[:, :known], module(rows()), atol=1e-6, rtol=0)
    assert after.spec.classes == ("open" if named else CLASSES)
    heads = [block for block in after.parameter_map if block.new.startswith("output.")]
    assert {block.new for block in heads} == ({"output.weight", "output.bias"} if known else set())
    assert all(list(block.source[0] or []) == list(block.target[0] or []) == list(range(known)) for block in heads)
    assert_its_spec_builds_it(after)


def test_a_new_class_starts_as_an_unlikely_one_and_the_first_of_all_start_level() -> None:
    alone = {"strategy": "replay"}
    after = edited(model(classes=["a", "b"], recipe=alone), {"type": "add_classes", "classes": ["c"]})
    assert after.module.predict(rows())[:, 2].max().item() < 0.05
    first = edited(model(classes="open"), {"type": "add_classes", "classes": ["a", "b"]})
    assert first.module(rows()).unique().tolist() == [0.0]


def test_the_labels_of_new_classes_are_taken_from_then_on() -> None:
    before = model(classes=["a", "b"])
    with pytest.raises(InvalidInput):
        before.spec.check_label("c")
    after = edited(before, {"type": "add_classes", "classes": ["c"]})
    assert after.spec.check_label("c") == "c"
    with pytest.raises(InvalidInput):
        before.spec.check_label("c")


def test_edits_follow_one_another_and_what_they_keep_adds_up() -> None:
    edits: list[dict[str, Any]] = [
        {"type": "add_classes", "classes": ["c"]},
        {"type": "activation", "to": "prelu"},
        {"type": "activation", "to": "elu", "layer": "relu1"},
        {"type": "add_classes", "classes": ["d", "e"]},
    ]
    after = edited(model(classes=["a", "b"], network={"preset": "mlp", "hidden": [3, 3]}), *edits)
    assert after.classes == ["a", "b", "c", "d", "e"]
    assert (layers(after)["relu1"], layers(after)["relu2"]) == ("elu", "prelu")
    heads = [block for block in after.parameter_map if block.new.startswith("output.")]
    assert [list(block.source[0] or []) for block in heads] == [[0, 1], [0, 1]]
    assert_its_spec_builds_it(after)


OWN = {"layers": [{"type": "linear", "features": 2}, {"type": "relu", "name": "relu1"}], "output": "own"}
FITTING = {"type": "activation", "to": "tanh"}
MLP = {"preset": "mlp", "hidden": [3]}


@pytest.mark.parametrize(
    ("edit", "changes", "reason"),
    [
        (FITTING | {"layer": "relu9"}, {}, "there is no layer 'relu9'; there are flatten1, linear1, relu1"),
        (FITTING | {"layer": "linear1"}, {}, "the layer 'linear1' is no activation"),
        (FITTING | {"to": "linear"}, {}, "there is no activation 'linear'; known: elu, gelu"),
        (FITTING, {"network": {"preset": "mlp", "hidden": []}}, "the network has no activation"),
        ({"type": "add_classes", "classes": ["a"]}, {"classes": ["a", "b"]}, "there is a class 'a' already"),
        ({"type": "add_classes", "classes": ["x", "x"]}, {}, "there is a class 'x' already"),
        ({"type": "add_classes", "classes": ["a"]}, {"task": "regression", "classes": None}, "has no classes"),
        ({"type": "add_classes", "classes": ["a"]}, {"network": OWN}, "its own output"),
        ({"type": "remove_classes", "classes": [7]}, {}, "there is no class 7"),
        ({"type": "remove_classes", "classes": ["a", "b"]}, {"classes": ["a", "b"]}, "no class would be left"),
        ({"type": "remove_classes", "classes": ["a"]}, {"task": "regression", "classes": None}, "has no classes"),
        ({"type": "replace_head"}, {"network": OWN}, "its own output"),
        ({"type": "concatenate", "branch": [{"type": "linear", "features": 2}]}, {"network": OWN}, "its own output"),
        (
            {"type": "concatenate", "branch": [{"type": "conv2d", "channels": 2}]},
            {},
            "branch1.0 (conv2d1): it cannot take",
        ),
        ({"type": "widen", "layer": "linear9", "features": 9}, {}, "there is no layer 'linear9'; there are flatten1"),
        ({"type": "widen", "layer": "linear1", "features": 3}, {}, "'linear1' has 3 units, and 3 are no more"),
        ({"type": "widen", "layer": "relu1", "features": 9}, {}, "a Tanh has no units of its own"),
        (
            {"type": "widen", "layer": "linear1", "features": 9},
            {"network": OWN},
            "the network, which has its own output",
        ),
        ({"type": "prune", "layer": "linear1", "units": [3]}, {}, "has no unit 3; they are numbered from 0 to 2"),
        ({"type": "prune", "layer": "linear1", "units": [0, 1, 2]}, {}, "at least one goes, one stays"),
        ({"type": "prune", "layer": "linear1", "fraction": 0.1}, {}, "at least one goes, one stays"),
        (
            {"type": "prune", "layer": "linear1", "fraction": 0.5},
            {"network": {"layers": [{"type": "linear", "features": 4, "adapter": {"rank": 1}}, {"type": "relu"}]}},
            "'linear1' has an adapter; merge_adapters puts it into the weight",
        ),
        ({"type": "merge_units", "layer": "linear1"}, {}, "no two units of 'linear1' have the same weights"),
        (
            {"type": "merge", "layers": ["linear1", "relu1"]},
            {},
            "'linear1', a Linear, and 'relu1', a Tanh, do not make one layer",
        ),
        ({"type": "merge", "layers": ["relu1", "linear1"]}, {}, "'linear1' does not stand right behind 'relu1'"),
        ({"type": "merge", "layers": ["linear1", "linear1"]}, {}, "does not stand right behind"),
        ({"type": "remove", "layer": "linear1"}, {}, "the shapes do not meet: output.weight is [2, 3]"),
        ({"type": "insert", "after": "relu1", "layer": {"type": "linear", "features": 4}}, {}, "must keep theirs"),
        ({"type": "insert", "after": "relu1", "layer": {"type": "max_pool"}}, {}, "it cannot take rows of shape [3]"),
        ({"type": "insert", "layer": {"type": "relu", "name": "linear1"}}, {}, "two layers are named 'linear1'"),
        ({"type": "freeze", "layers": ["relu1"]}, {}, "'relu1' has no weights"),
        ({"type": "freeze"}, {"network": OWN}, "nothing would be left to train"),
        ({"type": "adapter", "rank": 4}, {}, "an adapter of rank 4 is more than its weight has: 3"),
        ({"type": "adapter", "rank": 1, "layers": ["relu1"]}, {}, "'relu1' takes no adapter"),
        ({"type": "merge_adapters"}, {}, "no layer has an adapter"),
        ({"type": "average", "versions": [1]}, {}, "the weights of version 1 are not known here"),
        ({"type": "reinitialise", "layers": ["relu1"]}, {}, "'relu1' has no weights of its own"),
        ({"type": "reinitialise", "units": "dead"}, {}, "no rows are known here"),
        ({"type": "reinitialise", "layers": ["linear1"], "units": [5]}, {}, "has no unit 5"),
    ],
)
def test_what_does_not_fit_is_named_by_its_index(edit: dict[str, Any], changes: dict[str, Any], reason: str) -> None:
    before = model(**{"network": MLP} | changes)
    edits = [edit] if reason == "the network has no activation" else [FITTING, edit]
    with pytest.raises(InvalidInput) as refused:
        edited(before, *edits)
    field = f"edits.{len(edits) - 1}"
    assert refused.value.message.startswith(f"{field} ({edit['type']}): ") and reason in refused.value.message
    assert refused.value.details["field"] == field
    assert refused.value.details["value"]["type"] == edit["type"]


@pytest.mark.parametrize(
    ("edit", "field"),
    [
        ({"type": "no_edit"}, "edits.1"),
        ({}, "edits.1"),
        ({"type": "activation"}, "edits.1.to"),
        ({"type": "activation", "to": "tanh", "more": 1}, "edits.1.more"),
        ({"type": "add_classes", "classes": []}, "edits.1.classes"),
        ({"type": "add_classes", "classes": [1.5]}, "edits.1.classes.0"),
        ({"type": "add_classes", "classes": [True]}, "edits.1.classes.0"),
        ({"type": "widen", "layer": "linear1", "features": "many"}, "edits.1.features"),
        ({"type": "widen", "layer": "linear1", "features": 0}, "edits.1.features"),
        ({"type": "insert", "layer": {"type": "linear", "features": -1}}, "edits.1.layer.features"),
        ({"type": "concatenate", "branch": [{"type": "linear"}]}, "edits.1.branch.0.features"),
        ({"type": "concatenate", "with": {"factory": "a:b"}}, "edits.1"),
        ({"type": "prune", "layer": "linear1"}, "edits.1"),
        ({"type": "merge", "layers": ["linear1"]}, "edits.1.layers"),
        ({"type": "reinitialise", "units": [1]}, "edits.1"),
    ],
    ids=str,
)
def test_what_is_no_edit_is_named_by_its_field(edit: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_edits([FITTING, edit])
    assert refused.value.message.startswith(f"{field}: ")
    assert refused.value.details["field"] == field


def test_every_edit_that_is_registered_says_what_type_it_is() -> None:
    assert all(kind.model_fields["type"].default == name for name, kind in EDITS.parts.items())
