"""The one protocol of parts that hold state while a model learns."""

from __future__ import annotations

from typing import ClassVar, TypeVar

from driftline.learning.stateful import Stateful
from driftline.registry import Behaviour, Part

P = TypeVar("P", bound=Part)


class Runtime(Behaviour[P], Stateful):
    """A part at work: its parameters, and its state as attributes that ``STATE`` names."""

    DERIVED: ClassVar[tuple[str, ...]] = ("parameters",)

    def on_error(self, error: float) -> None:
        """Takes in the error of the next prediction that was served."""
