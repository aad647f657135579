"""Rows of fields, encoded; and the means of the target that their values have had."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import types

from driftline.networks.kernels.compiled import D1, D2, F1, F2, FLAG, FLOAT, I1, I2, INT, inner, kernel

I3 = types.Array(types.int64, 3, "C")
PLAN = types.Tuple((I1, I1, I2, I1, D1))
"""The places of booleans and of times among the quantities, the pairs of times, where each part of a row begins, and the
periods of which a time has a place."""
QUANTITIES = types.Tuple((D1, D1, D1, I1))
"""Centre and width of each quantity, the newest value of each time, and the place of each quantity's flag."""
VOCABULARY = types.Tuple((I1, I1, I1, I1))
"""The slots of :func:`index`, the keys of entries, the salt of each category, and the mark of each entry."""
MEANS = types.Tuple((F1, F2, F1))
"""The labels of each entry, the means of the target with it, and those of all, with their labels behind."""
BOTH_MEANS = types.Tuple((MEANS, MEANS))
"""Those of values, and those of words."""

AGES, DISTANCES, OF_CATEGORIES, OF_TEXTS, FREQUENCIES, FLAGS, CIRCLES, MARKS, WORDS = range(1, 10)
"""The parts of a row, in their order, after the quantities."""
LINEAR, FARTHEST = 3.0, 10.0
"""In widths: up to where a quantity counts as it is, and the most that it counts."""
FREQUENCY = np.float32(5)
SMALLEST = np.float32(0.01)
"""The least share of which log-odds are taken."""
ZERO, ONE = np.float32(0), np.float32(1)


@kernel(I1)
def index(keys: Any) -> Any:
    """The entries of keys, where :func:`entry_of` looks for them; 0 where there is none. Entry 0 has no key."""
    size = 4
    while size < 2 * len(keys):
        size *= 2
    slots = np.zeros(size, np.int64)
    for entry in range(1, len(keys)):
        slot = keys[entry] & (size - 1)
        while slots[slot]:
            slot = (slot + 1) & (size - 1)
        slots[slot] = entry
    return slots


@inner
def entry_of(key: int, slots: Any, keys: Any) -> int:
    """The entry of a key; 0 where it has none."""
    last = len(slots) - 1
    slot = key & last
    while slots[slot] and keys[slots[slot]] != key:
        slot = (slot + 1) & last
    return int(slots[slot])


@inner
def entries_found(categories: Any, vocabulary: Any) -> Any:
    """The entries of the values of categories ``[rows, categories]``, by their keys."""
    slots, keys, salts, _ = vocabulary
    found = np.empty(categories.shape, np.int64)
    for row in range(len(categories)):
        for place in range(categories.shape[1]):
            found[row, place] = entry_of(categories[row, place] ^ salts[place], slots, keys)
    return found


@kernel(I2, VOCABULARY)
def entries_of(categories: Any, vocabulary: Any) -> Any:
    """:func:`entries_found`."""
    return entries_found(categories, vocabulary)


@inner
def scaled(value: float, centre: float, width: float) -> Any:
    """A quantity less its centre, in widths; beyond some of them by the logarithm of what it is more; 0 where it is missing."""
    found = (value - centre) / width
    if np.isnan(found):
        return ZERO
    far = abs(found)
    if far > LINEAR:
        far = min(LINEAR + np.log1p(far - LINEAR), FARTHEST)
        found = -far if found < 0 else far
    return np.float32(found)


@kernel(D2, D1, D1)
def scaled_columns(values: Any, centre: Any, width: Any) -> Any:
    """Each of the quantities ``[rows, columns]`` :func:`scaled`."""
    out = np.empty(values.shape, np.float32)
    for row in range(len(values)):
        for column in range(values.shape[1]):
            out[row, column] = scaled(values[row, column], centre[column], width[column])
    return out


@inner
def write_quantities(numbers: Any, plan: Any, quantities: Any, out: Any) -> None:
    """Writes what follows from the numbers ``[quantities]`` of one row into its features."""
    booleans, times, pairs, starts, periods = plan
    centre, width, newest, flags = quantities
    for place in range(len(numbers)):
        out[place] = scaled(numbers[place], centre[place], width[place])
        if flags[place] >= 0 and np.isnan(numbers[place]):
            out[starts[FLAGS] + flags[place]] = ONE
    for i in range(len(booleans)):
        value = numbers[booleans[i]]
        out[booleans[i]] = ZERO if np.isnan(value) else np.float32(2 * value - 1)
    for i in range(len(times)):
        place = starts[AGES] + i
        out[place] = scaled(newest[i] - numbers[times[i]], centre[place], width[place])
        write_circles(numbers[times[i]], periods, out[starts[CIRCLES] + 2 * len(periods) * i :])
    for i in range(len(pairs)):
        place = starts[DISTANCES] + i
        out[place] = scaled(numbers[pairs[i, 1]] - numbers[pairs[i, 0]], centre[place], width[place])


@inner
def write_circles(time: float, periods: Any, out: Any) -> None:
    """Writes where a time is in each of the periods: a sine and a cosine."""
    if np.isnan(time):
        return
    for i in range(len(periods)):
        angle = (time % periods[i]) * (2 * math.pi / periods[i])
        out[2 * i], out[2 * i + 1] = np.sin(angle), np.cos(angle)


@inner
def log_odds(share: Any) -> Any:
    """The log-odds of a share, which is held away from 0 and 1."""
    inside = min(max(share, SMALLEST), ONE - SMALLEST)
    return np.log(inside / (ONE - inside))


@inner
def told(entry: int, target: int, means: Any, strength: Any, is_share: bool) -> Any:
    """How one number of the target is with an entry, beside how it is in all; shares as log-odds."""
    counts, own, prior = means
    held = (counts[entry] * own[entry, target] + strength * prior[target]) / (counts[entry] + strength)
    return log_odds(held) - log_odds(prior[target]) if is_share else held - prior[target]


@inner
def write_told_of_values(entries: Any, means: Any, strength: Any, is_share: bool, brought: Any, out: Any) -> None:
    """Writes how the target is with the values of one row ``[categories]``, where the row does not bring that itself."""
    targets = means[1].shape[1]
    for place in range(len(entries)):
        for target in range(targets):
            i = place * targets + target
            out[i] = brought[i]
            if np.isnan(brought[i]):
                out[i] = told(entries[place], target, means, strength, is_share)


@inner
def write_told_of_words(tokens: Any, means: Any, strength: Any, is_share: bool, brought: Any, out: Any) -> None:
    """Writes what the words of the texts of one row ``[texts, tokens]`` say together, as naive Bayes has it.

    Words are not independent of each other: their sum would be far too sure.
    """
    targets, buckets = means[1].shape[1], len(means[0]) // max(len(tokens), 1)
    for place in range(len(tokens)):
        for target in range(targets):
            i = place * targets + target
            out[i] = brought[i]
            if not np.isnan(brought[i]):
                continue
            total, count = ZERO, 0
            for token in tokens[place]:
                if token:
                    total += told(token % buckets + place * buckets, target, means, strength, is_share)
                    count += 1
            out[i] = total / np.sqrt(np.float32(max(count, 1)))


@inner
def write_words(tokens: Any, sketch: int, out: Any) -> None:
    """Writes the texts of one row ``[texts, tokens]`` as a few numbers each (signed hashing, Weinberger et al. 2009)."""
    for place in range(len(tokens)):
        own = out[place * sketch : (place + 1) * sketch]
        for token in tokens[place]:
            if token:
                own[token % sketch] += ONE if token >> 20 & 1 else -ONE
        squares = 0.0
        for i in range(sketch):
            squares += own[i] * own[i]
        # Features of the size of the others: a text of length 1 would have tiny ones.
        factor = np.sqrt(sketch) / 2 / max(np.sqrt(squares), 1e-6)
        for i in range(sketch):
            own[i] = np.float32(own[i] * factor)


@inner
def write_told(entries: Any, texts: Any, means: Any, strength: Any, is_share: bool, brought: Any, out: Any) -> None:
    """Writes how the target is with the values of one row ``[categories]``, and with its texts, where that is not brought."""
    values, words = means
    of_values = len(entries) * values[1].shape[1]
    write_told_of_values(entries, values, strength, is_share, brought[:of_values], out[:of_values])
    write_told_of_words(texts, words, strength, is_share, brought[of_values:], out[of_values:])


@kernel(I2, I3, F2, VOCABULARY, BOTH_MEANS, FLOAT, FLAG)
def statistics(
    categories: Any, texts: Any, brought: Any, vocabulary: Any, means: Any, strength: Any, is_share: bool
) -> Any:
    """How the target is with the values of rows ``[rows, statistics]``: as is ``brought``; where that is NaN, as of now."""
    out = np.empty(brought.shape, np.float32)
    entries = entries_found(categories, vocabulary)
    for row in range(len(out)):
        write_told(entries[row], texts[row], means, strength, is_share, brought[row], out[row])
    return out


@kernel(D2, I2, I3, F2, PLAN, QUANTITIES, VOCABULARY, BOTH_MEANS, FLOAT, FLAG, INT, INT)
def encode(
    numbers: Any,
    categories: Any,
    texts: Any,
    brought: Any,
    plan: Any,
    quantities: Any,
    vocabulary: Any,
    means: Any,
    strength: Any,
    is_share: bool,
    features: int,
    sketch: int,
) -> Any:
    """Coded rows as features ``[rows, features]``, and the entries of their values ``[rows, categories]``.

    Args:
        numbers: ``[rows, quantities]``, NaN where one is missing.
        categories: the keys of values ``[rows, categories]``.
        texts: the keys of tokens ``[rows, texts, tokens]``, 0 where there is none.
        brought: what was known of the target when a row was learned ``[rows, statistics]``; where that is NaN, it is as of now.
        strength: how many labels the mean of all counts for.
        is_share: whether targets are shares.
        features: how many there are.
        sketch: features that a text has of its words.
    """
    starts, marks_of, counts = plan[3], vocabulary[3], means[0][0]
    entries = entries_found(categories, vocabulary)
    out = np.zeros((len(numbers), features), np.float32)
    for row in range(len(out)):
        found = out[row]
        write_quantities(numbers[row], plan, quantities, found)
        told = found[starts[OF_CATEGORIES] : starts[OF_CATEGORIES] + brought.shape[1]]
        write_told(entries[row], texts[row], means, strength, is_share, brought[row], told)
        for place in range(entries.shape[1]):
            entry = entries[row, place]
            found[starts[FREQUENCIES] + place] = np.log1p(counts[entry]) / FREQUENCY
            if marks_of[entry] >= 0:
                found[starts[MARKS] + marks_of[entry]] = ONE
        write_words(texts[row], sketch, found[starts[WORDS] :])
    return out, entries


@kernel(I1, F2, F1, F1, F2, FLOAT)
def follow(entries: Any, targets: Any, weights: Any, counts: Any, means: Any, memory: Any) -> None:
    """Takes labels into the ``means`` ``[entries, targets]`` and their ``counts``, all those of an entry at once.

    Args:
        entries: of each label, the entry ``[labels]``.
        targets: ``[labels, targets]``.
        weights: how much each counts ``[labels]``.
        memory: over how many of its labels a mean goes.
    """
    order = np.argsort(entries, kind="mergesort")
    totals = np.empty(targets.shape[1], np.float64)
    first = 0
    while first < len(order):
        entry, end, weight = entries[order[first]], first, 0.0
        totals[:] = 0
        while end < len(order) and entries[order[end]] == entry:
            label = order[end]
            weight += weights[label]
            for target in range(len(totals)):
                totals[target] += weights[label] * targets[label, target]
            end += 1
        first = end
        if weight > 0:
            own = np.float32(weight)
            counts[entry] = min(counts[entry] + own, memory)
            share = min(own / counts[entry], ONE)
            for target in range(len(totals)):
                means[entry, target] += share * (np.float32(totals[target]) / own - means[entry, target])
