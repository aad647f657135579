"""State by declaration."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any, ClassVar

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from driftline.learning.stateful import State, Stateful, copied, undeclared


class Inner(Stateful):
    STATE = ("count", "window")
    DERIVED = ("size",)

    def __init__(self, size: int) -> None:
        self.size = size
        self.count = 0
        self.window: deque[float] = deque(maxlen=size)


class Outer(Stateful):
    STATE: ClassVar[tuple[str, ...]] = ("inner", "weights", "module", "sums", "seen", "places", "name")

    def __init__(self) -> None:
        self.inner = Inner(2)
        self.weights = torch.zeros(3)
        self.module = nn.Linear(2, 1)
        self.sums: dict[str, torch.Tensor] = {}
        self.seen: set[int] = set()
        self.places: dict[int, list[int]] = {}
        self.name: str | None = None


class Wider(Outer):
    STATE = ("more",)

    def __init__(self) -> None:
        super().__init__()
        self.more = (1, 2)


def filled() -> Wider:
    found = Wider()
    found.inner.count = 3
    found.inner.window.extend([0.5, 1.5, 2.5])
    found.weights, found.sums = torch.tensor([1.0, 2.0, 3.0]), {"a": torch.ones(2), "b.c": torch.zeros(1)}
    found.seen, found.places, found.name = {3, 1}, {7: [1, 2]}, "n"
    return found


def same(one: State, other: State) -> bool:
    return (
        one.data == other.data
        and one.tensors.keys() == other.tensors.keys()
        and all(torch.equal(value, other.tensors[name]) for name, value in one.tensors.items())
    )


def test_an_object_goes_on_from_its_state() -> None:
    one, other = filled(), Wider()
    other.load_state_dict(one.state_dict())
    assert same(one.state_dict(), other.state_dict())
    assert other.inner.window == deque([1.5, 2.5]) and other.inner.window.maxlen == 2
    assert (other.seen, other.places, other.name, other.more) == ({1, 3}, {7: [1, 2]}, "n", (1, 2))
    assert other.sums.keys() == {"a", "b.c"}


def test_empty_containers_come_back_empty() -> None:
    one, other = Wider(), filled()
    other.load_state_dict(one.state_dict())
    assert (other.sums, other.seen, other.places, other.name) == ({}, set(), {}, None)


def test_tensors_that_come_back_are_the_objects_own() -> None:
    one, other = filled(), Wider()
    other.load_state_dict(one.state_dict())
    one.weights.zero_()
    assert other.weights.tolist() == [1, 2, 3]


def test_an_attribute_that_nobody_declared_is_found() -> None:
    found = filled()
    assert not undeclared(found) and not undeclared(found.inner)
    found.inner.extra = 1  # type: ignore[attr-defined]
    assert undeclared(found.inner) == {"extra"}


PLAIN_DATA: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner),
)


def containers(value: Any) -> Iterator[int]:
    """The identities of all that could be changed in plain data."""
    if isinstance(value, list | dict):
        yield id(value)
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ():
        yield from containers(each)


@given(PLAIN_DATA)
def test_a_copy_of_plain_data_is_equal_and_shares_nothing(value: Any) -> None:
    other = copied(value)
    assert repr(other) == repr(value)
    assert set(containers(other)).isdisjoint(containers(value))
