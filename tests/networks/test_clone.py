"""A clone is what a deep copy is."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from driftline.networks.build import build
from driftline.networks.clone import clone, twin
from driftline.networks.served_model import ServedModel
from driftline.spec import ModelSpec, parse


class Tied(nn.Module):
    """Two layers of one weight, and state that torch knows nothing of."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)
        self.second.weight = self.first.weight
        self.also = self.first
        self.masks: list[Tensor] = [torch.ones(2)]
        self.scale = torch.tensor(2.0)
        self.register_buffer("hidden", torch.zeros(1), persistent=False)

    def forward(self, rows: Tensor) -> Tensor:
        return self.also(self.second(self.first(rows))) * self.scale * self.masks[0].sum()


class CopiedItsOwnWay(nn.Linear):
    is_own = False

    def __deepcopy__(self, memo: dict[int, Any]) -> CopiedItsOwnWay:
        found = CopiedItsOwnWay(self.in_features, self.out_features)
        found.load_state_dict(self.state_dict())
        found.is_own = True
        return found.train(self.training)


SPEC = {"name": "t", "task": "classification", "inputs": {"shape": [3]}, "classes": [0, 1, 2]}

MODULES: dict[str, nn.Module] = {
    "tied": Tied(),
    "recurrent": nn.LSTM(3, 4, batch_first=True),
    "normalised": nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Dropout(0.5)),
    "parametrized": nn.utils.parametrizations.weight_norm(nn.Linear(3, 3)),
    "copied its own way": nn.Sequential(CopiedItsOwnWay(3, 3)),
    "served": build(parse(ModelSpec, SPEC), [0, 1, 2], seed=0),
}


@pytest.fixture(params=MODULES)
def module(request: pytest.FixtureRequest) -> nn.Module:
    return MODULES[request.param].eval()


def answered(module: nn.Module, rows: Tensor) -> Tensor:
    found = module.predict({"inputs": rows}) if isinstance(module, ServedModel) else module(rows)
    return (found[0] if isinstance(found, tuple) else found).detach()


def test_a_clone_answers_and_holds_what_a_deep_copy_does(module: nn.Module) -> None:
    rows = torch.randn(5, 3)
    found, copied = clone(module), copy.deepcopy(module)
    assert torch.equal(answered(found, rows), answered(copied, rows))
    assert found.state_dict().keys() == copied.state_dict().keys()
    for name, value in copied.state_dict().items():
        assert torch.equal(found.state_dict()[name], value)
    assert [type(layer) for layer in found.modules()] == [type(layer) for layer in copied.modules()]
    assert [vars(layer).keys() for layer in found.modules()] == [vars(layer).keys() for layer in copied.modules()]
    assert [layer.training for layer in found.modules()] == [layer.training for layer in module.modules()]
    assert [p.requires_grad for p in found.parameters()] == [p.requires_grad for p in module.parameters()]


def test_what_is_done_to_a_clone_is_not_done_to_the_other(module: nn.Module) -> None:
    rows = torch.randn(5, 3)
    before, found = answered(module, rows), clone(module)
    with torch.no_grad():
        for tensor in [*found.parameters(), *found.buffers()]:
            tensor.zero_()
    found.train()
    assert torch.equal(answered(module, rows), before)
    assert not module.training


def test_a_clone_can_be_trained() -> None:
    found = clone(MODULES["recurrent"])
    found(torch.randn(2, 4, 3))[0].sum().backward()
    assert all(parameter.grad is not None for parameter in found.parameters())
    assert all(parameter.grad is None for parameter in MODULES["recurrent"].parameters())


def test_layers_that_share_a_weight_share_it_in_the_clone() -> None:
    found = clone(MODULES["tied"])
    assert isinstance(found, Tied)
    tied = MODULES["tied"]
    assert isinstance(tied, Tied)
    assert found.second.weight is found.first.weight is not tied.first.weight
    assert found.also is found.first
    found.masks[0].zero_()
    found.scale.zero_()
    assert tied.masks[0].sum() == 2 and tied.scale == 2


def test_a_hook_goes_along() -> None:
    module, called = nn.Linear(3, 3), []
    module.register_forward_hook(lambda layer, inputs, output: called.append(layer))
    found = clone(module)
    found(torch.randn(1, 3))
    assert called == [found]


def test_a_layer_that_knows_how_to_copy_itself_is_asked() -> None:
    found = clone(MODULES["copied its own way"])
    assert isinstance(found, nn.Sequential) and isinstance(found[0], CopiedItsOwnWay) and found[0].is_own


def test_a_twin_shares_parameters_and_no_buffers(module: nn.Module) -> None:
    rows = torch.randn(5, 3)
    before, found = answered(module, rows), twin(module)
    assert torch.equal(answered(found, rows), before)
    own_way = isinstance(module, nn.Sequential) and isinstance(module[0], CopiedItsOwnWay)
    for name, parameter in found.named_parameters():
        other = module.get_parameter(name)
        assert parameter is not other and (parameter.data_ptr() == other.data_ptr()) is not own_way
    with torch.no_grad():
        for buffer in found.buffers():
            buffer.zero_()
    assert torch.equal(answered(module, rows), before)
