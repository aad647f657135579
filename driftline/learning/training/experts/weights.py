"""How a mixture learns whom to trust."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from driftline.learning.stateful import Stateful
from driftline.networks.experts.mixture import FLOOR, RATES, Mixture
from driftline.networks.experts.traces import UNKNOWN, aligned, newest_of, with_other

# The least weight of a member, and the most that those of a set add up to.
LEAST, MOST = 1e-4, 1.2


class WeightLearner(Stateful):
    """What learns the weights of a mixture, and which label follows which, from answers as they were served.

    Args:
        mixture: what is served.
        past: how much a row of a class that comes no more counts beside one of the present.
        fading: how much of the losses of the sets of weights stays per row; one unit of them counts ``trust``.
        batch_power: a batch of B rows moves the weights as B to this power single ones would.
    """

    STATE: ClassVar[tuple[str, ...]] = ("losses",)
    DERIVED: ClassVar[tuple[str, ...]] = ("mixture", "past", "fading", "trust", "batch_power", "_rates")

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
        self.losses = torch.zeros(len(RATES))
        self._rates = torch.tensor(RATES).unsqueeze(1)

    @torch.no_grad()
    def update_mixture_weights(self, traces: Tensor, targets: Tensor) -> None:
        """Learns whom to trust, from answers as they were served.

        The weights follow the gradient of the mixture's log loss, each in proportion to itself (exponentiated gradient,
        Kivinen & Warmuth 1997), so that whoever is best is soon found among many. Those of a set add up to ``MOST`` at most:
        where members agree, the mixture is hardly surer than they are. How far each set is trusted is exponential in its recent
        losses (Cesa-Bianchi & Lugosi 2006, ch. 2).

        Args:
            traces: ``[rows, members + 1, width]`` of :meth:`Mixture.forward`; of fewer columns, where some have come since.
            targets: ``[rows]``, class indices.
        """
        mixture, columns = self.mixture, self.mixture.columns
        if not len(targets) or not columns.count:
            return
        traces = (aligned if columns.is_complete else with_other)(traces.float(), columns)
        others = traces.shape[2] - columns.count
        places = columns.of(targets) + others if others else columns.of(targets)
        self._count_transitions(traces, places, others)
        traces, places = _known(traces, places, others)
        if not len(places):
            return
        answers = mixture.mix_each(traces)
        own = places.view(-1, 1, 1).expand(-1, len(RATES), 1)
        self.losses.mul_(self.fading ** len(places)).sub_(answers.gather(2, own).clamp_(min=FLOOR).sum((0, 2)))
        torch.softmax(self.losses * -self.trust, 0, out=mixture.trust)
        self._gradient_step(traces, answers, places, 1.0)

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
        self._gradient_step(traces, self.mixture.mix_each(traces), places, self.past)

    def _gradient_step(self, traces: Tensor, answers: Tensor, places: Tensor, share: float) -> None:
        """One step of each set of weights down the gradient of its log loss, from what it answers to the traces."""
        own = places.view(-1, 1, 1).expand(-1, len(RATES), 1)
        error = answers.exp().scatter_add_(2, own, answers.new_full(own.shape, -1.0))
        gradient = torch.matmul(error, traces[:, :-1].transpose(1, 2)).sum(0)
        rates = self._rates * (share * len(places) ** (self.batch_power - 1))
        weights = self.mixture.weights
        # A member of no weight could never come back; one row with a broken answer must not decide.
        weights.clamp_(min=LEAST).mul_(gradient.mul_(-rates).clamp_(-1, 1).exp_())
        weights.mul_((MOST / weights.sum(1, keepdim=True)).clamp_(max=1))


def _known(traces: Tensor, places: Tensor, others: int) -> tuple[Tensor, Tensor]:
    """Those of the labels that the members could have given, and where: that a class was not known is no fault of theirs.

    One whose class had not been seen when the trace was made was any other.
    """
    if traces[:, 0].amin().item() > UNKNOWN:
        return traces, places
    was_known = _are_known(traces, places)
    if others:
        places = places.where(was_known, 0)
        was_known = _are_known(traces, places)
    return traces[was_known], places[was_known]


def _are_known(traces: Tensor, places: Tensor) -> Tensor:
    return traces[:, 0].gather(1, places.unsqueeze(1)).squeeze(1) > UNKNOWN
