"""How a network and its output layer are called: on which device, with numbers of which type."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from driftline.networks.modules import floating_type, in_type, joined, logits_of
from driftline.networks.tensor_inputs import takes_names
from driftline.spec import ModelSpec

CPU = torch.device("cpu")


@dataclass(frozen=True)
class NetworkComputation:
    """What turns rows into numbers. Rows come from the CPU, and the numbers are there, as float32.

    ``number_type`` is that of the network's weights; None: rows are of it already, or the weights are of several.
    ``precision`` is that of torch's autocast; None: there is none.
    """

    takes_names: bool
    number_type: torch.dtype | None
    precision: torch.dtype | None
    device: torch.device = CPU

    @classmethod
    def of(cls, spec: ModelSpec, network: nn.Module) -> NetworkComputation:
        """As a spec says, and as the weights of its network are."""
        are_usual = not any("float16" in tensor.dtype for tensor in spec.network_inputs.values())
        kind = floating_type(network)
        # To compare the types of all that comes costs as much as a small answer; most often there is nothing to change.
        number_type = None if kind == torch.float32 and are_usual else kind
        return cls(takes_names(spec), number_type, torch.bfloat16 if spec.precision == "bf16" else None)

    def __call__(self, network: nn.Module, output: nn.Module, rows: Mapping[str, Tensor]) -> Tensor:
        """The output ``[batch, numbers]`` for scaled rows by name."""
        rows = in_type(rows, self.number_type)
        if self.device != CPU:
            rows = {name: value.to(self.device, non_blocking=True) for name, value in rows.items()}
        if self.precision is None:
            found = self._plain(network, output, rows)
        else:
            with torch.autocast(self.device.type, self.precision):
                found = self._plain(network, output, rows).float()
        return found if self.device == CPU else found.cpu()

    def _plain(self, network: nn.Module, output: nn.Module, rows: Mapping[str, Tensor]) -> Tensor:
        hidden = logits_of(network(**rows) if self.takes_names else network(joined(rows))).float()
        result: Tensor = output(hidden.flatten(1) if hidden.dim() > 1 else hidden.unsqueeze(1))
        return result

    def __deepcopy__(self, memo: dict[int, Any]) -> NetworkComputation:
        return self
