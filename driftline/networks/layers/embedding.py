"""Vectors for integers."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from driftline.networks.layers import Layer

if TYPE_CHECKING:
    from torch import nn


class Embedding(Layer):
    """A learned vector of ``features`` numbers for each integer below ``count``; other integers share the last one."""

    type: Literal["embedding"] = "embedding"
    count: int = Field(ge=1, le=100_000_000)
    features: int = Field(ge=1, le=100_000)
    units: ClassVar[str | None] = "features"

    def build(self, shape: tuple[int, ...]) -> nn.Module:
        from driftline.networks.modules import ClampedEmbedding

        return ClampedEmbedding(self.count, self.features)
