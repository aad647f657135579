"""Adam for a bank of small networks, written out: autograd would cost more than the products themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor, nn

from driftline.learning.stateful import State, Stateful
from driftline.networks.experts.bank import Bank

OF_COLUMNS = ("output", "output_bias")
NAMES = ("hidden", "hidden_bias", *OF_COLUMNS)
LossGradient: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""The gradient of a loss at outputs ``[members, rows, columns]``, which it may change, for targets."""


def cross_entropy_gradient(logits: Tensor, targets: Tensor) -> Tensor:
    """``targets`` ``[members, rows]`` are columns."""
    error = logits.softmax(2)
    return error.scatter_add_(2, targets.unsqueeze(2), error.new_full((*targets.shape, 1), -1.0))


def huber_gradient(values: Tensor, targets: Tensor) -> Tensor:
    """Of the Huber loss (Huber 1964), whose gradient never exceeds 1. ``targets`` ``[members, rows, columns]``."""
    return values.sub_(targets).clamp_(-1, 1)


class BankLearner(Stateful):
    """Adam (Kingma & Ba 2015) on the loss of every network of a bank, all quantities in one tensor.

    ``first`` and ``second`` are the moments of the gradient, ``steps`` counts updates.

    Args:
        loss_gradient: of the loss that is learned by.
        betas: how much of each moment stays at an update.
        epsilon: what keeps the root of the second moment from 0.
    """

    STATE = ("first", "second", "steps")
    DERIVED = ("bank", "loss_gradient", "betas", "epsilon", "_rates", "_shapes", "_values", "_gradient", "_gradients")

    def __init__(
        self,
        bank: Bank,
        loss_gradient: LossGradient = cross_entropy_gradient,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        epsilon: float = 1e-8,
    ) -> None:
        self.bank = bank
        self.loss_gradient = loss_gradient
        self.betas = betas
        self.epsilon = epsilon
        self.steps = 0
        self._rates = torch.tensor([rate for rate, _ in bank.kinds]).unsqueeze(1)
        self._own()
        self.first = torch.zeros_like(self._values)
        self.second = torch.zeros_like(self._values)

    def _own(self) -> None:
        """Lays the bank's tensors side by side, so that one operation reaches them all; the bank's become views."""
        tensors = [getattr(self.bank, name) for name in NAMES]
        self._shapes = [tensor.shape for tensor in tensors]
        self._values = torch.cat([tensor.flatten(1) for tensor in tensors], 1)
        self._gradient = torch.zeros_like(self._values)
        self._gradients = self._views(self._gradient)
        for name, view in zip(NAMES, self._views(self._values), strict=True):
            setattr(self.bank, name, view)

    def _views(self, flat: Tensor) -> list[Tensor]:
        sizes = [shape[1] * shape[2] for shape in self._shapes]
        return [part.view(shape) for part, shape in zip(torch.split(flat, sizes, 1), self._shapes, strict=True)]

    def learn(self, encoded: Tensor, targets: Tensor, weights: Tensor) -> None:
        """One update. ``encoded`` ``[members, rows, width]``, ``targets`` of these rows, ``weights`` ``[members, rows]``."""
        bank, rows = self.bank, targets.shape[1]
        hidden, hidden_bias, output, output_bias = self._gradients
        activations = bank.activate(encoded)
        error = self.loss_gradient(bank.logits(activations), targets)
        error.mul_(weights.unsqueeze(2) / rows)
        torch.matmul(activations.transpose(1, 2), error, out=output)
        torch.sum(error, 1, keepdim=True, out=output_bias)
        back = torch.matmul(error, bank.output.transpose(1, 2)).mul_(activations.sign_())
        torch.matmul(encoded.transpose(1, 2), back, out=hidden)
        torch.sum(back, 1, keepdim=True, out=hidden_bias)
        self._step()

    def _step(self) -> None:
        first, second = self.betas
        self.steps += 1
        self.first.lerp_(self._gradient, 1 - first)
        self.second.mul_(second).addcmul_(self._gradient, self._gradient, value=1 - second)
        # The gradient has done its work: its place holds what each quantity is divided by.
        rates = self._rates / (1 - first**self.steps)
        root = torch.sqrt(self.second, out=self._gradient).mul_((1 - second**self.steps) ** -0.5 / rates)
        self._values.addcdiv_(self.first, root.add_(self.epsilon / rates), value=-1)
        if self.steps == 1:
            self.bank.is_trained.fill_(1)

    def add_columns(self, count: int) -> None:
        """Widens the moments like the bank, which has the new columns already."""
        self._change(lambda view: nn.functional.pad(view, (0, count)))

    def select(self, columns: Tensor) -> None:
        """Keeps some columns ``[columns]`` of the moments, as the bank has done already."""
        self._change(lambda view: view[:, :, columns])

    def continue_from(self, former: BankLearner, encoded: Tensor) -> None:
        """Takes over the moments of a bank of rows with fewer encoded numbers, which stand at ``encoded`` now."""
        self._own()
        self.steps = former.steps
        self.first, self.second = torch.zeros_like(self._values), torch.zeros_like(self._values)
        for flat, known in ((self.first, former.first), (self.second, former.second)):
            for name, view, old in zip(NAMES, self._views(flat), former._views(known), strict=True):
                view[:, encoded if name == "hidden" else slice(None)] = old

    def _change(self, change: Callable[[Tensor], Tensor]) -> None:
        """Changes the columns of the moments, and lays the bank's tensors out again."""
        moments = [
            [change(view) if name in OF_COLUMNS else view for name, view in zip(NAMES, self._views(flat), strict=True)]
            for flat in (self.first, self.second)
        ]
        self.first, self.second = (torch.cat([view.flatten(1) for view in views], 1) for views in moments)
        self._own()

    def load_state_dict(self, state: State) -> None:
        """Sets the state that :meth:`state_dict` gave. The bank's own is loaded first, and may have come in other tensors."""
        super().load_state_dict(state)
        self._own()
