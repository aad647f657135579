"""Vectors for integers."""

from __future__ import annotations

from torch import nn

from driftline.networks.layers import LayerBuilder
from driftline.networks.modules import ClampedEmbedding
from driftline.spec.parts.layers import Embedding


class EmbeddingBuilder(LayerBuilder[Embedding]):
    """A learned vector for each integer."""

    def build(self, shape: tuple[int, ...]) -> nn.Module:
        return ClampedEmbedding(self.parameters.count, self.parameters.features)
