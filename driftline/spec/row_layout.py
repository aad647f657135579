"""How a row of fields is laid out: as the tensors that it is coded to, and as the features that it is encoded to.

It follows from the fields alone, so that every process, and every version of a model, has the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Final, Literal

from driftline.spec.parts.fields import (
    BooleanField,
    CategoryField,
    FieldsSpec,
    NumberField,
    RowField,
    TensorField,
    TextField,
    TimeField,
)
from driftline.spec.tensors import NumberType

NUMBERS: Final = "numbers"
CATEGORIES: Final = "categories"
TEXTS: Final = "texts"
STATISTICS: Final = "target statistics"
ROW: Final = "row"
"""What a network calls an encoded row."""

TEXT_TOKENS = 64
TEXT_FEATURES = 64
MAX_FLAGS = 16
PERIODS = (86_400.0, 7 * 86_400.0, 365.2425 * 86_400.0)
"""The day, the week and the year in seconds: each is two features of a time, on a circle."""


@dataclass(frozen=True)
class RowTensor:
    """One tensor of coded rows: the shape of a row, without the batch."""

    shape: list[int]
    dtype: NumberType | Literal["float64"]

    @property
    def size(self) -> int:
        """Numbers in one row."""
        return math.prod(self.shape)


class RowLayout:
    """The places of fields in coded and in encoded rows.

    Both consist of parts, one of all fields of a kind, in the order of the spec. A field that is added comes last, so that each
    part only grows at its end: a row that was coded before is the beginning of one as it is coded after.

    Coded rows are what is kept and replayed: ``numbers`` float64, where NaN is missing, of all numbers, booleans and times;
    ``categories`` int64, the key of each value; ``texts`` int64, the keys of the tokens; a tensor each for those fields;
    ``statistics`` float32, what was known of the row's values when it was learned (NaN: ask the encoder).
    """

    def __init__(self, fields: FieldsSpec) -> None:
        self.fields = fields
        self.targets = fields.statistics

    def _named(self, *kinds: type[RowField]) -> list[str]:
        return [name for name, field in self.fields.read.items() if isinstance(field, kinds)]

    @cached_property
    def quantities(self) -> list[str]:
        """The fields that are coded as a number, in the order of the spec."""
        return self._named(NumberField, BooleanField, TimeField)

    @cached_property
    def booleans(self) -> list[int]:
        """The places of the booleans among the quantities."""
        return [i for i, name in enumerate(self.quantities) if isinstance(self.fields.fields[name], BooleanField)]

    @cached_property
    def times(self) -> list[int]:
        """The places of the times among the quantities."""
        return [i for i, name in enumerate(self.quantities) if isinstance(self.fields.fields[name], TimeField)]

    @cached_property
    def numbers(self) -> list[str]:
        """The fields that are numbers."""
        return self._named(NumberField)

    @cached_property
    def categories(self) -> list[str]:
        return self._named(CategoryField)

    @cached_property
    def texts(self) -> list[str]:
        return self._named(TextField)

    @cached_property
    def tensor_fields(self) -> dict[str, TensorField]:
        return {name: field for name, field in self.fields.read.items() if isinstance(field, TensorField)}

    @cached_property
    def tensor_keys(self) -> dict[str, str]:
        """What the tensor of each such field is called among the coded ones: by its place, which no other name changes."""
        return {name: f"tensor {place}" for place, name in enumerate(self.tensor_fields)}

    @cached_property
    def pairs(self) -> list[tuple[int, int]]:
        """The places of the times whose distance is a feature: each and the one before it."""
        return list(zip(self.times, self.times[1:], strict=False))

    @cached_property
    def scaled(self) -> int:
        """Quantities that are scaled: all, the age of each time, and the distances between them."""
        return len(self.quantities) + len(self.times) + len(self.pairs)

    @cached_property
    def statistics(self) -> int:
        """Features that say how the target was, of each category and each text."""
        return self.targets * (len(self.categories) + len(self.texts))

    @cached_property
    def flags(self) -> int:
        """Features that say that a quantity is missing."""
        return min(MAX_FLAGS, len(self.quantities))

    @cached_property
    def marks(self) -> int:
        """Features that say which value a category has, of each of them."""
        return self.fields.marks

    @property
    def binned(self) -> int:
        """How many of the features, the first ones, are quantities; the others are marks."""
        return self.scaled + self.statistics + len(self.categories)

    @cached_property
    def parts(self) -> dict[str, int]:
        """The parts of an encoded row, in their order, with the features of each."""
        times, categories, texts = len(self.times), len(self.categories), len(self.texts)
        return {
            "quantities": len(self.quantities),
            "ages": times,
            "distances": len(self.pairs),
            "targets of categories": self.targets * categories,
            "targets of texts": self.targets * texts,
            "frequencies": categories,
            "flags": self.flags,
            "circles": 2 * len(PERIODS) * times,
            "marks": self.marks * categories,
            "words": TEXT_FEATURES * texts,
        }

    @cached_property
    def places(self) -> dict[str, slice]:
        """Where each of the parts stands in an encoded row."""
        ends = [*accumulate(self.parts.values())]
        return {name: slice(end - size, end) for (name, size), end in zip(self.parts.items(), ends, strict=True)}

    @cached_property
    def features(self) -> int:
        """Features of an encoded row."""
        return sum(self.parts.values())

    @cached_property
    def category_vectors(self) -> dict[int, list[int]]:
        """The places of the categories that have a trained vector, by its length."""
        return self._by_length(self.categories)

    @cached_property
    def text_vectors(self) -> dict[int, list[int]]:
        """The places of the texts that have a trained vector, by its length."""
        return self._by_length(self.texts)

    def _by_length(self, names: list[str]) -> dict[int, list[int]]:
        found: dict[int, list[int]] = {}
        for place, name in enumerate(names):
            length = self.fields.fields[name].embedding  # type: ignore[attr-defined]
            if length:
                found.setdefault(length, []).append(place)
        return found

    @cached_property
    def vectors(self) -> dict[str, int]:
        """The parts of a row that are trained vectors, those of equal length together, with the numbers of each part."""
        kinds = (("category", self.category_vectors), ("text", self.text_vectors))
        return {
            f"{kind} vectors of {length}": length * len(places)
            for kind, by_length in kinds
            for length, places in by_length.items()
        }

    @cached_property
    def tensor_parts(self) -> dict[str, int]:
        """The tensors among the fields by their keys, with the numbers of each."""
        return {key: math.prod(self.tensor_fields[name].shape) for name, key in self.tensor_keys.items()}

    @property
    def mixture_parts(self) -> dict[str, int]:
        """The parts of what a mixture of experts takes: trained vectors are the network's alone."""
        return self.parts | self.tensor_parts

    @property
    def network_parts(self) -> dict[str, int]:
        """The parts of what a network takes, all inputs one after the other."""
        return self.parts | self.vectors | self.tensor_parts

    @cached_property
    def tensors(self) -> dict[str, RowTensor]:
        """The tensors of a coded row by name."""
        found = {
            NUMBERS: RowTensor([len(self.quantities)], "float64"),
            CATEGORIES: RowTensor([len(self.categories)], "int64"),
            TEXTS: RowTensor([len(self.texts), TEXT_TOKENS], "int64"),
            STATISTICS: RowTensor([self.statistics], "float32"),
        }
        fields = self.tensor_fields
        tensors = {key: RowTensor(fields[name].shape, "float32") for name, key in self.tensor_keys.items()}
        return {name: tensor for name, tensor in found.items() if tensor.size} | tensors

    @cached_property
    def network_inputs(self) -> dict[str, RowTensor]:
        """What a network takes, by name: the encoded row with its trained vectors, and the tensors."""
        width = self.features + sum(self.vectors.values())
        row = {ROW: RowTensor([width], "float32")} if width else {}
        return row | {name: RowTensor(field.shape, "float32") for name, field in self.tensor_fields.items()}

    @cached_property
    def feature_names(self) -> list[str]:
        """A name for each feature of an encoded row."""
        times = [self.quantities[place] for place in self.times]
        pairs = [f"{self.quantities[b]} - {self.quantities[a]}" for a, b in self.pairs]
        return [
            *self.quantities,
            *(f"{name}: age" for name in times),
            *pairs,
            *(f"{name}: target {n}" for name in (*self.categories, *self.texts) for n in range(self.targets)),
            *(f"{name}: frequency" for name in self.categories),
            *(f"missing {n}" for n in range(self.flags)),
            *(f"{name}: {part}" for name in times for part in _CIRCLES),
            *(f"{name}: value {n}" for name in self.categories for n in range(self.marks)),
            *(f"{name}: words {n}" for name in self.texts for n in range(TEXT_FEATURES)),
        ]


_CIRCLES = tuple(f"{period} {part}" for period in ("hour", "weekday", "season") for part in ("sine", "cosine"))


def places_after(before: Mapping[str, int], after: Mapping[str, int]) -> list[int]:
    """Where the numbers of a row stand after parts have grown at their ends; a part that is new stands among the others."""
    first, found = 0, {}
    for name, size in after.items():
        found[name], first = range(first, first + before.get(name, 0)), first + size
    return [place for name in before for place in found[name]]


def shared_layout(one: RowLayout, other: RowLayout) -> RowLayout:
    """That of the first fields that both have, whatever these are called in each: maybe of none."""
    shared: dict[str, RowField] = {}
    for (name, field), (own_name, own) in zip(one.fields.read.items(), other.fields.read.items(), strict=False):
        if not {name, *field.aliases} & {own_name, *own.aliases} or not _is_coded_alike(field, own):
            break
        shared[own_name] = own
    return RowLayout(other.fields.model_copy(update={"fields": shared}))


def _is_coded_alike(one: RowField, other: RowField) -> bool:
    if isinstance(one, TensorField) and isinstance(other, TensorField):
        return one.shape == other.shape
    return one.type == other.type
