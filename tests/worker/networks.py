"""Networks of a user's own, as tests name them."""

from __future__ import annotations

from torch import Tensor, nn


class Narrow(nn.Module):
    """Fails for a batch of more than ``most`` rows."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most
        self.linear = nn.Linear(8, 8)

    def forward(self, rows: Tensor) -> Tensor:
        if len(rows) > self.most:
            raise ValueError(f"the batch is too large:\n{len(rows)} rows are more than {self.most}")
        found: Tensor = self.linear(rows).relu()
        return found


def narrow(most: int) -> nn.Module:
    return Narrow(most)
