"""The tensors among the inputs of a model, as its network takes them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from driftline.spec import Factory, ModelSpec
from driftline.spec.row_layout import RowTensor
from driftline.spec.tensors import length_name


@dataclass(frozen=True)
class TensorInput:
    """A tensor of the inputs: what the network calls it, its ``key`` among the inputs, a row's shape, and its scale's name.

    ``lengths`` is where the lengths of its rows are, and ``mask`` what the network calls that which tells of them; None where
    all rows are as long.
    """

    name: str
    key: str
    shape: tuple[int, ...]
    scale: str | None
    lengths: str | None = None
    mask: str | None = None

    def masked(self, rows: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        """Rows cut at the longest of them ``[rows, longest, *rest]``, and 1 where they are not filled up, else 0 ``[rows,
        longest]`` int64."""
        assert self.mask is not None
        longest = max(1, int(lengths.max())) if len(lengths) else 1
        places = torch.arange(longest, device=lengths.device)
        return {self.name: rows[:, :longest], self.mask: (places < lengths.unsqueeze(1)).long()}


def tensor_inputs(spec: ModelSpec) -> list[TensorInput]:
    """The tensors of a model's inputs; of fields those of that type, whose scales go by their places."""
    if spec.fields is None:
        return [_of_tensor(spec, name, tensor) for name, tensor in spec.tensors.items() if name in spec.given_tensors]
    fields = spec.layout.tensor_fields
    return [
        TensorInput(name, key, tuple(fields[name].shape), f"tensor{place}")
        for place, (name, key) in enumerate(spec.layout.tensor_keys.items())
    ]


def _of_tensor(spec: ModelSpec, name: str, tensor: RowTensor) -> TensorInput:
    shape = tuple(tensor.shape)
    if name in spec.sequences:
        return TensorInput(name, name, shape, None, length_name(name), spec.sequences[name].mask_name)
    # To a network of a user's own bytes are what they are to the user; to layers they are numbers like others.
    is_scaled = "float" in tensor.dtype or (tensor.dtype == "uint8" and not isinstance(spec.network, Factory))
    return TensorInput(name, name, shape, name if is_scaled else None)


def takes_names(spec: ModelSpec) -> bool:
    """Whether the network is a user's own that takes a keyword argument for each of several inputs."""
    has_names = isinstance(spec.inputs, dict) or len(spec.network_inputs) > 1
    return has_names and isinstance(spec.network, Factory)
