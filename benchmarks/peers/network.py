"""The network that every server serves, with the same weights, and the rows that it is asked about."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import nn

FEATURES, HIDDEN, CLASSES = 784, 128, 10
SEED = 1


class Network(nn.Module):
    """An MLP 784-128-10 on one torch thread."""

    def __init__(self) -> None:
        super().__init__()
        torch.set_num_threads(1)
        torch.manual_seed(SEED)
        self.hidden = nn.Linear(FEATURES, HIDDEN)
        self.output = nn.Linear(HIDDEN, CLASSES)
        self.eval()

    @torch.inference_mode()
    def probabilities(self, inputs: ArrayLike) -> NDArray[np.float32]:
        """``[batch, 784]`` → probabilities ``[batch, 10]``."""
        batch = torch.from_numpy(np.asarray(inputs, np.float32))
        probabilities: NDArray[np.float32] = self.output(self.hidden(batch).relu()).softmax(1).numpy()
        return probabilities


def rows(count: int) -> NDArray[np.float32]:
    """``[count, 784]``, the same at every call."""
    return np.random.default_rng(SEED).normal(size=(count, FEATURES)).astype(np.float32)
