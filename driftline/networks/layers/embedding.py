"""Vectors for integers."""

from __future__ import annotations

from torch import nn

from driftline.networks.layers import LayerBuilder
from driftline.networks.modules import ClampedEmbedding
from driftline.networks.row_table import RowTable
from driftline.spec.parts.layers import Embedding


class EmbeddingBuilder(LayerBuilder[Embedding]):
    """A learned vector for each integer."""

    def build(self, shape: tuple[int, ...]) -> nn.Module:
        given = self.parameters
        if given.sparse:
            return RowTable(given.count, given.features, given.expires)
        return ClampedEmbedding(given.count, given.features)
