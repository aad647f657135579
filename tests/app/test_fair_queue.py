"""Whoever floods a queue waits behind himself."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from app.fair_queue import FairQueue


@dataclass(eq=False)
class Request:
    asker: str
    count: int = 1


def filled(*requests: Request) -> FairQueue[Request]:
    queue = FairQueue[Request]()
    for request in requests:
        queue.append(request)
    return queue


def test_one_caller_has_its_turn_before_the_flood_of_another() -> None:
    flood, one = [Request("a", 3) for _ in range(1000)], Request("b", 2)
    queue = filled(*flood)
    queue.take()
    queue.append(one)
    assert [queue.take() for _ in range(2)] in ([one, flood[1]], [flood[1], one])


def test_rows_are_shared_evenly_while_two_ask() -> None:
    queue = filled(*(Request("large", 10) for _ in range(50)), *(Request("small", 1) for _ in range(500)))
    rows = Counter[str]()
    while rows.total() < 400:
        taken = queue.take()
        rows[taken.asker] += taken.count
    assert abs(rows["large"] - rows["small"]) <= 20


def test_whoever_has_most_gives_way_to_whoever_has_less() -> None:
    flood = [Request("a", 2) for _ in range(5)]
    queue = filled(*flood, Request("b"))
    assert queue.give_way("a", 1) is None, "nobody else has more"
    assert queue.give_way("c", 10) is None, "it would have as much itself"
    assert queue.give_way("c", 1) is flood[-1] and queue.rows == 9
    queue.append(Request("c"))
    assert len([queue.take() for _ in range(len(queue))]) == 6 and queue.rows == 0


DEEDS = st.lists(
    st.tuples(st.sampled_from(["ask", "take", "way"]), st.sampled_from("abc"), st.integers(1, 9)), max_size=60
)


@given(DEEDS)
@settings(max_examples=100)
def test_nothing_is_lost_or_answered_twice_and_each_callers_order_stays(deeds: list[tuple[str, str, int]]) -> None:
    queue, waiting = FairQueue[Request](), list[Request]()
    for deed, asker, count in deeds:
        if deed == "ask":
            waiting.append(Request(asker, count))
            queue.append(waiting[-1])
        elif deed == "take" and waiting:
            expected = queue.next
            taken = queue.take()
            assert taken is expected is next(each for each in waiting if each.asker == taken.asker)
            waiting.remove(taken)
        elif deed == "way" and (gone := queue.give_way(asker, count)) is not None:
            assert gone.asker != asker and gone is [each for each in waiting if each.asker == gone.asker][-1]
            waiting.remove(gone)
        assert queue.rows == sum(each.count for each in waiting) and set(queue) == set(waiting)
