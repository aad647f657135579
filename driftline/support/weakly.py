"""Methods that do not keep their object alive."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar
from weakref import WeakMethod

P = ParamSpec("P")
R = TypeVar("R")


def weakly(method: Callable[P, R]) -> Callable[P, R]:
    """A bound method for what its object owns: otherwise both would stay in memory until the next full collection."""
    reference = WeakMethod(method)

    def called(*args: P.args, **named: P.kwargs) -> R:
        found = reference()
        assert found is not None, "its owner calls it"
        result: R = found(*args, **named)
        return result

    return called
