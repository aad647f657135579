"""Large tables of vectors, of which an update reads and writes the rows of its batch alone."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from driftline.networks import row_history
from driftline.networks.modules import ClampedEmbedding

NEVER = -(2**62)


class RowTable(ClampedEmbedding):
    """An embedding with a row for each integer, whose gradient is sparse. Integers never seen in training have the last row.

    What an integer teaches when it first comes is taught to the last row, from which its own row then starts: so an integer
    that nobody has seen is answered as such ones were found to be. With ``expires`` an integer that has not come for so many
    labels is as one never seen (after Monolith, Liu et al. 2022, section 2.1.2).

    ``learned_at`` ``[count]`` is how many labels had been learned when each last came, ``labels`` ``[]`` how many are by now.
    """

    learned_at: Tensor
    labels: Tensor

    def __init__(self, count: int, features: int, expires: int | None = None) -> None:
        super().__init__(count, features, sparse=True)
        self.expires = expires
        self.register_buffer("learned_at", torch.full((count,), NEVER))
        self.register_buffer("labels", torch.zeros((), dtype=torch.int64))
        self.asked: list[Tensor] = []

    def forward(self, input: Tensor) -> Tensor:
        last = self.num_embeddings - 1
        rows = torch.where((input >= 0) & (input < last), input, last).long()
        if self.training and self.weight.requires_grad:
            self.asked.append(rows.detach().flatten())
        return functional.embedding(torch.where(self._is_known(rows), rows, last), self.weight, sparse=True)

    def _is_known(self, rows: Tensor) -> Tensor:
        oldest = 0 if self.expires is None else self.labels - self.expires
        return self.learned_at[rows] >= oldest

    @torch.no_grad()
    def admit(self, labels: int) -> Tensor:
        """After an update: gives the integers that came in it rows of their own; those that had none ``[rows]``.

        Args:
            labels: how many have been learned.
        """
        last = self.num_embeddings - 1
        rows = torch.unique(torch.cat(self.asked)) if self.asked else self.learned_at.new_zeros(0)
        self.asked.clear()
        new = rows[~self._is_known(rows) & (rows != last)]
        with row_history.writing([self.weight], new):
            self.weight[new] = self.weight[last].clone()
        with row_history.writing([self.learned_at], rows):
            self.learned_at[rows] = labels
        self.labels.fill_(labels)
        return new

    def reset_parameters(self) -> None:
        """Fresh vectors, of integers that have never been seen."""
        super().reset_parameters()
        if "learned_at" in self._buffers:
            self.learned_at.fill_(NEVER)


def row_tables(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """The trained parameters of a module whose gradient is sparse, by name, each once."""
    found = set()
    for path, layer in module.named_modules():
        if isinstance(layer, nn.Embedding | nn.EmbeddingBag) and layer.sparse and layer.weight.requires_grad:
            if id(layer.weight) not in found:
                yield f"{path}.weight", layer.weight
            found.add(id(layer.weight))


def written_by_rows(module: nn.Module) -> dict[str, Tensor]:
    """The tensors of a module that training writes by rows, by name."""
    found = dict(row_tables(module))
    for path, layer in module.named_modules():
        if isinstance(layer, RowTable) and f"{path}.weight" in found:
            found[f"{path}.learned_at"] = layer.learned_at
    return found
