"""Labelled rows as tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from driftline.records import Item
from driftline.spec import ModelSpec


@dataclass(frozen=True)
class Examples:
    """``inputs`` ``[rows, *shape]`` by name, ``targets`` ``[rows]`` (class indices, or values), ``weights`` ``[rows]``."""

    inputs: dict[str, Tensor]
    targets: Tensor
    weights: Tensor

    def __len__(self) -> int:
        return len(self.targets)

    @classmethod
    def empty(cls, spec: ModelSpec) -> Examples:
        """No row of a spec's shape."""
        return cls.of(spec, [], {})

    @classmethod
    def of(cls, spec: ModelSpec, items: Sequence[Item], index_of: Mapping[tuple[type, object], int]) -> Examples:
        """Checked items as tensors. ``index_of`` gives the index of a class by its type and name."""
        inputs = {}
        for name, tensor in spec.tensors.items():
            data = b"".join([item.inputs[name] for item in items])
            array = np.frombuffer(bytearray(data), dtype=np.dtype(tensor.dtype).newbyteorder("<"))
            inputs[name] = torch.from_numpy(array.astype(tensor.dtype, copy=False).reshape(len(items), *tensor.shape))
        if spec.task == "regression":
            targets = torch.tensor([item.label for item in items], dtype=torch.float32)
        else:
            targets = torch.tensor([index_of[type(item.label), item.label] for item in items], dtype=torch.int64)
        return cls(inputs, targets, torch.tensor([item.weight for item in items], dtype=torch.float32))

    def take(self, rows: Tensor | slice) -> Examples:
        """Some rows, by index, mask or slice."""
        inputs = {name: value[rows] for name, value in self.inputs.items()}
        return Examples(inputs, self.targets[rows], self.weights[rows])

    def joined(self, other: Examples) -> Examples:
        """These rows, then the other's."""
        if not len(self) or not len(other):
            return self if len(self) else other
        inputs = {name: torch.cat([value, other.inputs[name]]) for name, value in self.inputs.items()}
        return Examples(inputs, torch.cat([self.targets, other.targets]), torch.cat([self.weights, other.weights]))

    def tensors(self) -> dict[str, Tensor]:
        """The rows as tensors by name, for a state dict."""
        inputs = {f"inputs.{name}": value for name, value in self.inputs.items()}
        return {**inputs, "targets": self.targets, "weights": self.weights}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Examples:
        """The rows that :meth:`tensors` gave."""
        inputs = {name.removeprefix("inputs."): value for name, value in tensors.items() if name.startswith("inputs.")}
        return cls(inputs, tensors["targets"], tensors["weights"])
