"""States of a mixture as former releases wrote them: every class had a column, the transitions were a square, and there were no
trees.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from driftline.networks.experts.labels import MAX_SUCCESSORS, sparse
from driftline.networks.experts.trees import Trees

# What trees that have learned nothing begin to weigh beside members that have.
NEW = 0.03


def converted(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A mixture's tensors by name in the present layout, from that or from the former one. They answer the same.

    Of more than ``MAX_SUCCESSORS`` classes only the most frequent transitions from each are kept; the others are one rest.
    """
    return _with_trees(_with_columns(tensors))


def _with_trees(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    quantiles = tensors.get("encoding.quantiles")
    if quantiles is None or len(quantiles) < 2 or "trees.cuts" in tensors or "columns.seen" not in tensors:
        return dict(tensors)
    trees = Trees()
    trees.add_columns(len(tensors["columns.seen"]))
    weights = torch.nn.functional.pad(tensors["weights"], (1, 0), value=NEW)
    return {**tensors, "weights": weights, **{f"trees.{name}": value for name, value in trees.state_dict().items()}}


def _with_columns(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
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
