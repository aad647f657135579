"""The mixture of experts that a model serves."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from driftline.networks.experts import old_layout
from driftline.networks.experts.bank import Bank
from driftline.networks.experts.columns import MAX_COLUMNS, ClassColumns
from driftline.networks.experts.encoding import MAX_BINNED, Encoding
from driftline.networks.experts.labels import Labels
from driftline.networks.experts.neighbours import Neighbours
from driftline.networks.experts.ridge import Ridge
from driftline.networks.experts.trees import NO_TREES, Trees
from driftline.networks.kernels import mixture as kernels
from driftline.networks.kernels.views import BufferViews, Viewed, array_of, rows_of
from driftline.spec.row_layout import places_after

FLOOR = -8.0
# Sets of weights: no one rate, and no one way to follow the gradient, is good on every stream.
SETS = 4
# How much a strong, a usual and a weak member weighs at the start beside the others; all of them weigh one.
STRONG, USUAL, WEAK = 0.2, 0.1, 0.03
# Random features under the ridge, of narrow rows and of wide ones.
FEW_UNITS, MANY_UNITS = 300, 2000
WINDOW_NUMBERS = 2**18
WINDOW = 1000
Rows: TypeAlias = NDArray[np.float32]


def random_units(encoding: Encoding) -> int:
    """How many random features are made of encoded rows: more of wide ones without bins, as of images."""
    return FEW_UNITS if encoding.features <= MAX_BINNED or encoding.bins else MANY_UNITS


def window_size(features: int) -> int:
    """How many of the newest rows are kept: a thousand, or what a megabyte holds."""
    return max(50, min(WINDOW, WINDOW_NUMBERS // max(features, 1)))


class Mixture(Viewed):
    """Experts that learn at different speeds and with different biases, mixed log-linearly.

    Each of several sets of weights gives ``Σ w_e · log p_e``; the sets are mixed again by ``trust``, how well each of them has
    predicted of late, which adds up to the inverse of a temperature. The members answer the classes that have been seen
    (:mod:`driftline.networks.experts.columns`); ``columns`` maps these to all that are answered.
    All of it is buffers: nothing here is a parameter of the user's optimizer. It changes through its learner
    (``driftline.learning.training.experts``) alone.

    Args:
        features: numbers in one flat row.
        classes: how many classes it answers; may be none yet.
        seed: what its random features and first weights start from.
        one_unit: whether all features are in one unit, as pixels are.
        with_network: whether a network's own log-probabilities are one more member.
        max_columns: how many classes the members learn at most.
        binned: how many features, the first ones, are quantities, where the others are marks; None: all.
        parts: the parts of a row of fields, with the numbers of each (``RowLayout.mixture_parts``).
    """

    weights: Tensor
    trust: Tensor

    def __init__(
        self,
        features: int,
        classes: int,
        seed: int,
        *,
        one_unit: bool = False,
        with_network: bool = False,
        max_columns: int = MAX_COLUMNS,
        binned: int | None = None,
        parts: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__()
        self._of_members: BufferViews[tuple[Any, ...]] = BufferViews()
        self.parts_of_row = dict(parts or {})
        generator = torch.Generator().manual_seed(seed)
        self.features = features
        self.with_network = with_network
        self.columns = ClassColumns(classes, max_columns)
        self.encoding = Encoding(features, one_unit=one_unit, binned=binned)
        units = random_units(self.encoding)
        self.ridge = Ridge(self.encoding.width, units, generator)
        # Where classes come in long runs, as images often do, who remembers only the newest rows has forgotten the others; and
        # each member of a wide row is dear.
        has_short = self.encoding.bins > 0
        self.bank = Bank(self.encoding.width, generator, has_short)
        self.neighbours = Neighbours(features, window_size(features), has_short)
        self.labels = Labels()
        self.trees = Trees() if has_short else None
        self.register_buffer("weights", _first_weights(self).repeat(SETS, 1))
        self.register_buffer("trust", torch.full((SETS,), 1 / SETS))

    @property
    def classes(self) -> int:
        """How many classes are answered."""
        return self.columns.classes

    @property
    def members(self) -> int:
        """How many experts are mixed."""
        return self.weights.shape[1]

    @property
    def parts(self) -> int:
        """Rows of a trace: the members, and the tags of its columns."""
        return self.members + 1

    @property
    def bytes(self) -> int:
        """The size of what a version holds of it."""
        return sum(value.numel() * value.element_size() for value in self.state_dict().values())

    def forward(self, rows: Tensor, network: Tensor | None = None, in_order: bool = True) -> tuple[Tensor, Tensor]:
        """What is served, and what its weights are later learned from.

        Args:
            rows: ``[batch, features]``, or anything that flattens to it, as it arrived (not scaled).
            network: the network's log-probabilities ``[batch, classes]``; exactly where the mixture is ``with_network``.
            in_order: whether the rows come after the newest label that is known, and not from some time before it.

        Returns:
            ``(logits [batch, classes], trace [batch, members + 1, width])``: the trace holds each member's log-probabilities of
            the columns, and in its last row their tags (:mod:`driftline.networks.experts.traces`).
        """
        if (network is not None) != self.with_network:
            raise ValueError("network: log-probabilities are given exactly where the mixture is made with_network")
        if not self.columns.classes:
            return torch.zeros(len(rows), 0), torch.zeros(len(rows), self.parts, 0)
        given, columns, members = rows_of(rows.flatten(1)), self.columns, self.arrays_of_members()
        newest = int(members[-1][4]) if in_order else -1
        if not columns.is_complete:
            of_network = None if network is None else network.detach().cpu()
            return self._among_others(torch.from_numpy(given), of_network, newest)
        known = np.zeros((len(given), 0), np.float32) if network is None else rows_of(columns.narrowed(network))
        served = array_of(columns.tags), *self.arrays(), FLOOR
        logits, trace = kernels.answer(given, known, self.encoding.binned, *members, newest, *served)
        return columns.widened(torch.from_numpy(logits)), torch.from_numpy(trace)

    def arrays_of_members(self) -> tuple[Any, ...]:
        """What kernels take of the encoding, trees, ridge, bank, neighbours and labels."""
        buffers = [
            buffer for child in self._modules.values() if child is not None for buffer in child._buffers.values()
        ]
        return self._of_members.of(buffers, lambda: _arrays_of(self))  # type: ignore[arg-type]

    def _viewed(self) -> tuple[Rows, Rows]:
        return array_of(self.weights), array_of(self.trust)

    def _trace(self, answers: Tensor, newest: int) -> Tensor:
        """Log-probabilities of all members ``[members, batch, width]`` as a trace ``[batch, parts, width]``."""
        tags = self.columns.marked(newest).expand(1, answers.shape[1], -1)
        # Tags are positive: the floor leaves them as they are. A member that gives no number says nothing.
        even = -math.log(max(answers.shape[2], 1))
        return torch.cat([answers, tags]).transpose(0, 1).nan_to_num_(even, even, FLOOR).clamp_(min=FLOOR)

    def _answers(self, rows: Tensor, network: Tensor | None, newest: int) -> Iterator[Tensor]:
        """The log-probabilities of the members one after the other, each ``[members, batch, columns]``."""
        if self.trees is not None:
            yield self.trees(rows)
        encoded = self.encoding(rows)
        yield self.ridge(encoded)
        yield self.bank(encoded)
        yield self.neighbours(encoded[:, : self.features])
        yield self.labels(len(rows), newest)
        if network is not None:
            yield self.columns.narrowed(network).unsqueeze(0)

    def _among_others(self, rows: Tensor, network: Tensor | None, newest: int) -> tuple[Tensor, Tensor]:
        """The answer while there are classes that have no column: these are mixed as one more, in front."""
        columns, batch = self.columns, len(rows)
        novelty = math.log(columns.novelty(int(self.labels.learned)))
        other = rows.new_full((self.members - self.with_network, batch, 1), novelty)
        if network is None:
            unseen = rows.new_full((batch, columns.classes), -math.log(columns.classes - columns.count))
        else:
            unseen, mass = columns.unseen(network)
            other = torch.cat([other, mass.unsqueeze(0)])
        answers = torch.cat([other, torch.cat([*self._answers(rows, network, newest)])], 2)
        trace = self._trace(answers, newest)
        return columns.widened(self.mix(trace), unseen), trace

    def mix(self, trace: Tensor) -> Tensor:
        """A trace → logits ``[batch, width]``."""
        return torch.from_numpy(kernels.mix(rows_of(trace), *self.arrays()))

    def mix_each(self, trace: Tensor) -> Tensor:
        """What each set of weights makes of a trace: log-probabilities ``[batch, sets, width]``."""
        return torch.from_numpy(kernels.mix_each(rows_of(trace), self.arrays()[0]))

    def rely_on_network(self) -> None:
        """Answers as the network does alone, until others have shown that they do better: it was trained elsewhere."""
        self.weights.zero_()
        self.weights[:, -1] = 1

    def are_rare(self, ids: Tensor) -> Tensor:
        """Which labels ``[rows]`` are of a class that has been seen and belongs to the past."""
        columns = self.columns.of(ids)
        return self.labels.rare[columns.clamp(min=0)] & (columns >= 0)

    def continue_from(self, former: Mixture) -> tuple[Tensor, Tensor, Tensor]:
        """Goes on as one of the same rows with fewer fields, and answers these as that does.

        Returns:
            Where the numbers of its rows stand now, where the encoded ones do, and the slots of the neighbours that are kept.
        """
        self._make_room(former.columns.seen)
        places = torch.tensor(places_after(former.parts_of_row, self.parts_of_row), dtype=torch.int64)
        encoded = self.encoding.continue_from(former.encoding, places)
        self.ridge.continue_from(former.ridge, encoded)
        self.bank.continue_from(former.bank, encoded)
        if self.trees is not None and former.trees is not None:
            self.trees.continue_from(former.trees, places)
        slots = self.neighbours.continue_from(former.neighbours, places)
        self.neighbours.columns = former.neighbours.columns
        self.labels.load_state_dict(former.labels.state_dict())
        self.weights, self.trust = former.weights.clone(), former.trust.clone()
        return places, encoded, slots

    def add_classes(self, count: int) -> None:
        """Answers ``count`` more classes, of which nothing was seen."""
        self.columns.add_classes(count)

    def keep_classes(self, indices: Sequence[int]) -> None:
        """Answers some of the former classes alone, by their indices, in this order."""
        places = {index: place for place, index in enumerate(indices)}
        self.reclass([places.get(index) for index in range(self.classes)], len(indices))

    def reclass(self, indices: Sequence[int | None], classes: int) -> tuple[Tensor, Tensor] | None:
        """Gives classes other indices. What was learned of those that stay, stays; where a learner holds the mixture, call its.

        Args:
            indices: of each former class the new index; None where it is gone (:func:`driftline.spec.classes.class_indices`).
            classes: how many there are now.

        Returns:
            The columns that stay, and the slots of the neighbours that do; None where all of them do.
        """
        before = self.columns.count
        kept = self.columns.reclass(indices, classes)
        return self._select(kept) if len(kept) < before else None

    def _select(self, columns: Tensor) -> tuple[Tensor, Tensor]:
        for member in (self.ridge, self.bank, self.labels):
            member.select(columns)
        if self.trees is not None:
            self.trees.select(columns)
        return columns, self.neighbours.select(columns)

    def see(self, ids: Sequence[int]) -> None:
        """Gives classes a column, by their ids. Where a learner holds the mixture, it does."""
        for member in (self.ridge, self.bank, self.neighbours):
            member.add_columns(len(ids))
        if self.trees is not None:
            self.trees.add_columns(len(ids))
        self.labels.add_columns(len(ids), self.classes)
        self.columns.set(torch.cat([self.columns.seen, torch.tensor(ids, dtype=torch.int64)]))

    def _make_room(self, seen: Tensor) -> None:
        """Makes these the columns; where they are others than before, nothing was learned of them."""
        # A version that is swapped in has most often the columns of the one before: its memory is taken as it is.
        if not torch.equal(seen, self.columns.seen):
            self._select(torch.zeros(0, dtype=torch.int64))
            self.columns.set(seen[:0])
            self.see(seen.tolist())

    def fitted(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
        """Makes room for a state, of whichever layout, and gives it as it can be loaded.

        None where it is not that of a mixture like this; then there are no columns.
        """
        state = old_layout.converted(tensors)
        seen = state.get("columns.seen")
        if seen is not None and _are_ids(seen, self.classes):
            self._make_room(seen)
            if _shapes(state) == _shapes(self.state_dict()) and _are_columns(state, len(seen)):
                return state
        self._make_room(self.columns.seen[:0])
        return None

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *arguments: Any) -> None:
        """Makes room for as many columns as the state has, which may be of the layout of former releases."""
        own = {name.removeprefix(prefix): value for name, value in state_dict.items() if name.startswith(prefix)}
        state = old_layout.converted(own)
        state_dict.update({prefix + name: value for name, value in state.items()})
        if (seen := state.get("columns.seen")) is not None:
            self._make_room(seen)
        super()._load_from_state_dict(state_dict, prefix, *arguments)


def _first_weights(mixture: Mixture) -> Tensor:
    """How much each member weighs before any label ``[members]``."""
    start = torch.tensor(
        [USUAL] * (mixture.trees is not None)
        + [STRONG] * mixture.ridge.members
        + [USUAL] * (mixture.bank.members + mixture.neighbours.members)
        + [WEAK] * mixture.labels.members
        + [USUAL] * mixture.with_network
    )
    return start / start.sum()


def _arrays_of(mixture: Mixture) -> tuple[Any, ...]:
    trees = NO_TREES if mixture.trees is None else mixture.trees.arrays()
    kinds = (mixture.ridge, mixture.bank, mixture.neighbours, mixture.labels)
    return mixture.encoding.arrays(), trees, *(kind.arrays() for kind in kinds)


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in tensors.items()}


def _are_ids(seen: Tensor, classes: int) -> bool:
    """Whether these are ids of different classes."""
    found = set(seen.flatten().tolist())
    return seen.dim() == 1 and len(found) == len(seen) and all(0 <= number < classes for number in found)


def _are_columns(state: Mapping[str, Tensor], count: int) -> bool:
    """Whether whatever names a column names one of so many."""
    filled = int(state["neighbours.seen"].clamp(0, len(state["neighbours.targets"])))
    named = (state["neighbours.targets"][:filled], state["labels.successors"], state["labels.newest"].clamp(min=0))
    return all(bool(((each >= 0) & (each < max(count, 1))).all()) for each in named)
