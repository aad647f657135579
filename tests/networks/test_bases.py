"""Models on a base: the base's weights as they are, adapters beside them, and no way to change each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from driftline.errors import InvalidInput
from driftline.learning.learner import Learner
from driftline.networks.adapters import adapter_of
from driftline.networks.bases import adapted
from driftline.networks.edits import apply_all
from driftline.networks.model import Model
from driftline.networks.sequential import example_rows
from driftline.spec import ModelSpec, parse
from driftline.spec.based import Adaptation, BasedSpec
from driftline.spec.parts.edits.layers import MergeAdapters
from driftline.store.artifacts import Artifacts
from driftline.versions import VersionFiles
from tests.networks.own_networks import FACTORIES
from tests.services import spec

LAYERS = {"layers": [{"type": "linear", "features": 16}, {"type": "relu"}, {"type": "linear", "features": 12}]}
CONVOLUTIONS = {"layers": [{"type": "conv2d", "channels": 9, "kernel": 3}, {"type": "relu"}, {"type": "flatten"}]}
SETTLED = {"strategy": "replay"}
BASES: dict[str, dict[str, Any]] = {
    "a preset": {},
    "layers": {"network": LAYERS},
    "layers without experts": {"network": LAYERS, "recipe": SETTLED},
    "convolutions": {"network": CONVOLUTIONS, "inputs": {"shape": [3, 6, 6]}},
    "fields": {"inputs": {"fields": {"tenure": "number", "contract": "category"}}},
    "a number": {"task": "regression", "classes": None},
    "an encoder of words": {
        "inputs": {"shape": [5], "dtype": "int64"},
        "network": {"factory": "tests.networks.own_networks:text_encoder"},
        "recipe": SETTLED,
    },
    "a factory": {
        "inputs": {"shape": [4]},
        "classes": [0, 1, 2, 3],
        "network": {
            "factory": "tests.networks.own_networks:shared",
            "arguments": {"way": "one parameter"},
            "output": "own",
        },
    },
}


def base_model(changes: dict[str, Any]) -> Model:
    learner = Learner.create(parse(ModelSpec, spec(**changes)), seed=3, factories=FACTORIES)
    with torch.no_grad():
        for parameter in learner.module.output.parameters():
            parameter.add_(torch.randn_like(parameter))
    return Model(learner.spec, learner.classes, learner.module)


def tenant(base: Model, rank: int = 2, layers: list[str] | None = None, **said: Any) -> Learner:
    network = {"base": "bert", "adapter": {"rank": rank, "layers": layers}}
    asked = parse(BasedSpec, {"name": "tenant", "network": network, **said})
    own, tensors = adapted(base, "bert@3", asked.over(base.spec), asked.network.adapter)
    return Learner.create(own, seed=4, begins_with=tensors, factories=FACTORIES)


def rows(spec: ModelSpec) -> dict[str, Tensor]:
    return {name: row + torch.ones_like(row) * row.is_floating_point() for name, row in example_rows(spec).items()}


@pytest.mark.parametrize("changes", BASES.values(), ids=BASES)
def test_it_begins_with_what_its_base_gives_and_trains_nothing_else(changes: dict[str, Any]) -> None:
    base = base_model(changes)
    learner = tenant(base)
    assert learner.spec.network.base == "bert@3"  # type: ignore[union-attr]
    given = rows(base.spec)
    torch.testing.assert_close(learner.module.eval()(given), base.module.eval()(given))
    adapters = [module for module in learner.module.network.modules() if adapter_of(module) is not None]
    trained = {name for name, parameter in learner.module.named_parameters() if parameter.requires_grad}
    assert adapters
    assert all("parametrizations" in name or name.startswith(("output.", "embeddings.")) for name in trained), trained
    again = parse(ModelSpec, learner.spec.model_dump(mode="json"))
    assert again == learner.spec
    Learner.create(again, seed=9, factories=FACTORIES)


def test_an_adapter_reaches_all_that_encoders_have_and_they_are_learned() -> None:
    base = base_model(BASES["an encoder of words"])
    attention = {"block.self_attn", "block.self_attn.out_proj"}
    chosen = {"mixed", "block.linear1", "block.linear2", *attention}
    own = tenant(base).module.network
    assert {name for name, module in own.named_modules() if adapter_of(module) is not None} == chosen
    learner = tenant(base, layers=["words", *chosen])
    network = learner.module.network
    adapted_layers = {name for name, module in network.named_modules() if adapter_of(module) is not None}
    assert adapted_layers == {"words", *chosen}
    words = torch.randint(0, 20, (6, 5))
    network.train()
    (network(words) * torch.randn(6, 8)).sum().backward()
    adapters = [found for module in network.modules() if (found := adapter_of(module)) is not None]
    for adapter in adapters:
        assert adapter.up.grad is not None and adapter.up.grad.abs().sum() > 0
        with torch.no_grad():
            adapter.up.add_(torch.randn_like(adapter.up))
    network.eval()
    with torch.no_grad():
        fast = network(words)
        before = fast - base.module.network(words)
    with torch.enable_grad():
        torch.testing.assert_close(network(words), fast, msg="attention takes another way in evaluation")
    assert before.abs().max() > 0.01
    merged = apply_all([MergeAdapters()], Model(learner.spec, learner.classes, learner.module))
    torch.testing.assert_close(merged.module.eval().network(words), fast, atol=1e-4, rtol=1e-4)


def test_a_large_base_is_once_in_memory_and_on_the_disk_and_no_tenant_changes_it(tmp_path: Path) -> None:
    wide = {"network": {"layers": [{"type": "linear", "features": 1024, "name": "wide"}]}, "inputs": {"shape": [512]}}
    artifacts = Artifacts(tmp_path)
    made = base_model({**wide, "recipe": SETTLED})
    written = VersionFiles(artifacts, "base").write_first(made)
    base = VersionFiles(artifacts, "base").restored(written.manifest, FACTORIES)
    before = {name: tensor.clone() for name, tensor in base.module.state_dict().items()}
    blobs = VersionFiles(artifacts, "base").manifest(written.manifest).tensors.values()
    tenants = []
    for uid, classes in (("one", [0, 1]), ("two", ["a", "b", "c"])):
        learner = tenant(base, classes=classes)
        artifacts.share(uid, "base", blobs)
        version = VersionFiles(artifacts, uid).write_first(Model(learner.spec, learner.classes, learner.module))
        tenants.append(VersionFiles(artifacts, uid).restored(version.manifest, FACTORIES))
    assert len({frozen_weight(model).data_ptr() for model in tenants}) == 1
    (blob,) = blobs
    assert (tmp_path / "base" / blob).stat().st_nlink == 3
    for model in tenants:
        with torch.no_grad():
            for parameter in model.module.parameters():
                if parameter.requires_grad:
                    parameter.add_(1.0)
    assert all(torch.equal(tensor, before[name]) for name, tensor in base.module.state_dict().items())
    assert torch.equal(frozen_weight(tenants[0]), before["network.wide.weight"])


def frozen_weight(model: Model) -> Tensor:
    return model.module.state_dict()["network.wide.parametrizations.weight.original"]


def test_another_question_gets_an_output_of_its_own() -> None:
    base = base_model({"network": LAYERS})
    assert tenant(base, classes=["a", "b", "c"]).module.width == 3
    assert tenant(base, task="regression").module.width == 1
    assert tenant(base, classes="open").module.width == 0


def test_a_tenant_can_be_a_base() -> None:
    first = tenant(base_model({"network": LAYERS}))
    with torch.no_grad():
        for parameter in first.module.network.parameters():
            parameter.add_(torch.randn_like(parameter)) if parameter.requires_grad else None
    second = tenant(Model(first.spec, first.classes, first.module), rank=1)
    given = rows(first.spec)
    torch.testing.assert_close(second.module.eval()(given), first.module.eval()(given))


@pytest.mark.parametrize(
    ("said", "rank", "reason"),
    [
        ({"inputs": {"shape": [5]}}, 2, "inputs: a model on the base 'bert@3' takes what that takes"),
        ({}, 13, "no layer that can have an adapter of rank 13"),
        ({"classes": None}, 2, "classes"),
        ({"recipe": {"strategy": "nothing"}}, 2, "strategy"),
    ],
)
def test_what_does_not_fit_is_named(said: dict[str, Any], rank: int, reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        tenant(base_model({"network": LAYERS}), rank, **said)


def test_a_layer_that_is_not_there_is_named() -> None:
    base = base_model({"network": LAYERS})
    with pytest.raises(InvalidInput, match="wrong"):
        adapted(base, "bert@3", base.spec, Adaptation(layers=["wrong"]))
