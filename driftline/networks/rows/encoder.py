"""From coded rows of fields to the features that a network and a mixture take."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

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
FREQUENCY = 5.0


class RowEncoder(nn.Module):
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
        self._booleans = np.array(layout.booleans, np.int64)
        self.vocabulary = Vocabulary(categories, layout.marks)
        self.values = TargetMeans(1, targets, not is_regression)
        self.words = TargetMeans(texts * BUCKETS, targets, not is_regression)

    def _apply(self, function: Any, recurse: bool = True) -> RowEncoder:
        """It stays where numpy computes, whichever device the network goes to."""
        return self

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
        arrays = {name: value.detach().cpu().numpy() for name, value in inputs.items()}
        rows, places = len(next(iter(arrays.values()))), self.layout.places
        features, entries = np.zeros((rows, self.layout.features), np.float32), np.zeros((rows, 0), np.int64)
        if NUMBERS in arrays:
            self._write_numbers(arrays[NUMBERS], features)
        if CATEGORIES in arrays:
            entries = self.vocabulary.entries(arrays[CATEGORIES])
            frequencies = features[:, places["frequencies"]]
            np.log1p(self.values.counts.numpy().take(entries), out=frequencies)
            frequencies /= np.float32(FREQUENCY)
            self.vocabulary.mark(entries, features, places["marks"].start)
        if STATISTICS in self.layout.tensors:
            first, last = places["targets of categories"].start, places["targets of texts"].stop
            features[:, first:last] = self._statistics(arrays, entries)
        if TEXTS in arrays:
            features[:, places["words"]] = _projected(arrays[TEXTS])
        found = {FEATURES: torch.from_numpy(features), CATEGORIES: torch.from_numpy(entries)}
        return found | ({TEXTS: inputs[TEXTS]} if TEXTS in inputs else {})

    def statistics(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """How the target was, until now, with the values of rows ``[rows, statistics]``."""
        arrays = {name: value.numpy() for name, value in inputs.items() if name in (CATEGORIES, TEXTS)}
        entries = np.zeros((len(next(iter(inputs.values()))), 0), np.int64)
        if CATEGORIES in arrays:
            entries = self.vocabulary.entries(arrays[CATEGORIES])
        return torch.from_numpy(self._statistics(arrays, entries))

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

    def _quantities(self, numbers: NDArray[np.float64]) -> NDArray[np.float64]:
        if not self.layout.times:
            return numbers
        times = numbers[:, self.layout.times]
        first, second = [a for a, _ in self.layout.pairs], [b for _, b in self.layout.pairs]
        return np.concatenate([numbers, self.newest.numpy() - times, numbers[:, second] - numbers[:, first]], 1)

    def _write_numbers(self, numbers: NDArray[np.float64], features: NDArray[np.float32]) -> None:
        """Writes what follows from numbers ``[rows, quantities]`` into its places of the features, which are zero."""
        layout = self.layout
        features[:, : layout.scaled] = self.scale.scaled(self._quantities(numbers))
        if layout.booleans:
            # A boolean is -1 or 1, however rare one of them is.
            signs = 2 * numbers[:, self._booleans] - 1
            features[:, self._booleans] = np.where(np.isnan(signs), 0.0, signs)
        flags = self.flags.numpy()
        flagged = np.flatnonzero(flags >= 0)
        if len(flagged):
            features[:, layout.places["flags"].start + flags[flagged]] = np.isnan(numbers[:, flagged])
        if layout.times:
            features[:, layout.places["circles"]] = self._circles(numbers)

    def _statistics(self, arrays: Mapping[str, NDArray[Any]], entries: NDArray[np.int64]) -> NDArray[np.float32]:
        """Those that a row brings, of when it was learned; else those of now."""
        brought = arrays.get(STATISTICS)
        if brought is not None and not np.isnan(brought).any():
            known: NDArray[np.float32] = brought
            return known
        now = _flat(self.values.of(entries))
        if TEXTS in arrays:
            now = np.concatenate([now, _flat(self._of_words(arrays[TEXTS]))], 1)
        return now if brought is None else np.where(np.isnan(brought), now, brought)

    def _of_words(self, tokens: NDArray[np.int64]) -> NDArray[np.float32]:
        """What the words of texts ``[rows, texts, tokens]`` say together, as naive Bayes has it ``[rows, texts, targets]``."""
        is_token = tokens > 0
        each = self.words.of(_buckets(tokens)) * is_token[..., None]
        # Words are not independent of each other: their sum would be far too sure.
        total: NDArray[np.float32] = each.sum(2) / np.sqrt(np.maximum(is_token.sum(2), 1, dtype=np.float32))[..., None]
        return total

    def _circles(self, numbers: NDArray[np.float64]) -> NDArray[np.float32]:
        """Where in the day, the week and the year each time is."""
        times = numbers[:, self.layout.times]
        angles = [np.mod(times, period) * (2 * np.pi / period) for period in PERIODS]
        around = np.stack([part(angle) for angle in angles for part in (np.sin, np.cos)], 2)
        flat = around.reshape(len(numbers), 2 * len(PERIODS) * times.shape[1])
        found: NDArray[np.float32] = np.nan_to_num(flat, nan=0.0).astype(np.float32)
        return found

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


def _flat(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """``[rows, …]`` → ``[rows, numbers]``, also of no row."""
    return values.reshape(len(values), int(np.prod(values.shape[1:])))


def _buckets(tokens: NDArray[np.int64]) -> NDArray[np.int64]:
    """The entry of each token ``[rows, texts, tokens]``: each text has its own."""
    return tokens % BUCKETS + np.arange(tokens.shape[1])[:, None] * BUCKETS


def _projected(tokens: NDArray[np.int64]) -> NDArray[np.float32]:
    """Tokens ``[rows, texts, tokens]`` as a few numbers of length 1 (signed hashing, Weinberger et al. 2009)."""
    rows, texts, _ = tokens.shape
    found = np.zeros((rows * texts, TEXT_FEATURES), np.float32)
    flat = tokens.reshape(rows * texts, tokens.shape[2])
    where, place = np.nonzero(flat)
    key = flat[where, place]
    np.add.at(found, (where, key % TEXT_FEATURES), np.where(key >> 20 & 1, np.float32(1), np.float32(-1)))
    length = np.sqrt((found**2).sum(1, keepdims=True))
    # Features of the size of the others: a text of length 1 would have tiny ones.
    found *= np.sqrt(TEXT_FEATURES) / 2 / np.maximum(length, 1e-6)
    return found.reshape(rows, texts * TEXT_FEATURES)
