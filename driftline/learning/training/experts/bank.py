"""Adam for a bank of small networks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from driftline.learning.stateful import State, Stateful
from driftline.networks.experts.bank import Bank
from driftline.networks.kernels.bank import train
from driftline.networks.kernels.views import BufferViews, array_of

OF_COLUMNS = ("output", "output_bias")
NAMES = ("hidden", "hidden_bias", *OF_COLUMNS)
NO_COLUMNS, NO_VALUES = torch.zeros(0, dtype=torch.int64), torch.zeros(0, 0)


class BankLearner(Stateful):
    """Adam (Kingma & Ba 2015) on the loss of every network of a bank.

    ``first`` and ``second`` ``[members, quantities]`` are the moments of the gradient, with all quantities of a network one
    after the other; ``steps`` counts updates. The loss is the cross entropy of classes, or the Huber loss of values.
    """

    STATE = ("first", "second", "steps")
    DERIVED = ("bank", "_rates", "_reaches", "_shapes", "_window")

    def __init__(self, bank: Bank) -> None:
        self.bank = bank
        self.steps = 0
        self._rates = np.array([rate for rate, _ in bank.kinds], np.float32)
        self._reaches = np.array([reach for _, reach in bank.kinds])
        self._window: BufferViews[tuple[NDArray[Any], ...]] = BufferViews()
        self._begin()

    def _begin(self) -> None:
        """Moments that know of no gradient."""
        self._shapes = self._present_shapes()
        quantities = sum(shape[1:].numel() for shape in self._shapes)
        self.first, self.second = (torch.zeros(self.bank.members, quantities) for _ in range(2))

    def _present_shapes(self) -> list[torch.Size]:
        return [getattr(self.bank, name).shape for name in NAMES]

    def _views(self, flat: Tensor) -> list[Tensor]:
        """Moments by the tensor of the bank that they are of, from a tensor that is laid out like ``first``."""
        sizes = [shape[1:].numel() for shape in self._shapes]
        return [part.view(shape) for part, shape in zip(torch.split(flat, sizes, 1), self._shapes, strict=True)]

    def learn(
        self, encoded: Tensor, drawn: Tensor, seen: int, waiting: int, fresh: int, targets: Tensor, weights: Tensor
    ) -> None:
        """One update.

        Args:
            encoded: ``[size, width]``, a window of rows, into which ``seen`` rows have come. ``weights`` ``[size]``.
            drawn: ``[members, replayed]``, at random from 0 to 1: which of the rows in its reach each network replays.
            waiting: how many of the newest rows were not learned; the oldest of these, so many as are ``fresh``, are now.
            targets: ``[size]`` columns, or ``[size, outputs]`` values.
        """
        self.steps += 1
        is_regression = targets.is_floating_point()
        columns, values = (NO_COLUMNS, targets) if is_regression else (targets, NO_VALUES)
        tensors = (encoded, columns, values, weights, self.first, self.second)
        rows, *window, first, second = self._window.of(tensors, lambda: tuple(map(array_of, tensors)))
        *networks, is_trained = self.bank.arrays()
        replayed = array_of(drawn), self._reaches, seen, waiting, fresh
        train(rows, *replayed, *window, is_regression, *networks, first, second, self._rates, self.steps)
        is_trained[()] = 1

    def add_columns(self, count: int) -> None:
        """Widens the moments like the bank, which has the new columns already."""
        self._change(lambda view: nn.functional.pad(view, (0, count)))

    def select(self, columns: Tensor) -> None:
        """Keeps some columns ``[columns]`` of the moments, as the bank has done already."""
        self._change(lambda view: view[:, :, columns])

    def continue_from(self, former: BankLearner, encoded: Tensor) -> None:
        """Takes over the moments of a bank of rows with fewer encoded numbers, which stand at ``encoded`` now."""
        self._begin()
        self.steps = former.steps
        for flat, known in ((self.first, former.first), (self.second, former.second)):
            for name, view, old in zip(NAMES, self._views(flat), former._views(known), strict=True):
                view[:, encoded if name == "hidden" else slice(None)] = old

    def _change(self, change: Callable[[Tensor], Tensor]) -> None:
        """Changes the columns of the moments."""
        moments = [
            [change(view) if name in OF_COLUMNS else view for name, view in zip(NAMES, self._views(flat), strict=True)]
            for flat in (self.first, self.second)
        ]
        self.first, self.second = (torch.cat([view.flatten(1) for view in views], 1) for views in moments)
        self._shapes = self._present_shapes()

    def load_state_dict(self, state: State) -> None:
        """Sets the state that :meth:`state_dict` gave. The bank's own is loaded first."""
        super().load_state_dict(state)
        self._shapes = self._present_shapes()
