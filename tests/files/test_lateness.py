"""The delays of history: how many further rows had come when a label became known."""

from __future__ import annotations

import random

import pytest

from driftline.errors import InvalidInput
from driftline.files.lateness import CountedLateness, HistoryRow, SortedLateness, TimedLateness, in_order


def rows(*moments: tuple[float, float]) -> list[HistoryRow]:
    return [HistoryRow(number, str(number), b"{}", *each) for number, each in enumerate(moments, start=1)]


@pytest.mark.parametrize("delay", [0, 1, 3, 100])
def test_a_counted_delay_ends_with_the_file(delay: int) -> None:
    found = list(in_order(rows(*[(0, 0)] * 6), CountedLateness(delay)))
    assert [(row.number, late) for row, late in found] == [(number, min(delay, 6 - number)) for number in range(1, 7)]


def expected(history: list[HistoryRow]) -> list[tuple[int, int]]:
    """By the definition: the rows that came before the label was known."""
    history = sorted(history, key=lambda row: row.came)
    return [
        (row.number, sum(later.came < row.known for later in history[place + 1 :])) for place, row in enumerate(history)
    ]


@pytest.mark.parametrize("max_bytes", [1 << 30, 2000, 0])
def test_a_delay_by_times_is_the_rows_that_came_before_the_label_was_known(max_bytes: int) -> None:
    draw = random.Random(3)
    come = sorted(draw.randrange(100) for _ in range(200))
    history = rows(*[(float(moment), moment + draw.choice([0.0, 1.5, 20.0, 500.0])) for moment in come])
    found = [(row.number, late) for row, late in in_order(history, TimedLateness("at", max_bytes))]
    assert found == expected(history)


def test_a_file_that_is_not_in_order_is_sorted_where_it_fits() -> None:
    history = rows(*[(float(-place % 7), float(-place % 7) + 2) for place in range(50)])
    found = [(row.number, late) for row, late in in_order(history, TimedLateness("at"))]
    assert found == expected(history)
    with pytest.raises(InvalidInput, match=r"row 3: at goes back here or before.*sort the file by at first"):
        list(in_order(history, TimedLateness("at", 0)))


def test_rows_may_be_sorted_by_time_and_their_labels_late_by_count() -> None:
    history = rows(*[(float(moment), float(moment)) for moment in (3, 1, 2, 1)])
    found = [(row.number, late) for row, late in in_order(history, SortedLateness("at", 2))]
    assert found == [(2, 2), (4, 2), (3, 1), (1, 0)]


def test_a_stream_holds_only_the_rows_whose_labels_are_open() -> None:
    lateness = TimedLateness("at", 0)
    most = 0
    sent = 0
    for handed, row in enumerate(rows(*[(float(place), place + 10.5) for place in range(2000)]), start=1):
        sent += sum(1 for _ in lateness.put(row))
        most = max(most, handed - sent)
    assert most <= 12 and sent + sum(1 for _ in lateness.end()) == 2000
