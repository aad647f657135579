"""Whether a module is finite, asked again and again while it changes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from driftline.networks.finiteness import Finiteness

NAN = torch.full((3,), torch.nan)


def write_in_place(module: nn.Module) -> None:
    module.linear.weight.data[0, 0] = torch.inf  # type: ignore[operator, union-attr]


def move_to_other_memory(module: nn.Module) -> None:
    module.linear.weight.data = torch.full((3, 3), torch.nan)  # type: ignore[union-attr]


def replace_a_buffer(module: nn.Module) -> None:
    module.inner.kept = NAN.clone()  # type: ignore[union-attr]


def register_a_buffer(module: nn.Module) -> None:
    module.inner.register_buffer("other", NAN.clone())  # type: ignore[union-attr]


def register_a_parameter(module: nn.Module) -> None:
    module.inner.register_parameter("other", nn.Parameter(NAN.clone()))  # type: ignore[union-attr]


def replace_a_module(module: nn.Module) -> None:
    module.linear = nn.Linear(3, 3)
    module.linear.bias.data.fill_(torch.nan)


def add_a_module(module: nn.Module) -> None:
    module.inner.last = nn.BatchNorm1d(3)  # type: ignore[union-attr]
    module.inner.last.running_mean.fill_(torch.nan)  # type: ignore[union-attr]


CHANGES = [
    *(write_in_place, move_to_other_memory, replace_a_buffer, register_a_buffer, register_a_parameter),
    *(replace_a_module, add_a_module),
]


def module_of_parts() -> nn.Module:
    module = nn.Module()
    module.linear, module.inner = nn.Linear(3, 3), nn.Module()
    module.inner.register_buffer("kept", torch.zeros(3))
    module.inner.register_buffer("hidden", NAN.clone(), persistent=False)
    return module


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_changes_in_a_module_is_looked_at(change: Callable[[nn.Module], None]) -> None:
    module, finiteness = module_of_parts(), Finiteness()
    assert finiteness.holds(module) and finiteness.holds(module)
    change(module)
    assert not finiteness.holds(module) and not finiteness.holds(module)


def test_what_is_finite_again_is_found_to_be() -> None:
    module, finiteness = module_of_parts(), Finiteness()
    replace_a_buffer(module)
    assert not finiteness.holds(module)
    module.inner.kept = torch.zeros(3)  # type: ignore[union-attr]
    assert finiteness.holds(module)
