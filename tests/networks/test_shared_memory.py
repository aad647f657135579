"""Whatever way the tensors of a network share memory is kept by copies, training, files and checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from driftline.errors import InvalidInput
from driftline.learning.learner import Learner
from driftline.networks import pretrained
from driftline.networks.build import build
from driftline.networks.clone import clone
from driftline.networks.model import Model
from driftline.records import Item, Plan
from driftline.spec import ModelSpec, parse
from driftline.store.artifacts import Artifacts
from driftline.versions import START, VersionFiles
from tests.networks.own_networks import FACTORIES, SHARED, Shared, shared


def spec(way: str) -> ModelSpec:
    network = {"factory": FACTORIES[0], "arguments": {"way": way}, "output": "own"}
    given: dict[str, Any] = {"name": "m", "task": "classification", "classes": [0, 1, 2, 3], "inputs": {"shape": [4]}}
    return parse(ModelSpec, given | {"network": network, "recipe": {"strategy": "finetune"}})


def places(module: nn.Module) -> set[tuple[str, str, int]]:
    """The pairs of tensors that share memory, each with how many bytes the second begins after the first."""
    tensors = [*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False)]
    return {
        (name, other, value.data_ptr() - own.data_ptr())
        for name, own in tensors
        for other, value in tensors
        if name < other and own.untyped_storage().data_ptr() == value.untyped_storage().data_ptr()
    }


@pytest.mark.parametrize("way", SHARED)
def test_a_clone_shares_memory_as_its_original_does_and_none_with_it(way: str) -> None:
    network = shared(way)
    copied = clone(network)
    assert places(copied) == places(network)
    memories = [
        {value.untyped_storage().data_ptr() for value in each.state_dict().values()} for each in (network, copied)
    ]
    assert not memories[0] & memories[1]


@pytest.mark.parametrize("way", SHARED)
def test_a_network_learns_and_is_written_and_read_as_its_memory_is_shared(way: str, tmp_path: Path) -> None:
    learner = Learner.create(spec(way), seed=1, factories=FACTORIES)
    own, files = places(learner.served.network), VersionFiles(Artifacts(tmp_path), "ab")
    rng = np.random.default_rng(0)
    items = [Item(str(n), {"inputs": rng.normal(size=4).astype("<f4").tobytes()}, n % 4) for n in range(64)]
    learner.learn(items, range(64), Plan(updates=4, publish=True, version=2))
    assert places(learner.served.network) == places(learner.module.network) == own
    rows = {"inputs": torch.randn(5, 4)}
    answers = learner.served.eval().predict(rows)

    model = Model(learner.spec, learner.classes, learner.served)
    version = files.restored(files.write_version(model, 2, 1, START, "", {}).manifest, FACTORIES)
    assert torch.equal(version.module.predict(rows), answers)
    assert places(version.module.network) == own
    digest = files.write_checkpoint(model, learner.state_dict(), START).manifest
    again = Learner.from_state(files.read(digest)[1], factories=FACTORIES)
    assert torch.equal(again.served.eval().predict(rows), answers)
    assert again.digest() == learner.digest()


def loaded(way: str, weights: dict[str, Tensor]) -> Shared:
    module = build(spec(way), [0, 1, 2, 3], factories=FACTORIES, seed=0)
    pretrained.load(module, weights)
    assert isinstance(module.network, Shared)
    return module.network


def test_weights_go_by_the_names_that_the_network_itself_gives_them() -> None:
    weights = {name: torch.randn_like(value) for name, value in shared("none").state_dict().items()}
    assert torch.equal(loaded("none", weights).second.weight, weights["second.weight"])
    with pytest.raises(InvalidInput, match=r"weights: network.second.bias: it is missing"):
        loaded("none", {name: value for name, value in weights.items() if name != "second.bias"})


def test_of_tensors_that_are_one_a_file_needs_only_one() -> None:
    weights = {name: value.clone() for name, value in shared("one parameter").state_dict().items()}
    for missing in ("first.weight", "second.weight"):
        found = loaded("one parameter", {name: value for name, value in weights.items() if name != missing})
        assert torch.equal(found.first.weight, weights["first.weight"])
    weights["second.weight"] = weights["second.weight"] + 1
    with pytest.raises(InvalidInput, match=r"network.second.weight: it is one tensor with network.first.weight"):
        loaded("one parameter", weights)
