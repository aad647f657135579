"""Adapters beside their layers: they give what the weight with them in it would, and that weight is never computed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from driftline.networks.adapters import LowRank, adapt, adapter_of, merge
from driftline.networks.clone import clone, sibling

IMAGES = (2, 4, 6, 6)
WORDS = torch.tensor([[0, 3, 3], [1, 0, 6]])
LAYERS: dict[str, tuple[Callable[[], nn.Module], Callable[[], Tensor]]] = {
    "linear": (lambda: nn.Linear(5, 6), lambda: torch.randn(3, 7, 5)),
    "linear, one row": (lambda: nn.Linear(5, 6, bias=False), lambda: torch.randn(5)),
    "conv1d": (lambda: nn.Conv1d(4, 5, 3, stride=2), lambda: torch.randn(2, 4, 9)),
    "conv2d": (lambda: nn.Conv2d(4, 5, 3, padding=1, padding_mode="reflect"), lambda: torch.randn(IMAGES)),
    "conv2d, one image": (lambda: nn.Conv2d(4, 5, (1, 2), dilation=2), lambda: torch.randn(IMAGES[1:])),
    "conv3d": (lambda: nn.Conv3d(4, 5, 2, bias=False), lambda: torch.randn(2, 4, 3, 3, 3)),
    "embedding": (lambda: nn.Embedding(7, 4), lambda: WORDS),
    "embedding with padding": (lambda: nn.Embedding(7, 4, padding_idx=0), lambda: WORDS),
}


class Doubled(nn.Linear):
    """A layer that does something of its own with its weight."""

    def forward(self, input: Tensor) -> Tensor:
        return nn.functional.linear(input, 2 * self.weight, self.bias)


WHOLE: dict[str, tuple[Callable[[], nn.Module], Callable[[], Tensor]]] = {
    "a forward of its own": (lambda: Doubled(5, 6), lambda: torch.randn(3, 5)),
    "groups": (lambda: nn.Conv2d(4, 6, 3, groups=2), lambda: torch.randn(IMAGES)),
    "gradients by frequency": (lambda: nn.Embedding(7, 4, scale_grad_by_freq=True), lambda: WORDS),
}


def trained(make: Callable[[], nn.Module]) -> nn.Module:
    """A layer whose adapter changes something."""
    torch.manual_seed(0)
    layer = make()
    adapt(layer, 2)
    adapter = adapter_of(layer)
    assert adapter is not None
    with torch.no_grad():
        adapter.up.normal_()
        if (padding := getattr(layer, "padding_idx", None)) is not None:
            adapter.up[padding] = 0  # As it began: it gets no gradient.
    return layer


def outcome(layer: nn.Module, rows: Tensor) -> list[Tensor]:
    """What a layer gives, and the gradients that its adapter gets."""
    adapter = adapter_of(layer)
    assert adapter is not None
    found = layer(rows)
    weights = torch.linspace(-1, 1, found.numel()).reshape(found.shape)
    return [found, *torch.autograd.grad((found * weights).sum(), [adapter.up, adapter.down])]


def whole(layer: nn.Module, rows: Tensor) -> list[Tensor]:
    """The same by the weight with the adapter in it, as the layer would compute without one."""
    kind: Any = parametrize.type_before_parametrizations(layer)
    copied = clone(layer)
    copied.__class__ = type("Whole", (type(copied),), {"forward": kind.forward})
    return outcome(copied, rows)


@pytest.mark.parametrize(("make", "rows"), (LAYERS | WHOLE).values(), ids=LAYERS | WHOLE)
def test_answers_and_gradients_are_those_of_the_weight_with_it(
    make: Callable[[], nn.Module], rows: Callable[[], Tensor]
) -> None:
    layer = trained(make)
    given = rows()
    for one in (layer, clone(layer), sibling(layer)):
        for found, expected in zip(outcome(one, given), whole(layer, given), strict=True):
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    before = layer(given)
    merge(layer)
    assert type(layer) is type(make())
    torch.testing.assert_close(layer(given), before, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("make", "rows"), LAYERS.values(), ids=LAYERS)
def test_no_pass_computes_the_whole_weight(
    make: Callable[[], nn.Module], rows: Callable[[], Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = trained(make)
    monkeypatch.delattr(LowRank, "forward")
    outcome(layer, rows())
