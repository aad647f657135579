"""Trees that are asked all at once answer as each would alone, and take and lose columns."""

from __future__ import annotations

import torch
from torch import Tensor

from driftline.networks.experts.trees import DEPTH, NODES, TREES, Trees


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def grown(outputs: int, features: int = 5) -> Trees:
    """Trees with questions and values at random; every fifth node was never split."""
    trees, generator = Trees(), torch.Generator().manual_seed(0)
    trees.add_columns(outputs)
    trees.features.copy_(torch.randint(features, trees.features.shape, generator=generator))
    asks = torch.rand(trees.cuts.shape, generator=generator) > 0.2
    trees.cuts.copy_(torch.where(asks, random(*trees.cuts.shape), trees.cuts))
    trees.values.copy_(random(*trees.values.shape))
    trees.base.copy_(random(outputs))
    return trees


def one_by_one(trees: Trees, row: Tensor) -> Tensor:
    """What is said of one row, node after node."""
    total = trees.base.clone()
    for tree in range(TREES):
        node = 0
        for _ in range(DEPTH):
            goes_right = row[trees.features[node, tree]] > trees.cuts[node, tree]
            node = 2 * node + 1 + int(goes_right)
        total += trees.values[tree, node - NODES]
    return total


def test_all_trees_at_once_answer_as_each_alone() -> None:
    trees, rows = grown(3), random(7, 5, seed=1)
    expected = torch.stack([one_by_one(trees, row) for row in rows])
    torch.testing.assert_close(trees.scores(rows), expected)
    torch.testing.assert_close(trees(rows)[0], expected.log_softmax(1))


def test_untrained_trees_and_trees_of_too_many_outputs_answer_evenly() -> None:
    for outputs in (1, 4, 70):
        trees = Trees()
        trees.add_columns(outputs)
        assert torch.equal(trees(random(2, 5)).exp(), torch.full((1, 2, outputs), 1 / outputs).log().exp())


def test_columns_that_come_leave_the_scores_of_the_others_and_those_that_go_take_theirs_along() -> None:
    trees, rows = grown(3), random(7, 5, seed=1)
    before = trees.scores(rows)
    trees.add_columns(2)
    torch.testing.assert_close(trees.scores(rows)[:, :3], before)
    trees.select(torch.tensor([2, 0]))
    torch.testing.assert_close(trees.scores(rows), before[:, [2, 0]])


def test_too_many_columns_take_no_room_and_few_again_begin_again() -> None:
    trees = grown(3)
    trees.add_columns(100)
    assert trees.is_silent and not trees.values.numel()
    trees.select(torch.tensor([1, 50]))
    assert not trees.is_silent and not trees.sums(random(2, 5)).any()
