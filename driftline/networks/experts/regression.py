"""The mixture of experts that a regression serves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from driftline.networks.experts.bank import Bank
from driftline.networks.experts.encoding import Encoding
from driftline.networks.experts.levels import Levels
from driftline.networks.experts.linear import LinearHeads
from driftline.networks.experts.mixture import random_units, window_size
from driftline.networks.experts.neighbours import ValueNeighbours
from driftline.networks.experts.random_features import RandomFeatures
from driftline.networks.experts.target_unit import TargetUnit
from driftline.networks.experts.trees import MAX_OUTPUTS, NO_TREES, Trees
from driftline.networks.kernels import values as kernels
from driftline.networks.kernels.levels import LAGS
from driftline.networks.kernels.views import Viewed, array_of, rows_of
from driftline.spec.row_layout import places_after

# How fast each set of weights follows its gradient; and over which share of its past, per row, each member of the further sets
# is weighed by its own error alone. No one rate is good on every stream.
RATES, FADINGS = (0.02, 0.1, 0.4), (0.9, 0.98)
SETS = len(RATES) + len(FADINGS)
# How much of the past the linear regressions on rows, on encoded rows and on the last labels keep, per row.
KEPT, ENCODED_KEPT, AUTOREGRESSIVE_KEPT = (1.0, 0.999, 0.99, 0.96), (1.0, 0.999), (1.0, 0.99)
MAX_LINEAR = 256
"""Of wider rows there are no linear regressions: their sums would be larger than all else."""
NO_HEADS = np.zeros((0, 0, 0))
"""What kernels take where there are no linear regressions."""


class ContinuedPlaces(NamedTuple):
    """Where what there was stands in a mixture of rows with more fields: the numbers of a row, those of an encoded row, the
    random features, the features of the autoregressive members; and the ``slots`` of the neighbours that are kept.
    """

    numbers: Tensor
    encoded: Tensor
    random_features: Tensor
    with_lags: Tensor
    slots: Tensor


class RegressionMixture(Viewed):
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
        """Rows of a trace: the members, the last labels, and the sets of weights."""
        return self.members + LAGS + SETS

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
            ``(values [batch, outputs], trace [batch, members + LAGS + SETS, outputs])``: the trace holds each member's values,
            NaN where it knows nothing, then the last labels that were known, the newest first, and what each set answered.
        """
        given, known = rows_of(rows.reshape(len(rows), self.features)), rows_of(network)
        values, trace = kernels.answer(given, known, *self._arrays(), *self.arrays(), in_order)
        return torch.from_numpy(values), torch.from_numpy(trace)

    def _arrays(self) -> tuple[Any, ...]:
        """What kernels take of all members."""
        trees = NO_TREES if self.trees is None else self.trees.arrays()
        linear, autoregressive = (
            NO_HEADS if each is None else each.arrays() for each in (self.linear, self.autoregressive)
        )
        kinds = (self.random_features, self.encoded, self.bank, self.neighbours)
        return (
            *(self.encoding.binned, self.encoding.arrays(), *(kind.arrays() for kind in kinds), trees),
            *(linear, autoregressive, self.levels.arrays(), self.target_unit.arrays()),
        )

    def _viewed(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """``weights`` and ``trust``, as kernels take them."""
        return array_of(self.weights), array_of(self.trust)

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
        least = float(kernels.LEAST_SERVED)
        self.weights.fill_(least / self.members)
        self.weights[:, :, -1] = 1 - least

    def fitted(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
        """A state as it can be loaded; None where it is not that of a mixture like this."""
        shapes = {name: value.shape for name, value in tensors.items()}
        return dict(tensors) if shapes == {name: value.shape for name, value in self.state_dict().items()} else None
