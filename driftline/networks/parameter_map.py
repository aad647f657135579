"""Where the numbers of old parameters are found in new ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn

Positions: TypeAlias = Sequence[int] | None


@dataclass(frozen=True)
class ParameterBlock:
    """A block of the old parameter ``old`` that lives on as a block of the new parameter ``new``.

    ``source`` and ``target`` give the block's positions on each axis; None, or an axis that is not given, stands for all of
    them. A new parameter may have blocks from several old ones.
    """

    old: str
    new: str
    source: tuple[Positions, ...] = ()
    target: tuple[Positions, ...] = ()

    def copy(self, source: Tensor, target: Tensor) -> None:
        """Writes the block of ``source`` over that of ``target``."""
        if self.source or self.target:
            target[_grid(target, self.target)] = source[_grid(source, self.source)]
        else:
            target.copy_(source)

    def along_first_axis(self) -> ParameterBlock:
        """The same of what has a number for each position on the first axis."""
        return ParameterBlock(self.old, self.new, self.source[:1], self.target[:1])


def along_axis(old: str, new: str, axis: int, source: Positions, target: Positions) -> ParameterBlock:
    """Some positions of one axis, and all of the others."""
    rest = (None,) * axis
    return ParameterBlock(old, new, (*rest, source), (*rest, target))


def identity_map(module: nn.Module) -> list[ParameterBlock]:
    """Every parameter of a module, as it is."""
    return [ParameterBlock(name, name) for name, _ in module.named_parameters()]


def _grid(tensor: Tensor, positions: Sequence[Positions]) -> tuple[Tensor, ...]:
    """Indices of a block, one tensor an axis, that broadcast against each other (as ``numpy.ix_`` gives them)."""
    padded = [*positions, *(None,) * (tensor.dim() - len(positions))]
    chosen = [range(size) if given is None else given for size, given in zip(tensor.shape, padded, strict=True)]
    return tuple(
        torch.tensor(list(places), dtype=torch.int64).reshape(-1, *(1,) * (tensor.dim() - axis - 1))
        for axis, places in enumerate(chosen)
    )


def compose(first: Sequence[ParameterBlock], second: Sequence[ParameterBlock]) -> list[ParameterBlock]:
    """What lives on over two changes, one after the other."""
    return [
        block for later in second for earlier in first if earlier.new == later.old for block in _joined(earlier, later)
    ]


def _joined(earlier: ParameterBlock, later: ParameterBlock) -> Iterator[ParameterBlock]:
    axes = max(len(earlier.target), len(later.source))
    source, target = [], []
    for axis in range(axes):
        places = _meeting(*(_at(block, axis) for block in (earlier.source, earlier.target, later.source, later.target)))
        if places is not None and not places[0]:
            return
        source.append(places and places[0])
        target.append(places and places[1])
    yield ParameterBlock(earlier.old, later.new, tuple(source), tuple(target))


def _at(block: tuple[Positions, ...], axis: int) -> Positions:
    return block[axis] if axis < len(block) else None


def _meeting(
    source: Positions, middle: Positions, again: Positions, target: Positions
) -> tuple[Sequence[int], Sequence[int]] | None:
    """Positions that pass both changes on one axis: ``source`` → ``middle``, and of these ``again`` → ``target``."""
    if middle is None or source is None:
        return None if again is None or target is None else (again, target)
    if again is None or target is None:
        return source, middle
    came_from = dict(zip(middle, source, strict=True))
    pairs = [(came_from[place], to) for place, to in zip(again, target, strict=True) if place in came_from]
    return [old for old, _ in pairs], [new for _, new in pairs]
