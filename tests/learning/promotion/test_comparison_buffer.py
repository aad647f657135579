"""Labels wait for a comparison, one by one or several at once."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from driftline.learning.examples import Examples
from driftline.learning.promotion.comparison_buffer import ComparisonBuffer

SIZE = 12


def rows(first: int, count: int) -> tuple[Examples, Tensor]:
    """Examples whose number, input and error are all the same."""
    numbers = torch.arange(first, first + count)
    found = Examples({"inputs": numbers.float().unsqueeze(1)}, numbers % 2, torch.ones(count), {}, numbers)
    return found, numbers.float()


def filled(sizes: list[int]) -> ComparisonBuffer:
    buffer, first = ComparisonBuffer(rows(0, 0)[0], SIZE), 1
    for count in sizes:
        buffer.add(*rows(first, count))
        first += count
    return buffer


@pytest.mark.parametrize("sizes", [[1] * 30, [30], [7, 1, 0, 22], [29, 1], [1, 0, 1], []])
def test_the_newest_labels_are_kept_with_their_errors_however_they_come(sizes: list[int]) -> None:
    buffer, last = filled(sizes), sum(sizes)
    expected = list(range(max(1, last - SIZE + 1), last + 1))
    assert buffer.examples.numbers.tolist() == buffer.errors.tolist() == expected
    assert buffer.examples.inputs["inputs"].flatten().tolist() == expected


def test_labels_that_come_after_some_were_left_out_or_cleared_are_kept_with_their_errors() -> None:
    buffer = filled([1] * 5)
    buffer.leave_out(torch.tensor([2, 4]))
    buffer.add(*rows(6, 2))
    assert buffer.examples.numbers.tolist() == buffer.errors.tolist() == [1, 3, 5, 6, 7]
    buffer.clear()
    buffer.add(*rows(8, 1))
    assert buffer.examples.numbers.tolist() == buffer.errors.tolist() == [8]
