"""A network computes where its spec says, and in the precision that it says; what is not there is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from driftline.errors import InvalidInput
from driftline.learning.learner import Learner
from driftline.networks.devices import drawing_on, present_device
from driftline.networks.model import Model
from driftline.records import Item, Plan
from driftline.spec import ModelSpec, parse
from driftline.store.artifacts import Artifacts
from driftline.support.devices import missing_device
from driftline.versions import START, VersionFiles

CUDA = pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA here"))
LAYERS = [{"type": "linear", "features": 16}, {"type": "relu"}, {"type": "dropout", "share": 0.3}]
ABSENT = "cuda:99"


def spec(**changes: Any) -> ModelSpec:
    given: dict[str, Any] = {"name": "m", "task": "classification", "classes": [0, 1], "inputs": {"shape": [4]}}
    return parse(ModelSpec, given | {"network": {"layers": LAYERS}} | changes)


def items(count: int, first: int = 0) -> list[Item]:
    rng = np.random.default_rng(first)
    rows = rng.normal(size=(count, 4)).astype("<f4")
    return [Item(f"i{first + n}", {"inputs": row.tobytes()}, int(row.sum() > 0)) for n, row in enumerate(rows)]


@pytest.mark.parametrize("device", ["cpu", CUDA])
@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize(
    "recipe",
    [
        {},
        {"strategy": "replay", "averaging": {"name": "ema"}, "l2_sp": {"version": "champion"}},
        {"strategy": "der", "optimizer": {"name": "sgd", "momentum": 0.9, "learning_rate": 0.1}},
    ],
)
def test_it_learns_there_and_goes_on_from_a_checkpoint_as_if_nothing_had_been(
    device: str, precision: str, recipe: dict[str, Any], tmp_path: Path
) -> None:
    learner = Learner.create(spec(device=device, precision=precision, recipe=recipe), seed=3)
    learner.learn(items(200), range(200), Plan(updates=30, publish=True, version=2))
    assert {weight.device.type for weight in learner.module.network.parameters()} == {device}
    assert {weight.device.type for weight in learner.served.output.parameters()} == {device}
    rows = torch.from_numpy(np.random.default_rng(9).normal(size=(300, 4)).astype(np.float32))
    outputs, _ = learner.served.eval().answer({"inputs": rows})
    assert (outputs.dtype, outputs.device.type) == (torch.float32, "cpu")
    assert ((outputs[:, 1] > 0.5) == (rows.sum(1) > 0)).float().mean() > 0.7

    files, model = VersionFiles(Artifacts(tmp_path), "ab"), Model(learner.spec, learner.classes, learner.served)
    state = files.read(files.write_checkpoint(model, learner.state_dict(), START).manifest)[1]
    again = Learner.from_state(state)
    for each in (learner, again):
        each.learn(items(64, 200), range(200, 264), Plan(updates=4, publish=True, version=3))
    assert again.digest() == learner.digest()


class Watched(nn.Linear):
    seen: Tensor | None = None

    def forward(self, input: Tensor) -> Tensor:
        Watched.seen = super().forward(input)
        return Watched.seen


def watched() -> nn.Module:
    return Watched(4, 2)


@pytest.mark.parametrize(("precision", "dtype"), [("float32", torch.float32), ("bf16", torch.bfloat16)])
def test_bf16_is_autocast_of_the_network_with_weights_of_32_bits(precision: str, dtype: torch.dtype) -> None:
    name = f"{__name__}:watched"
    network = {"factory": name, "output": "own"}
    learner = Learner.create(spec(precision=precision, network=network), seed=3, factories=[name])
    learner.learn(items(32), range(32), Plan(updates=2))
    assert Watched.seen is not None and Watched.seen.dtype == dtype
    assert {weight.dtype for weight in learner.module.network.parameters()} == {torch.float32}


def test_a_device_that_is_not_there_is_named() -> None:
    reason = missing_device(ABSENT)
    assert reason is not None and reason.startswith("'cuda:99' is not there: ")
    with pytest.raises(InvalidInput, match="device: 'cuda:99' is not there") as refused:
        Learner.create(spec(device=ABSENT), seed=0)
    assert (refused.value.code, refused.value.details["field"]) == ("device_missing", "device")
    for name in ("gpu", "cuda:", "cuda:x", "cpu:0"):
        assert missing_device(name) == f"{name!r} is no device: cpu, cuda, cuda:1 or mps"
        with pytest.raises(InvalidInput, match="device: string should match pattern"):
            spec(device=name)
    assert missing_device("cpu") is None and present_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("device", ["cpu", CUDA])
def test_draws_on_a_device_are_those_of_the_seed_and_leave_its_generator_as_it_was(device: str) -> None:
    torch.manual_seed(5)
    before = torch.rand(3, device=device)
    torch.manual_seed(5)
    found = []
    for _ in range(2):
        state = torch.get_rng_state()
        with drawing_on(torch.device(device)):
            found.append(torch.rand(3, device=device))
        torch.set_rng_state(state)
    assert torch.equal(*found)
    assert torch.equal(torch.rand(3, device=device), before)
