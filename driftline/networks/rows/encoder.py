"""From coded rows of fields to the features that a network and a mixture take."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from driftline.networks.kernels import rows as kernels
from driftline.networks.kernels.views import BufferViews, OnCpu
from driftline.networks.rows.scale import RobustScale
from driftline.networks.rows.target_means import TargetMeans, folded
from driftline.networks.rows.vocabulary import Vocabulary
from driftline.networks.unit_change import UnitChange
from driftline.spec.row_layout import (
    CATEGORIES,
    MAX_FLAGS,
    NUMBERS,
    PERIODS,
    STATISTICS,
    TEXT_FEATURES,
    TEXTS,
    RowLayout,
    places_after,
)

FEATURES = "features"
BUCKETS = 2**13

Arrays = tuple[NDArray[Any], ...]


class RowEncoder(OnCpu):
    """Encodes rows; what it knows of them it learns from labelled rows alone, in :meth:`observe`.

    Args:
        layout: the places of the fields.
        is_regression: whether the target is a number, not a class.
    """

    newest: Tensor
    flags: Tensor

    def __init__(self, layout: RowLayout, is_regression: bool) -> None:
        super().__init__()
        self.layout = layout
        self.is_regression = is_regression
        categories, texts, targets = len(layout.categories), len(layout.texts), layout.targets
        self.scale = RobustScale(layout.scaled)
        self.target_scale = RobustScale(targets) if is_regression else None
        self.register_buffer("newest", torch.zeros(len(layout.times), dtype=torch.float64))
        # The place of each quantity's flag: one that has been missing gets the next.
        self.register_buffer("flags", torch.full((len(layout.quantities),), -1, dtype=torch.int64))
        plain = [place for place in range(len(layout.quantities)) if place not in (*layout.booleans, *layout.times)]
        # Booleans and times have no unit that could change.
        self._numbers = torch.tensor([place in plain for place in range(len(layout.quantities))], dtype=torch.bool)
        self._plan, self._parts = _plan(layout), _parts(layout)
        self._views: BufferViews[tuple[Arrays, Arrays, tuple[Arrays, Arrays]]] = BufferViews()
        self.vocabulary = Vocabulary(categories, layout.marks)
        self.values = TargetMeans(1, targets, not is_regression)
        self.words = TargetMeans(texts * BUCKETS, targets, not is_regression)

    @torch.no_grad()
    def widened(self, layout: RowLayout) -> RowEncoder:
        """The same, of rows with the fields of a ``layout``: of those that come last in it, and are new, it knows nothing."""
        wider = RowEncoder(layout, self.is_regression)
        state = wider.state_dict()
        quantities = places_after(self.layout.parts, layout.parts)[: self.layout.scaled]
        for name, value in self.state_dict().items():
            if name.startswith("scale.") and value.shape != state[name].shape:
                state[name][..., quantities] = value
            elif name.startswith(("vocabulary.", "values.")):
                state[name] = value.clone()
            else:
                state[name][tuple(slice(size) for size in value.shape)] = value
        wider.load_state_dict(state)
        return wider

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Coded rows, as :class:`driftline.spec.row_layout.RowLayout` has them, encoded.

        Returns:
            ``features`` ``[rows, features]``; ``categories`` ``[rows, categories]``, the entries of the values; ``texts``
            ``[rows, texts, tokens]``, the keys of the tokens.
        """
        numbers, categories, texts, brought = self._coded(inputs)
        quantities, vocabulary, means = self._arrays()
        features, entries = kernels.encode(
            numbers,
            categories,
            texts,
            brought,
            self._plan,
            quantities,
            vocabulary,
            means,
            self.values.strength,
            self.values.is_share,
            self.layout.features,
            TEXT_FEATURES,
        )
        found = {FEATURES: torch.from_numpy(features), CATEGORIES: torch.from_numpy(entries)}
        return found | ({TEXTS: inputs[TEXTS]} if TEXTS in inputs else {})

    def statistics(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """How the target was, until now, with the values of rows ``[rows, statistics]``."""
        _, categories, texts, brought = self._coded({name: inputs[name] for name in inputs if name != STATISTICS})
        _, vocabulary, means = self._arrays()
        strength, is_share = self.values.strength, self.values.is_share
        found = kernels.statistics(categories, texts, brought, vocabulary, means, strength, is_share)
        return torch.from_numpy(found)

    def _coded(self, inputs: Mapping[str, Tensor]) -> Iterator[NDArray[Any]]:
        """All parts of coded rows, of which some may have no column; NaN where it is not known how the target was."""
        rows = len(next(iter(inputs.values())))
        for name, shape, dtype, missing in self._parts:
            given = inputs.get(name)
            if given is None:
                yield np.full((rows, *shape), missing, dtype)
            else:
                yield np.ascontiguousarray(given.cpu().numpy())

    def _arrays(self) -> tuple[Arrays, Arrays, tuple[Arrays, Arrays]]:
        """The state of quantities, of the vocabulary, and of values and words, as kernels take it."""
        owners = (self, self.scale, self.vocabulary, self.values, self.words)
        return self._views.of([buffer for own in owners for buffer in own._buffers.values()], self._made_arrays)  # type: ignore[misc]

    def _made_arrays(self) -> tuple[Arrays, Arrays, tuple[Arrays, Arrays]]:
        quantities = (self.scale.centre, self.scale.width, self.newest, self.flags)
        means = (self.values.arrays, self.words.arrays)
        return tuple(each.numpy() for each in quantities), self.vocabulary.arrays, means

    def watched(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Each field by its name ``[rows]``: numbers, and entries of values; tensors as they are. Times always move."""
        layout, found = self.layout, {}
        for place, name in enumerate(layout.quantities):
            if place not in layout.times:
                found[name] = inputs[NUMBERS][:, place]
        if CATEGORIES in inputs:
            entries = torch.from_numpy(self.vocabulary.entries(inputs[CATEGORIES].numpy()))
            found |= {name: entries[:, place] for place, name in enumerate(layout.categories)}
        return found | {name: inputs[key] for name, key in layout.tensor_keys.items()}

    def timeless(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Rows without their times, which always move: what is made of them moves with them."""
        if not self.layout.times:
            return dict(inputs)
        numbers = inputs[NUMBERS].clone()
        numbers[:, self.layout.times] = torch.nan
        return {**inputs, NUMBERS: numbers}

    def _quantities(self, numbers: NDArray[np.float64]) -> NDArray[np.float64]:
        if not self.layout.times:
            return numbers
        times = numbers[:, self.layout.times]
        first, second = [a for a, _ in self.layout.pairs], [b for _, b in self.layout.pairs]
        return np.concatenate([numbers, self.newest.numpy() - times, numbers[:, second] - numbers[:, first]], 1)

    def observe(self, inputs: Mapping[str, Tensor], targets: Tensor, weights: Tensor) -> UnitChange | None:
        """Learns from rows with their labels; gives which numbers have come into another unit, if any have.

        Args:
            targets: the ids of classes ``[rows]``, values ``[rows, outputs]``, or which of several classes ``[rows, classes]``.
            weights: ``[rows]``, how much each counts; one of weight 0 is not seen.
        """
        counts = weights > 0
        arrays = {name: value[counts].numpy() for name, value in inputs.items()}
        weight = weights[counts].numpy()
        if not len(weight):
            return None
        change = self._observe_numbers(arrays[NUMBERS]) if NUMBERS in arrays else None
        wanted = self._targets(targets[counts].numpy())
        if CATEGORIES in arrays:
            self._make_room(self.vocabulary.add(arrays[CATEGORIES]))
        self._observe_targets(arrays, wanted, weight)
        return change

    def ordered_statistics(
        self, inputs: Mapping[str, Tensor], targets: Tensor, weights: Tensor, at_once: int = 32
    ) -> Tensor:
        """How the target was with the values of rows, by the rows before them alone ``[rows, statistics]``.

        For rows that were learned before, in their order: what is known now of their values holds their own labels.
        """
        past = copy.deepcopy(self)
        for means in (past.values, past.words):
            for state in (means.counts, means.means, means.prior):
                state.zero_()
        found = []
        for first in range(0, len(targets), at_once):
            some = slice(first, first + at_once)
            rows = {name: value[some] for name, value in inputs.items() if name in (CATEGORIES, TEXTS)}
            found.append(past.statistics(rows))
            arrays = {name: value.numpy() for name, value in rows.items()}
            past._observe_targets(arrays, past._targets(targets[some].numpy()), weights[some].numpy())
        return torch.cat(found) if found else torch.zeros(0, self.layout.statistics)

    def _observe_targets(
        self, arrays: Mapping[str, NDArray[Any]], wanted: NDArray[np.float32], weight: NDArray[np.float32]
    ) -> None:
        if CATEGORIES in arrays:
            entries = self.vocabulary.entries(arrays[CATEGORIES])
            many = entries.shape[1]
            self.values.observe(entries.ravel(), wanted.repeat(many, 0), weight.repeat(many))
        self.values.observe_all(wanted, weight)
        if TEXTS in arrays:
            tokens = arrays[TEXTS]
            rows, texts, places = np.nonzero(tokens)
            self.words.observe(_buckets(tokens)[rows, texts, places], wanted[rows], weight[rows])
            self.words.observe_all(wanted, weight)

    def _observe_numbers(self, numbers: NDArray[np.float64]) -> UnitChange | None:
        newest, times = self.newest.numpy(), numbers[:, self.layout.times]
        if times.size:
            # fmax passes over what is missing.
            np.copyto(newest, np.fmax(np.where(newest == 0, np.nan, newest), np.fmax.reduce(times)))
            np.nan_to_num(newest, copy=False, nan=0.0)
        change = self.scale.observe(self._quantities(numbers))
        flags = self.flags.numpy()
        for place in np.flatnonzero(np.isnan(numbers).any(0) & (flags < 0)):
            taken = int(flags.max()) + 1
            if taken < MAX_FLAGS:
                flags[place] = taken
        return None if change is None else change.of(self._numbers)

    def _targets(self, targets: NDArray[Any]) -> NDArray[np.float32]:
        """Labels as the means take them ``[rows, targets]``: values scaled; of classes the shares of the second one and on."""
        if self.target_scale is not None:
            values = targets.astype(np.float64).reshape(len(targets), -1)
            values = values[:, np.arange(self.layout.targets) % values.shape[1]]
            self.target_scale.observe(values)
            return self.target_scale.scaled(values)
        if targets.ndim == 2:
            return folded(targets, self.layout.targets)
        found = np.zeros((len(targets), self.layout.targets), np.float32)
        rows = np.flatnonzero(targets > 0)
        found[rows, (targets[rows] - 1) % self.layout.targets] = 1
        return found

    def _make_room(self, entries: int) -> None:
        means = self.values
        if entries > len(means.counts):
            means.counts = nn.functional.pad(means.counts, (0, entries - len(means.counts)))
            means.means = nn.functional.pad(means.means, (0, 0, 0, entries - len(means.means)))

    def fitted(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
        """Makes room for a state, and gives it as it can be loaded; None where it is not that of an encoder like this."""
        keys, marks = tensors.get("vocabulary.keys"), tensors.get("vocabulary.marks_of")
        if keys is None or marks is None or keys.dim() != 1 or keys.shape != marks.shape or not len(keys):
            return None
        self.vocabulary.keys, self.vocabulary.marks_of = torch.zeros_like(keys), torch.full_like(marks, -1)
        self.values.counts = torch.zeros(len(keys))
        self.values.means = torch.zeros(len(keys), self.layout.targets)
        return dict(tensors)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *arguments: Any) -> None:
        self.fitted({name.removeprefix(prefix): value for name, value in state_dict.items() if name.startswith(prefix)})
        super()._load_from_state_dict(state_dict, prefix, *arguments)


def _buckets(tokens: NDArray[np.int64]) -> NDArray[np.int64]:
    """The entry of each token ``[rows, texts, tokens]``: each text has its own."""
    return tokens % BUCKETS + np.arange(tokens.shape[1])[:, None] * BUCKETS


def _plan(layout: RowLayout) -> Arrays:
    """The places of a layout, as kernels take them."""
    starts = [layout.places[name].start for name in layout.parts]
    places = (layout.booleans, layout.times, np.reshape(layout.pairs, (-1, 2)), starts)
    return *(np.array(each, np.int64) for each in places), np.array(PERIODS)


def _parts(layout: RowLayout) -> list[tuple[str, list[int], str, float]]:
    """The tensors of coded rows as kernels take them: name, shape of a row, type, and what stands where there is nothing."""
    empty = {
        NUMBERS: ([0], "float64", 0.0),
        CATEGORIES: ([0], "int64", 0.0),
        TEXTS: ([0, 0], "int64", 0.0),
        STATISTICS: ([layout.statistics], "float32", np.nan),
    }
    return [(name, shape, dtype, missing) for name, (shape, dtype, missing) in empty.items()]
