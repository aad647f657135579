"""Networks that write their frozen parameters by themselves have them alone; all others share them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from driftline.networks import sealed
from driftline.networks.build import build
from driftline.networks.clone import sibling
from driftline.networks.momentum import mark_written, writes_constants
from driftline.networks.seeded import seeded
from driftline.spec import ModelSpec, parse
from tests.services import spec

ROWS = {"inputs": torch.zeros((1, 64))}


class Frozen(nn.Module):
    """A frozen layer beside one that is trained; ``writes`` is what happens to the frozen weight in each pass of training."""

    passes: Tensor

    def __init__(self, writes: Callable[[nn.Parameter, Tensor], None] | None = None) -> None:
        super().__init__()
        self.frozen: nn.Linear = nn.Linear(64, 128).requires_grad_(False)
        self.trained = nn.Linear(64, 128)
        self.register_buffer("passes", torch.tensor(0))
        self.writes = writes

    def forward(self, rows: Tensor) -> Tensor:
        self.passes += 1
        if self.training and self.writes is not None:
            self.writes(self.frozen.get_parameter("weight"), self.trained.weight.detach())
        found: Tensor = self.frozen(rows) + self.trained(rows)
        return found


def lerped(weight: nn.Parameter, trained: Tensor) -> None:
    weight.lerp_(trained, 0.1)


def lerped_below(weight: nn.Parameter, trained: Tensor) -> None:
    weight.data.mul_(0.9).add_(trained, alpha=0.1)


def in_part(weight: nn.Parameter, trained: Tensor) -> None:
    weight[3:5] = trained[3:5]


def into(weight: nn.Parameter, trained: Tensor) -> None:
    torch.add(trained, 1, out=weight)


def replaced(weight: nn.Parameter, trained: Tensor) -> None:
    weight.data = weight.data * 0.9 + trained * 0.1


def raises(weight: nn.Parameter, trained: Tensor) -> None:
    raise ValueError("not on these rows")


@pytest.mark.parametrize("writes", [lerped, lerped_below, in_part, into, replaced, raises])
def test_what_a_network_writes_is_not_shared(writes: Callable[[nn.Parameter, Tensor], None]) -> None:
    assert writes_constants(Frozen(writes).eval(), ROWS, takes_names=False)
    network = Frozen(writes).eval()
    mark_written(network)
    before = network.frozen.weight.clone()
    copy = sibling(sibling(network))
    assert (
        not sealed.is_constant(copy.frozen.weight) and copy.frozen.weight.data_ptr() != network.frozen.weight.data_ptr()
    )
    if writes is not raises:
        with torch.no_grad():
            copy.train()(torch.randn(4, 64))
        assert not torch.equal(copy.frozen.weight, network.frozen.weight)
    assert torch.equal(network.frozen.weight, before)


def test_what_no_pass_writes_is_shared() -> None:
    network = Frozen().eval()
    drawn = torch.get_rng_state()
    assert not writes_constants(network, ROWS, takes_names=False)
    assert torch.equal(torch.get_rng_state(), drawn) and not network.training and network.passes == 0
    copy = sibling(network)
    assert copy.frozen.weight.data_ptr() == network.frozen.weight.data_ptr()
    assert copy.trained.weight.data_ptr() != network.trained.weight.data_ptr()


def code_book() -> nn.Module:
    return Frozen(lerped_below)


def test_a_network_that_writes_is_built_as_its_factory_makes_it() -> None:
    name = f"{__name__}:code_book"
    described = parse(ModelSpec, spec(network={"factory": name}, inputs={"shape": [64]}))
    found = build(described, [0, 1], factories=[name], seed=3)
    with seeded(3):
        expected = code_book()
    for key, value in expected.named_parameters():
        assert torch.equal(found.network.get_parameter(key), value), key
    assert not sealed.is_constant(found.network.get_parameter("frozen.weight"))
