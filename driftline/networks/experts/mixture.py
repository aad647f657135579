"""The mixture of experts that a model serves."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from driftline.networks.experts.bank import Bank
from driftline.networks.experts.encoding import MAX_BINNED, Encoding
from driftline.networks.experts.labels import Labels
from driftline.networks.experts.neighbours import Neighbours
from driftline.networks.experts.ridge import Ridge
from driftline.spec import ModelSpec

FLOOR = -8.0
# In a trace, the log-probability of a class that was not known yet when it was made.
UNKNOWN = -16.0
# How fast each set of weights follows its gradient. No one rate is good on every stream.
RATES = (0.003, 0.01, 0.03, 0.1)
# The weight at the start of a strong, a usual and a weak member.
STRONG, USUAL, WEAK = 0.2, 0.1, 0.03
# Random features under the ridge, of narrow rows and of wide ones.
FEW_UNITS, MANY_UNITS = 300, 2000
WINDOW_NUMBERS = 2**18
WINDOW = 1000
MAX_FEATURES = 4096
"""Wider rows are left to the network alone."""


def window_size(features: int) -> int:
    """How many of the newest rows are kept: a thousand, or what a megabyte holds."""
    return max(50, min(WINDOW, WINDOW_NUMBERS // max(features, 1)))


def experts_of(spec: ModelSpec, classes: int) -> Mixture | None:
    """What the spec's strategy serves beside the network; None where it is the network alone."""
    tensors = list(spec.tensors.values())
    features = sum(tensor.size for tensor in tensors)
    if not spec.strategy.serves_experts or features > MAX_FEATURES:
        return None
    # The numbers of an image or a spectrogram are in one unit; columns of a table are not.
    one_unit = len(tensors) == 1 and len(tensors[0].shape) > 1
    return Mixture(features, classes, seed=0, one_unit=one_unit, with_network=True)


class Mixture(nn.Module):
    """Experts that learn at different speeds and with different biases, mixed log-linearly.

    Each of several sets of weights gives ``Σ w_e · log p_e``; the sets are mixed again by ``trust``, how well each of them has
    predicted of late.
    All of it is buffers: nothing here is a parameter of the user's optimizer. It changes through its learner
    (``driftline.learning.training.experts``) alone.

    Args:
        features: numbers in one flat row.
        classes: how many classes it answers; may be none yet.
        seed: what its random features and first weights start from.
        one_unit: whether all features are in one unit, as pixels are.
        with_network: whether a network's own log-probabilities are one more member.
    """

    weights: Tensor
    trust: Tensor

    def __init__(
        self, features: int, classes: int, seed: int, *, one_unit: bool = False, with_network: bool = False
    ) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.features = features
        self.classes = classes
        self.with_network = with_network
        self.encoding = Encoding(features, one_unit=one_unit)
        units = FEW_UNITS if features <= MAX_BINNED else MANY_UNITS
        self.ridge = Ridge(self.encoding.width, units, classes, generator)
        # Where classes come in long runs, as images often do, who remembers only the newest rows has forgotten the others; and
        # each member of a wide row is dear.
        has_short = self.encoding.bins > 0
        self.bank = Bank(self.encoding.width, classes, generator, has_short)
        self.neighbours = Neighbours(features, classes, window_size(features), has_short)
        self.labels = Labels(classes)
        start = torch.tensor(
            [STRONG] * self.ridge.members
            + [USUAL] * (self.bank.members + self.neighbours.members)
            + [WEAK] * self.labels.members
            + [USUAL] * with_network
        )
        self.register_buffer("weights", start.repeat(len(RATES), 1))
        self.register_buffer("trust", torch.full((len(RATES),), 1 / len(RATES)))

    @property
    def members(self) -> int:
        """How many experts are mixed."""
        return self.weights.shape[1]

    @property
    def parts(self) -> int:
        """Rows of a trace: the members, and the newest label that was known."""
        return self.members + 1

    @property
    def bytes(self) -> int:
        """The size of what a version holds of it."""
        return sum(value.numel() * value.element_size() for value in self.state_dict().values())

    @torch.no_grad()
    def forward(self, rows: Tensor, network: Tensor | None = None, in_order: bool = True) -> tuple[Tensor, Tensor]:
        """What is served, and what its weights are later learned from.

        Args:
            rows: ``[batch, features]``, or anything that flattens to it, as it arrived (not scaled).
            network: the network's log-probabilities ``[batch, classes]``; exactly where the mixture is ``with_network``.
            in_order: whether the rows came after the newest label that is known, and not some time before it.

        Returns:
            ``(logits [batch, classes], trace [batch, members + 1, classes])``: the trace holds each member's log-probabilities,
            and in its last row the newest label that was known (0 there, ``FLOOR`` elsewhere). It fits float16.
        """
        if (network is not None) != self.with_network:
            raise ValueError("network: log-probabilities are given exactly where the mixture is made with_network")
        rows = rows.reshape(len(rows), self.features).float()
        if not self.classes:
            return rows.new_zeros(len(rows), 0), rows.new_zeros(len(rows), self.members + 1, 0)
        trace = torch.cat(list(self._answers(rows, network, in_order))).transpose(0, 1).clamp_(min=FLOOR)
        return self.mix(trace), trace

    def _answers(self, rows: Tensor, network: Tensor | None, in_order: bool) -> Iterator[Tensor]:
        encoded = self.encoding(rows)
        yield self.ridge(encoded)
        yield self.bank(encoded)
        yield self.neighbours(encoded[:, : self.features])
        labels, newest = self.labels(len(rows), in_order)
        yield labels
        if network is not None:
            yield network.unsqueeze(0)
        yield newest.expand(1, len(rows), -1)

    def mix(self, trace: Tensor) -> Tensor:
        """A trace → logits ``[batch, classes]``."""
        return torch.matmul(self.trust, self.mix_each(trace))

    def mix_each(self, trace: Tensor) -> Tensor:
        """What each set of weights makes of a trace: log-probabilities ``[batch, sets, classes]``."""
        return torch.matmul(self.weights, trace[:, :-1]).log_softmax(2)

    def rely_on_network(self) -> None:
        """Answers as the network does alone, until others have shown that they do better: it was trained elsewhere."""
        self.weights.zero_()
        self.weights[:, -1] = 1

    def add_classes(self, count: int) -> None:
        """Makes room for ``count`` more classes. Where a learner holds the mixture, call the learner's instead."""
        for member in (self.ridge, self.bank, self.neighbours, self.labels):
            member.add_classes(count)
        self.classes += count
