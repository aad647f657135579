"""Classes by type and name, and the indices by which they are counted."""

from __future__ import annotations

from collections.abc import Sequence


def indices_of(classes: Sequence[int | str]) -> dict[tuple[type, object], int]:
    """The index of each class by its type and name: ``1`` is not the class ``"1"``."""
    return {(type(name), name): index for index, name in enumerate(classes)}


def class_indices(before: Sequence[int | str], now: Sequence[int | str]) -> list[int | None]:
    """The index that each class of ``before`` has ``now``; None where it is gone.

    >>> class_indices(["a", "b", 1], ["a", 1, "c"])
    [0, None, 1]
    """
    index_of = indices_of(now)
    return [index_of.get((type(name), name)) for name in before]


def are_in_place(indices: Sequence[int | None]) -> bool:
    """Whether every class has the index that it had."""
    return all(index == place for place, index in enumerate(indices))


def added(before: Sequence[int | str], now: Sequence[int | str]) -> list[int | str]:
    """The classes of ``now`` that are not among those of ``before``, in their order."""
    return [name for name, index in zip(now, class_indices(now, before), strict=True) if index is None]
