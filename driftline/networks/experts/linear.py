"""Linear regressions, as experts."""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from driftline.networks.kernels.views import Viewed, array_of


class LinearHeads(Viewed):
    """Heads on the same features, one for each share of the past that is kept per row (``kept``).

    Args:
        features: numbers of a row, without the constant that is added.
    """

    heads: Tensor

    def __init__(
        self, features: int, outputs: int, kept: tuple[float, ...], dtype: torch.dtype = torch.float64
    ) -> None:
        super().__init__()
        self.kept = kept
        self.register_buffer("heads", torch.zeros(len(kept), features + 1, outputs, dtype=dtype))

    @property
    def members(self) -> int:
        return len(self.kept)

    def continue_from(self, former: LinearHeads, places: Tensor) -> None:
        """Goes on as heads of fewer features, which stand at ``places`` now, the constant too; no other has a weight yet."""
        self.heads.zero_()
        self.heads[:, places] = former.heads

    def _viewed(self) -> NDArray[Any]:
        """The heads as kernels take them."""
        return array_of(self.heads)

    def forward(self, features: Tensor) -> Tensor:
        """``[batch, features + 1]`` → ``[members, batch, outputs]``."""
        return torch.matmul(features, self.heads)


def with_constant(features: Tensor) -> Tensor:
    """``[batch, features]`` → the same and a one as the last number ``[batch, features + 1]``."""
    return pad(features, (0, 1), value=1.0)
