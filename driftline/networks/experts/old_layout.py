"""States of a mixture as former releases wrote them: every class had a column, and the transitions were a square."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from driftline.networks.experts.labels import MAX_SUCCESSORS, sparse


def converted(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A mixture's tensors by name in the present layout, from that or from the former one. They answer the same.

    Of more than ``MAX_SUCCESSORS`` classes only the most frequent transitions from each are kept; the others are one rest.
    """
    if "columns.seen" in tensors or "labels.counts" not in tensors:
        return dict(tensors)
    counts, classes = tensors["labels.counts"], len(tensors["labels.counts"])
    successors, rest = torch.zeros(0, 0, dtype=torch.int64), torch.zeros(0)
    if classes > MAX_SUCCESSORS:
        counts, successors, rest = sparse(counts, MAX_SUCCESSORS)
    return {
        **tensors,
        "columns.seen": torch.arange(classes),
        "labels.counts": counts,
        "labels.successors": successors,
        "labels.rest": rest,
        "labels.learned": tensors["neighbours.seen"].clone(),
    }
