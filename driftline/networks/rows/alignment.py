"""Rows that were coded for fewer fields than a model has, or for more."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from driftline.spec.row_layout import CATEGORIES, NUMBERS, STATISTICS, TEXTS, RowLayout

UNKNOWN = {NUMBERS: math.nan, CATEGORIES: 0, TEXTS: 0, STATISTICS: math.nan}
"""What stands where a field is missing, and where it is not known how the target was with its value."""


@dataclass(frozen=True)
class OtherFields:
    """Brings kept rows to a ``layout`` of other fields; what they had of fields that are not among the ``shared`` ones goes."""

    shared: RowLayout
    layout: RowLayout

    def of_inputs(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Rows as the layout has them."""
        return aligned(inputs, self.layout, self.shared)

    def of_targets(self, targets: Tensor) -> Tensor:
        """The labels stay."""
        return targets


def aligned(inputs: dict[str, Tensor], layout: RowLayout, shared: RowLayout | None = None) -> dict[str, Tensor]:
    """Rows as a layout has them: fields that they were not coded for are missing in them, others are left out.

    Since added fields come last, the columns that both have are the first ones.

    Args:
        shared: the fields whose values are kept; all that come, if not given.
    """
    kept = shared or layout
    if shared is None and _fits(inputs, layout):
        return inputs
    rows = len(next(iter(inputs.values())))
    found = {}
    for name, tensor in layout.tensors.items():
        place = torch.full((rows, *tensor.shape), UNKNOWN.get(name, 0.0), dtype=getattr(torch, tensor.dtype))
        if name == STATISTICS:
            _copy_statistics(inputs, layout, kept, place)
        elif name in UNKNOWN and name in inputs and name in kept.tensors:
            columns = min(inputs[name].shape[1], kept.tensors[name].shape[0])
            place[:, :columns] = inputs[name][:, :columns]
        elif name in inputs and name in kept.tensors:
            place = inputs[name]
        found[name] = place
    return found


def _fits(inputs: Mapping[str, Tensor], layout: RowLayout) -> bool:
    """Whether rows are coded as a layout has them; they need not bring statistics."""
    for name, tensor in layout.tensors.items():
        given = inputs.get(name)
        if given is None:
            if name != STATISTICS:
                return False
        elif name in UNKNOWN and given.shape[1] != tensor.shape[0]:
            return False
    return inputs.keys() <= layout.tensors.keys()


def _copy_statistics(inputs: Mapping[str, Tensor], layout: RowLayout, kept: RowLayout, place: Tensor) -> None:
    """Copies those of categories, then those of texts: each is a part that grows at its own end."""
    if STATISTICS not in inputs:
        return
    targets = layout.targets
    own, first = 0, 0
    for name, known, wanted in (
        (CATEGORIES, len(kept.categories), len(layout.categories)),
        (TEXTS, len(kept.texts), len(layout.texts)),
    ):
        given = inputs[name].shape[1] if name in inputs else 0
        columns = targets * min(given, known)
        place[:, own : own + columns] = inputs[STATISTICS][:, first : first + columns]
        own, first = own + targets * wanted, first + targets * given
