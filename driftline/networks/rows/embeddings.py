"""The trained vectors of categories and texts, for the network."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from driftline.spec.row_layout import CATEGORIES, TEXTS, RowLayout

VALUES = 256
TOKENS = 2048


class RowEmbeddings(nn.Module):
    """A vector for each value of a category, and for each token of a text, whose mean is taken.

    All begin at zero: of a value that was never learned the network knows nothing. Fields whose vectors are equally long share
    one table, in parts of their own: one look-up is as fast as many small ones are slow. Of a category the first 255 entries
    have a vector of their own; others share them.
    """

    def __init__(self, layout: RowLayout) -> None:
        super().__init__()
        self.categories, self.texts = layout.category_vectors, layout.text_vectors
        self.values = _tables(self.categories, VALUES)
        self.tokens = _tables(self.texts, TOKENS)
        # Where the part of each field begins, in the tables of values.
        self._first = {size: np.arange(len(places)) * VALUES for size, places in self.categories.items()}

    @torch.no_grad()
    def widened(self, layout: RowLayout) -> RowEmbeddings:
        """The same for more fields, the new ones last; their vectors are zero."""
        wider = RowEmbeddings(layout)
        own = dict(wider.named_parameters())
        for name, table in self.named_parameters():
            own[name][: len(table)] = table
            own[name].requires_grad_(table.requires_grad)
        return wider.train(self.training)

    def forward(self, encoded: Mapping[str, Tensor]) -> list[Tensor]:
        """The vectors of encoded rows ``[rows, numbers]``, those of equally long ones together."""
        found = []
        for size, places in self.categories.items():
            table = self.values[str(size)]
            entries = encoded[CATEGORIES].numpy()
            entries = entries if len(places) == entries.shape[1] else entries[:, places]
            own = _shared(entries) + self._first[size]
            found.append(nn.functional.embedding(torch.from_numpy(own).to(table.device), table).flatten(1))
        for size, places in self.texts.items():
            table = self.tokens[str(size)]
            tokens = encoded[TEXTS].to(table.device)[:, places]
            is_token = (tokens > 0).unsqueeze(3)
            rows = tokens % TOKENS + torch.arange(len(places), device=table.device).unsqueeze(1) * TOKENS
            vectors = nn.functional.embedding(rows, table) * is_token
            found.append((vectors.sum(2) / is_token.sum(2).clamp(min=1)).flatten(1))
        return found


def _shared(entries: NDArray[np.int64]) -> NDArray[np.int64]:
    """The places of entries in a part of a table; entry 0 is unknown, and stays."""
    if entries.max(initial=0) < VALUES:
        return entries
    return np.where(entries > 0, (entries - 1) % (VALUES - 1) + 1, 0)


def _tables(places: Mapping[int, list[int]], rows: int) -> nn.ParameterDict:
    """A table of zeros for each size of vector, with so many ``rows`` for each field."""
    return nn.ParameterDict(
        {str(size): nn.Parameter(torch.zeros(len(fields) * rows, size)) for size, fields in places.items()}
    )
