"""How a mixture learns whom to trust."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from driftline.learning.stateful import Stateful
from driftline.networks.experts.labels import KEPT
from driftline.networks.experts.mixture import FLOOR, SETS, Mixture
from driftline.networks.experts.traces import aligned, with_other
from driftline.networks.kernels import weights as kernels
from driftline.networks.kernels.views import array_of, rows_of

# How fast each set of weights follows its gradient. In the first sets a weight moves in proportion to itself: who is best is
# soon found among many. In the others all weights move alike: many who know different things stay together.
RATES = (0.03, 0.3, 0.003, 0.1)
PROPORTIONAL = 2
# The least weight of a member in these, and the most that those of a set may add up to.
LEAST, MOST = 1e-4, 1.0
# What those of each set add up to at least and at most. Where they may add up to less or more, all probabilities become less or
# more sure at once, as when what the members say no longer holds; but where a class is rare, one label of it would do so, and
# rows before it and after it could not be ranked beside one another. So the slow sets may, and the fast ones are means.
SUMS = ((0.0, MOST), (MOST, MOST), (0.0, MOST), (MOST, MOST))
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
        self._rates = np.array(RATES, np.float32)
        self._sums = np.array(SUMS, np.float32)

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
        if not columns.count:
            return
        shares = np.ones(len(targets), np.float32) if weights is None else array_of(weights)
        if not columns.is_complete:
            traces = with_other(traces, columns)
        elif traces.shape[2] < columns.count:
            traces = aligned(traces, columns)
        served, others = rows_of(traces), columns.width - columns.count
        state = (mixture.labels.arrays(), KEPT, *mixture.arrays(), array_of(self.losses))
        bounds = (PROPORTIONAL, LEAST, self._sums, SHARPENING, COOLEST, SHARPEST)
        paces = (self.fading, self.trust, self.batch_power, FLOOR)
        kernels.follow(served, array_of(columns.of(targets)), shares, others, *state, self._rates, *bounds, *paces)

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
        shares = np.full(len(places), self.past, np.float32)
        rates = self._rates * np.float32(len(places) ** (self.batch_power - 1))
        weights, _ = self.mixture.arrays()
        kernels.remember(
            array_of(traces.contiguous()), array_of(places), shares, weights, rates, PROPORTIONAL, LEAST, self._sums
        )
