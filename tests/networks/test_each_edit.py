"""What one kind of edit promises beyond what all do."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from driftline.errors import InvalidInput
from driftline.networks.build import build
from driftline.networks.edit_session import EditResult, Sources
from driftline.networks.edits import apply_all, apply_edit
from driftline.networks.model import Model
from driftline.networks.served_model import ServedModel
from driftline.spec import Layers, ModelSpec, parse
from driftline.spec.parts.edits import parse_edits
from driftline.spec.parts.edits.weights import Average
from tests.networks.checks import disturb

STACK: list[dict[str, Any]] = [
    {"type": "linear", "features": 6},
    {"type": "batch_norm"},
    {"type": "relu"},
    {"type": "linear", "features": 4},
    {"type": "relu"},
]


def model(layers: list[dict[str, Any]] | None = None, seed: int = 0, classes: Any = ("a", "b", "c")) -> Model:
    found = parse(
        ModelSpec,
        {
            "name": "m",
            "task": "classification",
            "classes": classes if isinstance(classes, str) else list(classes),
            "inputs": {"shape": [5]},
            "network": {"layers": layers or STACK},
        },
    )
    module = build(found, ["a", "b", "c"], seed=seed)
    disturb(module)
    return Model(found, ["a", "b", "c"], module)


def edited(before: Model, *edits: dict[str, Any], sources: Sources | None = None) -> EditResult:
    return apply_all(parse_edits(edits), before, sources)


def rows() -> dict[str, Tensor]:
    return {"inputs": torch.randn((16, 5), generator=torch.Generator().manual_seed(0))}


def parameter(edited: Model | EditResult, name: str) -> Tensor:
    return edited.module.state_dict()[name]


def spec_layer(edited: EditResult, name: str) -> dict[str, Any]:
    assert isinstance(edited.spec.network, Layers)
    return next(layer.model_dump() for layer in edited.spec.network.layers if layer.name == name)


def test_the_spec_says_what_is_frozen_and_adapted() -> None:
    after = edited(
        model(),
        {"type": "freeze", "layers": ["linear1", "batch_norm1"]},
        {"type": "adapter", "rank": 2, "layers": ["linear1", "linear2"]},
    )
    assert (spec_layer(after, "linear1")["frozen"], spec_layer(after, "linear1")["adapter"]) == (True, {"rank": 2})
    assert (spec_layer(after, "linear2")["frozen"], spec_layer(after, "linear2")["adapter"]) == (False, {"rank": 2})
    merged = edited(after.model, {"type": "merge_adapters"})
    trained = {name for name, value in merged.module.named_parameters() if value.requires_grad}
    assert trained == {"network.linear2.weight", "network.linear2.bias", "output.weight", "output.bias"}


def test_adapters_that_have_learned_are_merged_and_the_original_goes_on_working() -> None:
    before = edited(model(), {"type": "adapter", "rank": 2}).model
    disturb(before.module)
    outputs = before.module(rows())
    after = edited(before, {"type": "merge_adapters"})
    assert torch.equal(before.module(rows()), outputs)
    torch.testing.assert_close(after.module(rows()), outputs)
    assert all(type(layer) is not nn.utils.parametrize.ParametrizationList for layer in after.module.modules())


def test_pruning_takes_the_smallest_and_the_others_stay() -> None:
    before = model()
    weight = parameter(before, "network.linear1.weight")
    weight[[1, 4]] *= 0.01
    after = edited(before, {"type": "prune", "layer": "linear1", "fraction": 0.34})
    assert torch.equal(parameter(after, "network.linear1.weight"), weight[[0, 2, 3, 5]])
    variance = "network.batch_norm1.running_var"
    assert torch.equal(parameter(after, variance), parameter(before, variance)[[0, 2, 3, 5]])
    assert torch.equal(
        parameter(after, "network.linear2.weight"), parameter(before, "network.linear2.weight")[:, [0, 2, 3, 5]]
    )


def test_units_that_give_nothing_are_pruned_exactly() -> None:
    before = model([{"type": "linear", "features": 6, "bias": False}, {"type": "tanh"}])
    parameter(before, "network.linear1.weight")[[0, 3]] = 0
    after = edited(before, {"type": "prune", "layer": "linear1", "fraction": 0.4})
    assert torch.allclose(after.module(rows()), before.module(rows()), atol=1e-6)


def test_equal_units_become_one_and_the_function_stays() -> None:
    before = edited(model(), {"type": "widen", "layer": "linear1", "features": 11}).model
    after = edited(before, {"type": "merge_units", "layer": "linear1"})
    assert after.keeps_function and len(parameter(after, "network.linear1.weight")) == 6
    assert torch.allclose(after.module(rows()), before.module(rows()), atol=1e-5)


def test_units_that_only_a_normalisation_tells_apart_are_not_equal() -> None:
    before = edited(model(), {"type": "widen", "layer": "linear1", "features": 7}).model
    parameter(before, "network.batch_norm1.bias")[6] += 0.1
    with pytest.raises(InvalidInput, match="no two units"):
        edited(before, {"type": "merge_units", "layer": "linear1"})
    near = edited(before, {"type": "merge_units", "layer": "linear1", "tolerance": 0.2})
    assert len(parameter(near, "network.linear1.weight")) <= 6


def test_removed_classes_leave_the_other_logits() -> None:
    for classes in (("a", "b", "c"), "open"):
        before = model(classes=classes)
        after = edited(before, {"type": "remove_classes", "classes": ["b"]})
        assert after.classes == ["a", "c"]
        assert torch.equal(after.module(rows()), before.module(rows())[:, [0, 2]])
        assert after.spec.classes == ("open" if classes == "open" else ["a", "c"])
    again = edited(before, {"type": "remove_classes", "classes": ["b"]}, {"type": "add_classes", "classes": ["b"]})
    assert again.classes == ["a", "c", "b"]
    assert not any(
        block.source and 1 in (block.source[0] or []) for block in again.parameter_map if block.new == "output.bias"
    )


def test_what_hangs_beside_the_network_is_told_of_classes() -> None:
    class Beside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.told: list[Any] = []

        def add_classes(self, count: int) -> None:
            self.told.append(count)

        def keep_classes(self, indices: list[int]) -> None:
            self.told.append(indices)

    before = model()
    before.module.experts = beside = Beside()
    after = edited(before, {"type": "add_classes", "classes": ["d", "e"]}, {"type": "remove_classes", "classes": ["b"]})
    assert isinstance(after.module.experts, Beside)
    assert (after.module.experts.told, beside.told) == ([2, [0, 2, 3, 4]], [])


def test_a_branch_may_be_another_network() -> None:
    after = edited(model(), {"type": "concatenate", "with": {"preset": "mlp", "hidden": [3]}})
    assert isinstance(after.spec.network, Layers)
    assert [layer.name for layer in after.spec.network.branches["branch1"]] == ["flatten1", "linear1", "relu1"]
    assert not parameter(after, "output.weight")[:, 4:].any()


def test_a_fresh_head_is_repeatable() -> None:
    heads = [parameter(edited(model(), {"type": "replace_head", "seed": seed}), "output.weight") for seed in (0, 0, 1)]
    assert torch.equal(heads[0], heads[1]) and not torch.equal(heads[0], heads[2])
    assert not torch.equal(heads[0], parameter(model(), "output.weight"))


def test_an_average_is_the_mean_of_the_versions() -> None:
    versions = {number: model(seed=number).module.state_dict() for number in (1, 2, 3)}
    before = model(seed=9)
    sources = Sources(versions)
    after = edited(before, {"type": "average", "versions": [1, 3]}, sources=sources)
    for name, value in after.module.state_dict().items():
        if value.is_floating_point() and name.startswith(("network.", "output.")):
            assert torch.allclose(value, (versions[1][name] + versions[3][name]) / 2)
    wider = edited(before, {"type": "widen", "layer": "linear1", "features": 9})
    with pytest.raises(ValueError, match=r"version 2 is of another structure: network.linear1.weight is \[9, 5\]"):
        apply_edit(Average(versions=[2]), wider.model, sources)
    with pytest.raises(ValueError, match="the weights of version 4 are not known here"):
        apply_edit(Average(versions=[1, 4]), before, sources)


def test_a_greedy_average_takes_in_what_does_not_make_it_worse() -> None:
    versions = {number: model(seed=number).module.state_dict() for number in (1, 2, 3)}
    wanted = (versions[2]["output.bias"] + versions[3]["output.bias"]) / 2

    def distance(module: ServedModel) -> float:
        return float((module.state_dict()["output.bias"] - wanted).abs().sum())

    edit = {"type": "average", "versions": [1, 2, 3], "soup": "greedy"}
    after = edited(model(seed=9), edit, sources=Sources(versions, error_of=distance))
    assert distance(after.module) < 1e-6
    in_a_dry_run = edited(model(seed=9), edit, sources=Sources(versions))
    means = edited(model(seed=9), edit | {"soup": "mean"}, sources=Sources(versions))
    assert torch.equal(parameter(in_a_dry_run, "output.bias"), parameter(means, "output.bias"))


def test_dead_units_are_drawn_anew_and_the_known_rows_keep_their_answers() -> None:
    before = model([{"type": "linear", "features": 6}, {"type": "relu"}, {"type": "linear", "features": 4}])
    parameter(before, "network.linear1.bias")[:] = 5
    parameter(before, "network.linear1.bias")[[2, 5]] = -1000
    after = edited(before, {"type": "reinitialise", "units": "dead"}, sources=Sources(inputs=rows()))
    changed = (parameter(after, "network.linear1.weight") != parameter(before, "network.linear1.weight")).any(1)
    assert changed.nonzero().flatten().tolist() == [2, 5]
    assert not parameter(after, "network.linear2.weight")[:, [2, 5]].any()
    assert torch.allclose(after.module(rows()), before.module(rows()), atol=1e-6)
    again = edited(after.model, {"type": "reinitialise", "units": "dead"}, sources=Sources(inputs=rows()))
    assert torch.equal(parameter(again, "network.linear1.bias"), parameter(after, "network.linear1.bias"))


def test_layers_are_drawn_anew_and_the_others_stay() -> None:
    before = model()
    after = edited(before, {"type": "reinitialise", "layers": ["linear2", "output"]})
    state = before.module.state_dict()
    changed = {name for name, value in after.module.state_dict().items() if not torch.equal(value, state[name])}
    assert changed == {"network.linear2.weight", "network.linear2.bias", "output.weight", "output.bias"}
    assert {block.new for block in after.parameter_map}.isdisjoint(changed)


def test_weights_are_shrunk_and_disturbed() -> None:
    before = model()
    shrunk = edited(before, {"type": "shrink_and_perturb", "shrink": 0.4, "noise": 0})
    for name in ("network.linear1.weight", "output.bias"):
        assert torch.allclose(parameter(shrunk, name), 0.4 * parameter(before, name))
    fresh = edited(before, {"type": "shrink_and_perturb", "shrink": 0, "noise": 1})
    drawn = edited(before, {"type": "reinitialise"})
    assert torch.equal(parameter(fresh, "network.linear2.weight"), parameter(drawn, "network.linear2.weight"))


def test_a_wide_convolution_is_folded_and_widened_through_pools() -> None:
    found = parse(
        ModelSpec,
        {"name": "m", "task": "regression", "inputs": {"shape": [8, 8]}, "network": {"preset": "cnn", "hidden": [5]}},
    )
    before = Model(found, [], build(found, [], seed=0))
    after = edited(
        before,
        {"type": "widen", "layer": "conv2d1", "features": 20},
        {"type": "widen", "layer": "conv2d2", "features": 40},
        {"type": "insert", "layer": {"type": "conv2d", "channels": 1}},
    )
    data = {"inputs": torch.randn(3, 8, 8)}
    assert torch.allclose(after.module(data), before.module(data), atol=1e-5)


def test_an_embedding_grows_from_the_vector_of_what_is_unknown() -> None:
    found = parse(
        ModelSpec,
        {
            "name": "m",
            "task": "regression",
            "inputs": {"shape": [1], "dtype": "int64"},
            "network": {"layers": [{"type": "embedding", "count": 4, "features": 3}, {"type": "flatten"}]},
        },
    )
    before = Model(found, [], build(found, [], seed=0))
    after = edited(before, {"type": "grow_embedding", "layer": "embedding1", "count": 7})
    data = {"inputs": torch.tensor([[-5], [0], [1], [2], [3], [4], [5], [6], [1000]])}
    assert after.keeps_function and torch.equal(after.module(data), before.module(data))
    assert spec_layer(after, "embedding1")["count"] == 7
    (block,) = (block for block in after.parameter_map if block.new == "network.embedding1.weight")
    assert block.target == ([0, 1, 2, 6],) and list(block.source[0] or []) == [0, 1, 2, 3]
    with torch.no_grad():
        parameter(after, "network.embedding1.weight")[3:6] += 1.0
    changed = (after.module(data) != before.module(data)).flatten().tolist()
    assert changed == [False] * 4 + [True] * 3 + [False] * 2
    with pytest.raises(InvalidInput, match="has 4 vectors, and 3 are no more"):
        edited(before, {"type": "grow_embedding", "layer": "embedding1", "count": 3})
