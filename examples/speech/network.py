"""Spoken words: the log-mel spectrogram of a sound, computed inside the served module, and convolutions over it."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class LogMel(nn.Module):
    """Sound ``[batch, 1, samples]`` → its log-mel spectrogram ``[batch, 1, bands, frames]``, each centred at zero."""

    window: Tensor
    filters: Tensor

    def __init__(self, rate: int, bands: int = 32, width: int = 256, hop: int = 128) -> None:
        super().__init__()
        self.width, self.hop = width, hop
        self.register_buffer("window", torch.hann_window(width))
        self.register_buffer("filters", mel_filters(rate, bands, width))

    def forward(self, sound: Tensor) -> Tensor:
        spectrum = torch.stft(sound.squeeze(1), self.width, self.hop, window=self.window, return_complex=True)
        picture = torch.log(self.filters @ spectrum.abs().square() + 1e-3).unsqueeze(1)
        return picture - picture.mean((2, 3), keepdim=True)


def mel_filters(rate: int, bands: int, width: int) -> Tensor:
    """Triangles that are evenly spread on the mel scale (O'Shaughnessy 1987): ``[bands, width / 2 + 1]``."""
    top = 2595 * torch.log10(torch.tensor(1 + rate / 2 / 700))
    edges = 700 * (10 ** (torch.linspace(0, float(top), bands + 2) / 2595) - 1)
    places = torch.linspace(0, rate / 2, width // 2 + 1)
    rising = (places - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - places) / (edges[2:] - edges[1:-1])[:, None]
    return torch.minimum(rising, falling).clamp(min=0)


def spoken(rate: int = 8000, hidden: int = 64) -> nn.Module:
    return nn.Sequential(
        LogMel(rate),
        nn.Conv2d(1, 12, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(12, 24, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.AdaptiveAvgPool2d((8, 4)),
        nn.Flatten(),
        nn.Linear(24 * 8 * 4, hidden),
        nn.ReLU(),
    )
