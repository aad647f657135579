"""Transformer encoders of the sizes that people fine-tune, built by hand from torch's own layers, with and without LoRA."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from driftline.networks import adapters

FACTORY = "benchmarks.common.encoder:encoder"
TOKENS = 16
SIZES: dict[str, dict[str, int]] = {
    "tiny": {"width": 64, "blocks": 2, "words": 2000},
    "22M": {"width": 384, "blocks": 6, "words": 30_522},
    "109M": {"width": 768, "blocks": 12, "words": 30_522},
}
"""Those of MiniLM-L6 and of BERT-base, and one for trying out."""


class Block(nn.Module):
    """Self-attention and two layers of the usual sizes, each with its normalisation after it, as BERT has them."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.mix = (nn.Linear(width, width) for _ in range(4))
        self.first, self.second = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, hidden: Tensor) -> Tensor:
        batch, length, width = hidden.shape
        query, key, value = (
            layer(hidden).view(batch, length, self.heads, width // self.heads).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        seen = nn.functional.scaled_dot_product_attention(query, key, value)
        hidden = self.norm1(hidden + self.mix(seen.transpose(1, 2).reshape(batch, length, width)))
        found: Tensor = self.norm2(hidden + self.second(nn.functional.gelu(self.first(hidden))))
        return found


class Encoder(nn.Module):
    """Tokens ``[batch, length]`` → the mean of their last hidden states ``[batch, width]``."""

    def __init__(self, width: int, blocks: int, words: int) -> None:
        super().__init__()
        self.words = nn.Embedding(words, width)
        self.places = nn.Embedding(512, width)
        self.norm = nn.LayerNorm(width)
        self.blocks = nn.Sequential(*(Block(width, width // 64 or 1) for _ in range(blocks)))

    def forward(self, tokens: Tensor) -> Tensor:
        places = torch.arange(tokens.shape[1], device=tokens.device)
        found: Tensor = self.blocks(self.norm(self.words(tokens) + self.places(places))).mean(1)
        return found


def encoder(width: int, blocks: int, words: int, rank: int | None = None) -> nn.Module:
    """An encoder; with a ``rank`` it is frozen but for adapters of that rank on queries and values."""
    made = Encoder(width, blocks, words)
    if rank is not None:
        made.requires_grad_(False)
        for block in made.blocks:
            for layer in (block.query, block.value):
                assert isinstance(layer, nn.Module)
                adapters.adapt(layer, rank)
    return made


def spec(size: str, rank: int | None) -> dict[str, Any]:
    """The spec of a classifier of texts over such an encoder."""
    arguments = SIZES[size] | ({} if rank is None else {"rank": rank})
    return {
        "name": "texts",
        "task": "classification",
        "inputs": {"shape": [TOKENS], "dtype": "int64"},
        "classes": [0, 1, 2, 3],
        "network": {"factory": FACTORY, "arguments": arguments},
        "recipe": {
            "strategy": {"name": "replay"},
            "gate": {"mode": "off"},
            "optimizer": {"name": "adamw", "learning_rate": 1e-4},
            "memory": {"size": 500},
        },
    }
