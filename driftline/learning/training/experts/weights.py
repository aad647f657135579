"""How a mixture learns whom to trust."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from driftline.learning.stateful import Stateful
from driftline.networks.experts.mixture import FLOOR, SETS, Mixture
from driftline.networks.experts.traces import UNKNOWN, aligned, newest_of, with_other

# How fast each set of weights follows its gradient. In the first sets a weight moves in proportion to itself: who is best is
# soon found among many. In the others all weights move alike: many who know different things stay together.
RATES = (0.03, 0.3, 0.003, 0.1)
PROPORTIONAL = 2
# The least weight of a member in these, and the most that those of a set add up to.
LEAST, MOST = 1e-4, 1.2
# What those of each set add up to at least and at most. Where they may add up to less or more, all probabilities become less or
# more sure at once, as when what the members say no longer holds; but where a class is rare, one label of it would do so, and
# rows before it and after it could not be ranked beside one another. So one set may, and the others are means.
SUMS = ((0.0, MOST), (1.0, 1.0), (1.0, 1.0), (1.0, 1.0))
# The least and the most that the trust in all sets adds up to: the inverse of a temperature; and how fast it is learned.
COOLEST, SHARPEST = 0.5, 2.0
SHARPENING = 0.003


class WeightLearner(Stateful):
    """What learns the weights of a mixture, and which label follows which, from answers as they were served.

    Args:
        mixture: what is served.
        past: how much a row of a class that comes no more counts beside one of the present.
        fading: how much of the losses of the sets of weights stays per row; one unit of them counts ``trust``.
        batch_power: a batch of B rows moves the weights as B to this power single ones would.

    A row of weight 0 changes nothing.
    """

    STATE: ClassVar[tuple[str, ...]] = ("losses",)
    DERIVED: ClassVar[tuple[str, ...]] = ("mixture", "past", "fading", "trust", "batch_power", "_rates", "_sums")

    def __init__(
        self,
        mixture: Mixture,
        *,
        past: float = 0.4,
        fading: float = 0.99,
        trust: float = 0.5,
        batch_power: float = 0.75,
    ) -> None:
        self.mixture = mixture
        self.past, self.fading, self.trust, self.batch_power = past, fading, trust, batch_power
        self.losses = torch.zeros(SETS)
        self._rates = torch.tensor(RATES).unsqueeze(1)
        self._sums = torch.tensor(SUMS).unsqueeze(2)

    @torch.no_grad()
    def update_mixture_weights(self, traces: Tensor, targets: Tensor, weights: Tensor | None = None) -> None:
        """Learns whom to trust, from answers as they were served.

        The weights follow the gradient of the mixture's log loss: in some sets each in proportion to itself (exponentiated
        gradient, Kivinen & Warmuth 1997), in the others by steps alike. What those of a set add up to is bounded (``SUMS``):
        where members agree, it is hardly surer than they are. How far each set is trusted is exponential in its recent losses
        (Cesa-Bianchi & Lugosi 2006, ch. 2), and how sharp all of them are together follows the gradient, too.

        Args:
            traces: ``[rows, members + 1, width]`` of :meth:`Mixture.forward`; of fewer columns, where some have come since.
            targets: ``[rows]``, class indices.
            weights: ``[rows]``, how much each counts; all one where it is None.
        """
        mixture, columns = self.mixture, self.mixture.columns
        weights = traces.new_ones(len(targets), dtype=torch.float32) if weights is None else weights.float()
        if not bool(weights.all()):
            traces, targets, weights = traces[weights > 0], targets[weights > 0], weights[weights > 0]
        if not len(targets) or not columns.count:
            return
        traces = (aligned if columns.is_complete else with_other)(traces.float(), columns)
        others = traces.shape[2] - columns.count
        places = columns.of(targets) + others if others else columns.of(targets)
        self._count_transitions(traces, places, others)
        traces, places, weights = _known(traces, places, weights, others)
        if not len(places):
            return
        answers = mixture.mix_each(traces)
        sharpness = self._sharpened(answers, places, weights)
        losses = torch.einsum("bs,b->s", _of_own(answers, places).clamp_(min=FLOOR), weights)
        self.losses.mul_(self.fading ** float(weights.sum())).sub_(losses)
        torch.mul(torch.softmax(self.losses * -self.trust, 0), sharpness, out=mixture.trust)
        self._gradient_step(traces, answers, places, weights)

    def _sharpened(self, answers: Tensor, places: Tensor, weights: Tensor) -> float:
        """What the trust in all sets is to add up to: one step down the gradient of what is served of them."""
        pooled = torch.matmul(self.mixture.trust, answers)
        slope = torch.dot(torch.mul(_errors(pooled.softmax(1), places), pooled).sum(1), weights).item()
        step = -SHARPENING * slope * len(places) ** (self.batch_power - 1)
        return min(SHARPEST, max(COOLEST, self.mixture.trust.sum().item() * math.exp(min(1.0, max(-1.0, step)))))

    def _count_transitions(self, traces: Tensor, places: Tensor, others: int) -> None:
        """Counts each label that was foreseen from the newest one, where both have a column."""
        for before, after in zip(newest_of(traces), places.tolist(), strict=True):
            if before >= others and after >= others:
                self.mixture.labels.count(before - others, after - others)

    @torch.no_grad()
    def remember(self, traces: Tensor, targets: Tensor) -> None:
        """Keeps the weights fit for classes that have gone: where labels come in long runs, those of the present alone would
        teach them to trust whoever has forgotten the past.

        Args:
            traces: ``[rows, members + 1, width]``, what is answered now to rows of such classes that were never trained on;
                about as many as one finds there among as many as there have been new labels since the last call.
            targets: ``[rows]``, class indices, all of classes that have a column.
        """
        columns = self.mixture.columns
        places = columns.of(targets) + (columns.width - columns.count)
        self._gradient_step(traces, self.mixture.mix_each(traces), places, traces.new_full(places.shape, self.past))

    def _gradient_step(self, traces: Tensor, answers: Tensor, places: Tensor, shares: Tensor) -> None:
        """One step of each set of weights down the gradient of its log loss, from what it answers to the traces.

        ``shares`` ``[rows]`` is how much each of them counts.
        """
        error = _errors(answers.exp(), places).mul_(shares.view(-1, 1, 1))
        gradient = torch.matmul(error, traces[:, :-1].transpose(1, 2)).sum(0)
        steps = gradient.mul_(self._rates * -(len(places) ** (self.batch_power - 1)))
        weights = self.mixture.weights
        # A member of no weight could never come back; one row with a broken answer must not decide.
        weights[:PROPORTIONAL].clamp_(min=LEAST).mul_(steps[:PROPORTIONAL].clamp_(-1, 1).exp_())
        weights[PROPORTIONAL:].add_(steps[PROPORTIONAL:]).clamp_(min=0)
        total = weights.sum(1, keepdim=True)
        weights.mul_(total.clamp(self._sums[:, 0], self._sums[:, 1]).div_(total.clamp_(min=1e-9)))


def _errors(chances: Tensor, places: Tensor) -> Tensor:
    """Probabilities ``[rows, …, width]`` less one at each row's own place; in place."""
    own = places.view(-1, *[1] * (chances.dim() - 1)).expand(*chances.shape[:-1], 1)
    return chances.scatter_add_(-1, own, chances.new_full(own.shape, -1.0))


def _of_own(answers: Tensor, places: Tensor) -> Tensor:
    """What answers ``[rows, sets, width]`` say of each row's own place ``[rows, sets]``."""
    return answers.gather(2, places.view(-1, 1, 1).expand(-1, answers.shape[1], 1)).squeeze(2)


def _known(traces: Tensor, places: Tensor, weights: Tensor, others: int) -> tuple[Tensor, Tensor, Tensor]:
    """Those of the labels that the members could have given, and where: that a class was not known is no fault of theirs.

    One whose class had not been seen when the trace was made was any other.
    """
    if traces[:, 0].amin().item() > UNKNOWN:
        return traces, places, weights
    was_known = _are_known(traces, places)
    if others:
        places = places.where(was_known, 0)
        was_known = _are_known(traces, places)
    return traces[was_known], places[was_known], weights[was_known]


def _are_known(traces: Tensor, places: Tensor) -> Tensor:
    return traces[:, 0].gather(1, places.unsqueeze(1)).squeeze(1) > UNKNOWN
