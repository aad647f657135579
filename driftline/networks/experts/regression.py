"""The mixture of experts that a regression serves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from driftline.networks.experts.bank import Bank
from driftline.networks.experts.encoding import Encoding
from driftline.networks.experts.levels import LAGS, Levels
from driftline.networks.experts.linear import LinearHeads, with_constant
from driftline.networks.experts.mixture import random_units, window_size
from driftline.networks.experts.neighbours import ValueNeighbours
from driftline.networks.experts.random_features import RandomFeatures
from driftline.networks.experts.target_unit import TargetUnit
from driftline.networks.experts.trees import MAX_OUTPUTS, Trees
from driftline.networks.kernels.views import OnCpu
from driftline.spec.row_layout import places_after

# How fast each set of weights follows its gradient; and over which share of its past, per row, each member of the further sets
# is weighed by its own error alone. No one rate is good on every stream.
RATES, FADINGS = (0.02, 0.1, 0.4), (0.9, 0.98)
SETS = len(RATES) + len(FADINGS)
# How much of the past the linear regressions on rows, on encoded rows and on the last labels keep, per row.
KEPT, ENCODED_KEPT, AUTOREGRESSIVE_KEPT = (1.0, 0.999, 0.99, 0.96), (1.0, 0.999), (1.0, 0.99)
MAX_LINEAR = 256
"""Of wider rows there are no linear regressions: their sums would be larger than all else."""
LEAST_SERVED = 0.01
"""A member of less weight is left out of an answer, so that one that is right can take all of it."""
FARTHEST = 10.0
"""Where differences between labels are clipped, in units of the target."""


class ContinuedPlaces(NamedTuple):
    """Where what there was stands in a mixture of rows with more fields: the numbers of a row, those of an encoded row, the
    random features, the features of the autoregressive members; and the ``slots`` of the neighbours that are kept.
    """

    numbers: Tensor
    encoded: Tensor
    random_features: Tensor
    with_lags: Tensor
    slots: Tensor


class RegressionMixture(OnCpu):
    """Experts that learn at different speeds and with different biases, whose values are averaged.

    Each of several sets of weights gives a mean ``Σ w_e · v_e`` for each output; the sets are mixed again by ``trust``, how
    well each of them has answered of late. A member whose value is not finite, or that knows nothing, is left out: the others
    have its weight. Values stay in a range that follows from the labels
    (:mod:`driftline.networks.experts.target_unit`). All of it is buffers, and changes through its learner
    (``driftline.learning.training.experts``) alone.

    Args:
        features: numbers in one flat row.
        outputs: how many numbers are answered.
        seed: what its random features and first weights start from.
        one_unit: whether all features are in one unit, as pixels are.
        binned: how many features, the first ones, are quantities, where the others are marks; None: all.
        parts: the parts of a row of fields, with the numbers of each (``RowLayout.mixture_parts``).
    """

    weights: Tensor
    trust: Tensor

    def __init__(
        self,
        features: int,
        outputs: int,
        seed: int,
        *,
        one_unit: bool = False,
        binned: int | None = None,
        parts: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.features = features
        self.outputs = outputs
        self.parts_of_row = dict(parts or {})
        self.encoding = Encoding(features, one_unit=one_unit, binned=binned)
        units = random_units(self.encoding)
        self.target_unit = TargetUnit(outputs)
        self.random_features = RandomFeatures(self.encoding.width, units, generator)
        self.encoded = LinearHeads(self.random_features.features, outputs, ENCODED_KEPT, torch.float32)
        self.bank = Bank(self.encoding.width, generator, has_short=self.encoding.bins > 0)
        self.bank.add_columns(outputs)
        self.neighbours = ValueNeighbours(features, window_size(features), outputs)
        self.levels = Levels(outputs)
        self.trees: Trees | None = None
        if self.encoding.bins and outputs <= MAX_OUTPUTS:
            self.trees = Trees()
            self.trees.add_columns(outputs)
        self.linear: LinearHeads | None = None
        self.autoregressive: LinearHeads | None = None
        if features <= MAX_LINEAR:
            self.linear = LinearHeads(features, outputs, KEPT)
            self.autoregressive = LinearHeads(features + LAGS * outputs, outputs, AUTOREGRESSIVE_KEPT)
        kinds = (self.encoded, self.bank, self.neighbours, self.levels, self.trees, self.linear, self.autoregressive)
        self.members = 1 + sum(kind.members for kind in kinds if kind is not None)
        self.register_buffer("weights", torch.full((outputs, SETS, self.members), 1 / self.members))
        self.register_buffer("trust", torch.full((outputs, SETS), 1 / SETS))

    @property
    def parts(self) -> int:
        """Rows of a trace: the members, and the last labels."""
        return self.members + LAGS

    @property
    def bytes(self) -> int:
        """The size of what a version holds of it."""
        return sum(value.numel() * value.element_size() for value in self.state_dict().values())

    @torch.no_grad()
    def forward(self, rows: Tensor, network: Tensor, in_order: bool = True) -> tuple[Tensor, Tensor]:
        """What is served, and what its weights are later learned from; both in the target's own units, float32.

        Args:
            rows: ``[batch, features]``, or anything that flattens to it, as it arrived (not scaled).
            network: the network's values ``[batch, outputs]`` in the target's own units.
            in_order: whether the rows come after the newest label that is known, and not from some time before it.

        Returns:
            ``(values [batch, outputs], trace [batch, members + LAGS, outputs])``: the trace holds each member's values, NaN
            where it knows nothing, and then the last labels that were known, the newest first.
        """
        rows, network = rows.reshape(len(rows), self.features).float().cpu(), network.cpu()
        encoded, unit = self.encoding(rows), self.target_unit
        levels, lags = (_for_each(unit.believed(known), len(rows)) for known in self.levels(in_order))
        found = torch.cat([*self._answers(rows, encoded), network.double().unsqueeze(0)])
        found = unit.clamped(found.masked_fill_(found.isinf(), torch.nan))
        trace = torch.cat([*self._differences(encoded, lags), levels, found, lags]).transpose(0, 1).float()
        return self.mix(trace), trace

    def _differences(self, encoded: Tensor, lags: Tensor) -> Iterator[Tensor]:
        """What the members say that foresee the difference to the last label, float64 ``[members, batch, outputs]``."""
        if self.autoregressive is not None:
            steps = self.autoregressive(self.with_lags(encoded[:, : self.features], lags.transpose(0, 1)))
            yield self.target_unit.believed(lags[:1] + steps * self.target_unit.scale)

    def _answers(self, rows: Tensor, encoded: Tensor) -> Iterator[Tensor]:
        """The values of the members that look at rows alone, each float64 ``[members, batch, outputs]``."""
        unit, scores = self.target_unit, encoded[:, : self.features]
        yield unit.restored(self.encoded(self.random_features(encoded)))
        yield unit.restored(self.bank.values(encoded))
        yield self.neighbours(scores, unit.low, unit.high).double()
        if self.trees is not None:
            yield unit.restored(self.trees.scores(rows)).unsqueeze(0)
        if self.linear is not None:
            yield unit.restored(self.linear(with_constant(scores.double())))

    def with_lags(self, scores: Tensor, lags: Tensor) -> Tensor:
        """What the autoregressive members take: z-scores, where the last label lies, and how it differs from those before.

        Args:
            scores: ``[batch, features]``.
            lags: ``[batch, LAGS, outputs]``, the last labels as a trace has them.

        Returns:
            float64 ``[batch, features + LAGS * outputs + 1]``; NaN where no label was known.
        """
        unit, known = self.target_unit, lags.double()
        newest = known[:, :1]
        differences = (known[:, 1:] - newest).div_(unit.scale).nan_to_num_(0.0)
        both = torch.cat([(newest - unit.centre) / unit.scale, differences], 1).clamp_(-FARTHEST, FARTHEST)
        return with_constant(torch.cat([scores.double(), both.flatten(1)], 1))

    def mix(self, trace: Tensor) -> Tensor:
        """A trace → values ``[batch, outputs]``, float32."""
        mixed = (self.mix_each(trace) * self.trust.unsqueeze(2)).sum(1)
        return mixed.T.float()

    def mix_each(self, trace: Tensor) -> Tensor:
        """What each set of weights makes of a trace: float64 ``[outputs, sets, batch]``."""
        values = trace[:, : self.members].permute(2, 1, 0).double()
        weights = self.weights.where(self.weights >= LEAST_SERVED, 0.0).double()
        is_known = values.isfinite()
        if bool(is_known.all()):
            return torch.matmul(weights / weights.sum(2, keepdim=True), values)
        known, values = is_known.double(), values.where(is_known, 0.0)
        heard = torch.matmul(weights, known)
        # Where those that have weight know nothing, all others speak; where nobody does, there has been no label.
        others = values.sum(1, keepdim=True) / known.sum(1, keepdim=True).clamp_(min=1)
        return torch.where(heard > 0, torch.matmul(weights, values) / heard, others)

    def has_members_of(self, former: RegressionMixture) -> bool:
        """Whether its members are of the same kinds as another's, whose rows may have fewer numbers."""
        return (
            self.members == former.members and self.random_features.has_encoding == former.random_features.has_encoding
        )

    def continue_from(self, former: RegressionMixture) -> ContinuedPlaces:
        """Goes on as one of the same rows with fewer fields and the same members, and answers these as that does."""
        places = torch.tensor(places_after(former.parts_of_row, self.parts_of_row), dtype=torch.int64)
        self.take_labels(former)
        encoded = self.encoding.continue_from(former.encoding, places)
        features = self.random_features.continue_from(former.random_features, encoded)
        self.encoded.continue_from(former.encoded, features)
        self.bank.continue_from(former.bank, encoded)
        if self.trees is not None and former.trees is not None:
            self.trees.continue_from(former.trees, places)
        rest = torch.arange(LAGS * self.outputs + 1) + self.features
        found = ContinuedPlaces(
            *(places, encoded, features, torch.cat([places, rest])),
            self.neighbours.continue_from(former.neighbours, places),
        )
        for own, other, at in (
            (self.linear, former.linear, torch.cat([places, rest[:1]])),
            (self.autoregressive, former.autoregressive, found.with_lags),
        ):
            if own is not None and other is not None:
                own.continue_from(other, at)
        self.weights, self.trust = former.weights.clone(), former.trust.clone()
        return found

    def take_labels(self, former: RegressionMixture) -> None:
        """Goes on with what another mixture of this target knows of its labels alone."""
        self.target_unit.load_state_dict(former.target_unit.state_dict())
        self.levels.load_state_dict(former.levels.state_dict())

    def rely_on_network(self) -> None:
        """Answers as the network does alone, until others have shown that they do better: it was trained elsewhere."""
        self.weights.fill_(LEAST_SERVED / self.members)
        self.weights[:, :, -1] = 1 - LEAST_SERVED

    def fitted(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
        """A state as it can be loaded; None where it is not that of a mixture like this."""
        shapes = {name: value.shape for name, value in tensors.items()}
        return dict(tensors) if shapes == {name: value.shape for name, value in self.state_dict().items()} else None


def _for_each(values: Tensor, batch: int) -> Tensor:
    """``[members, outputs]`` → ``[members, batch, outputs]``."""
    return values.unsqueeze(1).expand(-1, batch, -1)
