"""Classes by type and name, and the indices by which they are counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


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


class ClassTable:
    """The classes that a model has ever known, in the order in which they came. Their places are their ids, for good.

    A class that is no longer answered keeps its id, and has it again when it comes back.

    >>> table = ClassTable(["a", "b"])
    >>> table.add(["b", 1])
    [1, 2]
    >>> table.id_of("1") is None
    True
    """

    def __init__(self, names: Sequence[int | str] = ()) -> None:
        self.names: list[int | str] = []
        self._ids: dict[tuple[type, object], int] = {}
        self.add(names)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def ids(self) -> Mapping[tuple[type, object], int]:
        """The id of each class by its type and name: ``1`` is not the class ``"1"``."""
        return self._ids

    def id_of(self, name: object) -> int | None:
        """The id of a class; None where it was never known."""
        return self._ids.get((type(name), name))

    def add(self, names: Sequence[int | str]) -> list[int]:
        """Makes classes known, and gives their ids."""
        for name in names:
            if (type(name), name) not in self._ids:
                self._ids[type(name), name] = len(self.names)
                self.names.append(name)
        return [self._ids[type(name), name] for name in names]

    def forget_since(self, count: int) -> None:
        """Forgets all but the first ``count`` classes: what they were added for did not happen."""
        for name in self.names[count:]:
            del self._ids[type(name), name]
        del self.names[count:]
