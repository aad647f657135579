"""Experience replay as one would write it by hand, for comparison: an MLP, AdamW, a reservoir, and no more."""

from __future__ import annotations

import torch
from torch import Tensor, nn

REPLAYED = 64
LEARNING_RATE = 3e-3


class ReplayLoop:
    """ER (Chaudhry et al. 2019) with Driftline's default network, optimizer and replays. It knows all classes in advance."""

    def __init__(self, shape: tuple[int, ...], classes: int, memory: int, seed: int) -> None:
        torch.manual_seed(seed)
        inputs = int(torch.Size(shape).numel())
        hidden = [nn.Linear(inputs, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, classes)]
        self.module = nn.Sequential(nn.Flatten(), *hidden)
        self.optimizer = torch.optim.AdamW(self.module.parameters(), LEARNING_RATE)
        self.generator = torch.Generator().manual_seed(seed)
        self.rows = torch.zeros(memory, *shape)
        self.labels = torch.zeros(memory, dtype=torch.int64)
        self.seen = 0

    def predict(self, rows: Tensor) -> Tensor:
        """The class of each row."""
        with torch.inference_mode():
            return self.module(rows).argmax(1)

    def learn(self, rows: Tensor, labels: Tensor, updates: int) -> None:
        """So many updates on the new rows and on some of the memory."""
        for _ in range(updates):
            drawn = torch.randint(max(1, self._kept), (REPLAYED if self._kept else 0,), generator=self.generator)
            loss = nn.functional.cross_entropy(
                self.module(torch.cat([rows, self.rows[drawn]])), torch.cat([labels, self.labels[drawn]])
            )
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
        for row, label in zip(rows, labels, strict=True):
            self._keep(row, label)

    @property
    def _kept(self) -> int:
        return min(self.seen, len(self.rows))

    def _keep(self, row: Tensor, label: Tensor) -> None:
        """A reservoir (Vitter 1985)."""
        place = self.seen
        if place >= len(self.rows):
            place = int(torch.randint(self.seen + 1, (), generator=self.generator))
        self.seen += 1
        if place < len(self.rows):
            self.rows[place], self.labels[place] = row, label
