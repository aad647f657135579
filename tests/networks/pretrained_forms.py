"""Networks in the forms in which pretrained ones come: Hugging Face's calling convention, dictionaries, weights of 16 bits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass
class SequenceClassifierOutput:
    loss: Tensor | None
    logits: Tensor
    hidden_states: Any = None


class Config:
    num_labels = 3


class TinyForSequenceClassification(nn.Module):
    """It is called as Hugging Face's classifiers are, and gives what they give."""

    def __init__(self, has_mask: bool = True) -> None:
        super().__init__()
        self.config, self.has_mask = Config(), has_mask
        self.embeddings = nn.Embedding(50, 8, padding_idx=0)
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.classifier = nn.Linear(8, self.config.num_labels)
        self.register_buffer("position_ids", torch.arange(16).expand((1, -1)), persistent=False)

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        labels: Tensor | None = None,
        return_dict: bool | None = None,
    ) -> SequenceClassifierOutput:
        assert input_ids is not None and attention_mask is not None
        used = attention_mask if self.has_mask else torch.ones_like(attention_mask)
        hidden = self.encoder(self.embeddings(input_ids), src_key_padding_mask=used == 0)
        weights = used.unsqueeze(-1)
        return SequenceClassifierOutput(None, self.classifier((hidden * weights).sum(1) / weights.sum(1)))


class Pixels(nn.Module):
    """It takes bytes, and gives a dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, rows: Tensor) -> dict[str, Tensor]:
        assert rows.dtype == torch.uint8
        return {"logits": self.layer(rows.flatten(1) / 255)}


class Mean(nn.Module):
    """It takes one sequence without a name."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 3)

    def forward(self, inputs: Tensor, mask: Tensor) -> Tensor:
        seen = mask.unsqueeze(-1)
        found: Tensor = self.layer((inputs * seen).sum(1) / seen.sum(1))
        return found


class InTuple(nn.Linear):
    def forward(self, input: Tensor) -> Any:
        return (super().forward(input),)


def classifier(has_mask: bool = True) -> nn.Module:
    return TinyForSequenceClassification(has_mask)


def pixels() -> nn.Module:
    return Pixels()


def mean() -> nn.Module:
    return Mean()


def half(dtype: str) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(4, 8), nn.LayerNorm(8), nn.ReLU(), nn.Linear(8, 3)).to(
        getattr(torch, dtype)
    )


def in_tuple() -> nn.Module:
    return InTuple(4, 3)


def embedded() -> nn.Module:
    return nn.Sequential(nn.Embedding(50, 4), nn.Flatten(), nn.Linear(8, 3))


FACTORIES = [f"{__name__}:{name}" for name in ("classifier", "pixels", "mean", "half", "in_tuple", "embedded")]
