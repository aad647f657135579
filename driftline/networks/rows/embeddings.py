"""The trained vectors of categories and texts, for the network."""

from __future__ import annotations

from collections.abc import Mapping

import torch
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
        fields = layout.fields.fields
        self.categories = _grouped([fields[name].embedding for name in layout.categories])  # type: ignore[attr-defined]
        self.texts = _grouped([fields[name].embedding for name in layout.texts])  # type: ignore[attr-defined]
        self.values = _tables(self.categories, VALUES)
        self.tokens = _tables(self.texts, TOKENS)

    def forward(self, encoded: Mapping[str, Tensor]) -> list[Tensor]:
        """The vectors of encoded rows ``[rows, numbers]``, those of equally long ones together."""
        found = []
        for size, places in self.categories.items():
            table = self.values[str(size)]
            entries = encoded[CATEGORIES].to(table.device)[:, places]
            # Entry 0 is unknown.
            own = torch.where(entries > 0, (entries - 1) % (VALUES - 1) + 1, 0)
            rows = own + torch.arange(len(places), device=table.device) * VALUES
            found.append(nn.functional.embedding(rows, table).flatten(1))
        for size, places in self.texts.items():
            table = self.tokens[str(size)]
            tokens = encoded[TEXTS].to(table.device)[:, places]
            is_token = (tokens > 0).unsqueeze(3)
            rows = tokens % TOKENS + torch.arange(len(places), device=table.device).unsqueeze(1) * TOKENS
            vectors = nn.functional.embedding(rows, table) * is_token
            found.append((vectors.sum(2) / is_token.sum(2).clamp(min=1)).flatten(1))
        return found


def _grouped(sizes: list[int]) -> dict[int, list[int]]:
    """The places of each size but 0."""
    found: dict[int, list[int]] = {}
    for place, size in enumerate(sizes):
        if size:
            found.setdefault(size, []).append(place)
    return found


def _tables(places: Mapping[int, list[int]], rows: int) -> nn.ParameterDict:
    """A table of zeros for each size of vector, with so many ``rows`` for each field."""
    return nn.ParameterDict(
        {str(size): nn.Parameter(torch.zeros(len(fields) * rows, size)) for size, fields in places.items()}
    )
