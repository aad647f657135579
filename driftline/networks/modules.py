"""Modules that torch does not have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


class ClampedEmbedding(nn.Embedding):
    """An embedding whose last vector stands for every integer that has none of its own."""

    def forward(self, input: Tensor) -> Tensor:
        last = self.num_embeddings - 1
        has_its_own = (input >= 0) & (input < last)
        return super().forward(torch.where(has_its_own, input, last).long())


class AddChannel(nn.Module):
    """``[batch, height, width]`` → ``[batch, 1, height, width]``."""

    def forward(self, input: Tensor) -> Tensor:
        return input.unsqueeze(1)


class Blended(nn.Module):
    """A function that becomes another in ``steps`` updates: (1 − t)·old + t·new, with t from 0 to 1 (training counts)."""

    count: Tensor

    def __init__(self, old: nn.Module, new: nn.Module, steps: int) -> None:
        super().__init__()
        self.steps = steps
        self.old = old
        self.new = new
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def forward(self, input: Tensor) -> Tensor:
        share = (self.count / self.steps).clamp(max=1)
        if self.training:
            self.count += 1
        return torch.lerp(self.old(input), self.new(input), share)


class Branched(nn.Module):
    """A network beside others on the same rows: their outputs, flattened, one after the other."""

    def __init__(self, main: nn.Module, branches: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.main = main
        self.branch_names = list(branches)
        for name, branch in branches.items():
            self.add_module(name, branch)

    def forward(self, *rows: Tensor, **named: Tensor) -> Tensor:
        own = joined(named) if named else rows[0]
        branches = [self.get_submodule(name)(own) for name in self.branch_names]
        return torch.cat([flat(logits_of(part)) for part in (self.main(*rows, **named), *branches)], 1)


def logits_of(output: Any) -> Tensor:
    """The tensor that a network gives, which may be the ``logits`` of an object or a dictionary, as Hugging Face's are."""
    found = output
    if not isinstance(output, Tensor):
        found = output.get("logits") if isinstance(output, Mapping) else getattr(output, "logits", None)
    if not isinstance(found, Tensor):
        raise TypeError(
            f"it gives a {type(output).__name__}, where a tensor is needed, or an object or dictionary with one as its logits"
        )
    return found


def floating_type(network: nn.Module) -> torch.dtype | None:
    """The type of a network's weights and buffers, as far as these are no whole numbers; None where they are of several."""
    tensors = (*network.parameters(), *network.buffers())
    found = {tensor.dtype for tensor in tensors if tensor.is_floating_point()}
    return found.pop() if len(found) == 1 else None


def in_type(rows: Mapping[str, Tensor], dtype: torch.dtype | None) -> Mapping[str, Tensor]:
    """Rows of which those that are no whole numbers come in a type; None leaves them as they are."""
    if dtype is None:
        return rows
    return {name: value.to(dtype) if value.is_floating_point() else value for name, value in rows.items()}


def flat(output: Tensor) -> Tensor:
    """``[batch, …]`` → ``[batch, numbers]``."""
    return output.flatten(1) if output.dim() > 1 else output.unsqueeze(1)


def joined(inputs: Mapping[str, Tensor]) -> Tensor:
    """A single input as it is; several, flattened, one after the other."""
    if len(inputs) == 1:
        return next(iter(inputs.values()))
    return torch.cat([value.reshape(len(value), -1).float() for value in inputs.values()], dim=1)
