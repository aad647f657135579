"""What lives on of a parameter is found where the map says, also over several changes."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from driftline.networks.parameter_map import ParameterBlock, along_axis, compose


def moved(
    tensors: dict[str, torch.Tensor], parameter_map: list[ParameterBlock], shapes: dict[str, tuple[int, ...]]
) -> dict[str, torch.Tensor]:
    """New parameters with what lives on of old ones, and zeros."""
    found = {name: torch.zeros(shape) for name, shape in shapes.items()}
    for block in parameter_map:
        block.copy(tensors[block.old], found[block.new])
    return found


def test_a_block_is_copied_on_every_axis() -> None:
    old, new = torch.arange(12.0).reshape(3, 4), torch.zeros(2, 5)
    ParameterBlock("a", "b", ([2, 0], [1, 3]), ([0, 1], [4, 0])).copy(old, new)
    assert new.tolist() == [[11, 0, 0, 0, 9], [3, 0, 0, 0, 1]]


def test_an_axis_that_is_not_given_is_whole() -> None:
    old, new = torch.arange(6.0).reshape(2, 3), torch.zeros(4, 3)
    along_axis("a", "a", 0, [0, 1], [3, 0]).copy(old, new)
    assert new.tolist() == [[3, 4, 5], [0, 0, 0], [0, 0, 0], [0, 1, 2]]
    number = torch.zeros(())
    ParameterBlock("a", "a").copy(torch.tensor(5.0), number)
    assert number.item() == 5


def test_one_parameter_may_have_blocks_of_several() -> None:
    blocks = [along_axis("a", "c", 1, [0, 1], [0, 1]), along_axis("b", "c", 1, [0], [2])]
    found = moved({"a": torch.ones(2, 2), "b": torch.full((2, 1), 2.0)}, blocks, {"c": (2, 3)})
    assert found["c"].tolist() == [[1, 1, 2], [1, 1, 2]]


@st.composite
def changes(draw: st.DrawFn, old: tuple[int, int]) -> tuple[ParameterBlock, tuple[int, int]]:
    """A block between ``[rows, columns]`` and another such shape."""
    new = (draw(st.integers(1, 4)), draw(st.integers(1, 4)))
    source: list[list[int] | None] = []
    target: list[list[int] | None] = []
    for before, after in zip(old, new, strict=True):
        if before == after and draw(st.booleans()):
            source.append(None)
            target.append(None)
            continue
        count = draw(st.integers(0, min(before, after)))
        source.append(draw(st.permutations(range(before)))[:count])
        target.append(draw(st.permutations(range(after)))[:count])
    return ParameterBlock("a", "a", tuple(source), tuple(target)), new


@given(st.data())
@settings(max_examples=100)
def test_two_changes_are_as_one(data: st.DataObject) -> None:
    first, middle = data.draw(changes((3, 4)))
    second, last = data.draw(changes(middle))
    old = {"a": torch.arange(1.0, 13.0).reshape(3, 4)}
    stepwise = moved(moved(old, [first], {"a": middle}), [second], {"a": last})
    at_once = moved(old, compose([first], [second]), {"a": last})
    assert torch.equal(stepwise["a"], at_once["a"])
