"""Networks as users bring them: some that can be served and trained, and one for each reason why one cannot."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class Shared(nn.Module):
    """Two layers whose tensors share memory in one of several ways."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        memory = self.first.weight.data
        match way:
            case "one parameter":
                self.second.weight = self.first.weight
            case "the same memory":
                self.second.weight = nn.Parameter(memory)
            case "transposed":
                self.second.weight = nn.Parameter(memory.t())
            case "a part":
                self.second.bias = nn.Parameter(memory[0])
            case "a buffer":
                self.register_buffer("also", memory)
            case "repeated":
                self.register_buffer("also", torch.zeros(1).expand(4))
            case "halves of one":
                whole = torch.randn(8, 4)
                self.first.weight, self.second.weight = nn.Parameter(whole[:4]), nn.Parameter(whole[4:])

    def forward(self, rows: Tensor) -> Tensor:
        hidden: Tensor = self.second(self.first(rows).tanh())
        return hidden + self.get_buffer("also").sum() if hasattr(self, "also") else hidden


SHARED = ("one parameter", "the same memory", "transposed", "a part", "a buffer", "repeated", "halves of one")


def shared(way: str) -> nn.Module:
    return Shared(way)


class Called(nn.Module):
    """A layer, and what is done with its rows and outputs."""

    def __init__(self, called: Callable[[Called, Tensor], Any]) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.called = called
        self.hidden = torch.randn(4)

    def forward(self, rows: Tensor) -> Any:
        return self.called(self, rows)


WAYS: dict[str, Callable[[Called, Tensor], Any]] = {
    "good": lambda own, rows: own.layer(rows),
    "squeezed": lambda own, rows: own.layer(rows).squeeze(),
    "flattened": lambda own, rows: own.layer(rows).reshape(1, -1)[:, :4],
    "one row only": lambda own, rows: own.layer(rows.reshape(1, 4)),
    "infinite": lambda own, rows: own.layer(rows) + rows.abs().sum(1, keepdim=True).clamp(max=0.1) * 1e39,
    "random": lambda own, rows: nn.functional.dropout(own.layer(rows), 0.5),
    "batch mates": lambda own, rows: own.layer(rows - rows.mean(0)),
    "unregistered": lambda own, rows: own.layer(rows) + own.hidden,
    "untrainable": lambda own, rows: own.layer(rows).detach().requires_grad_(),
    "fails in training": lambda own, rows: own.layer(rows) if not own.training else own.layer(rows[:, :2]),
    "batch mates in evaluation, and fails in training": lambda own, rows: own.layer(
        rows[:, :2] if own.training else rows - rows.mean(0)
    ),
}


def called(way: str) -> nn.Module:
    return Called(WAYS["good"]).requires_grad_(False) if way == "frozen" else Called(WAYS[way])


class Conv1D(nn.Module):
    """A linear layer as Transformers has it, whose weight is ``[inputs, units]``."""

    def __init__(self, inputs: int, units: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(inputs, units) / inputs)
        self.bias = nn.Parameter(torch.zeros(units))

    def forward(self, rows: Tensor) -> Tensor:
        return rows @ self.weight + self.bias


class TextEncoder(nn.Module):
    """A small encoder of words, with weights in all the places where encoders have them."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(20, 8)
        self.places = nn.Parameter(torch.randn(5, 8))
        self.block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.mixed = Conv1D(8, 8)
        self.norm = nn.LayerNorm(8)

    def forward(self, words: Tensor) -> Tensor:
        hidden: Tensor = self.norm(self.mixed(self.block(self.words(words) + self.places)))
        return hidden.mean(1)


def text_encoder() -> nn.Module:
    return TextEncoder()


FACTORIES = [f"{__name__}:{name}" for name in ("shared", "called", "text_encoder")]
