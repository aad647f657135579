"""Which examples are kept for replay, one policy a file."""

from __future__ import annotations

from typing import Any, ClassVar, TypeVar

from driftline.learning.runtime import Runtime
from driftline.learning.stateful import State
from driftline.spec.parts.replay_policies import ReplayPolicy
from driftline.spec.registry import Behaviours

R = TypeVar("R", bound=ReplayPolicy)


class PlacementPolicy(Runtime[R]):
    """A replay policy at work. ``seen`` counts the examples of each class, of a regression under class 0."""

    STATE: ClassVar[tuple[str, ...]] = ("seen",)
    DERIVED: ClassVar[tuple[str, ...]] = ("total_seen",)

    def __init__(self, parameters: R) -> None:
        super().__init__(parameters)
        self.seen: dict[int, int] = {}
        self.total_seen = 0

    @property
    def size(self) -> int:
        """How many examples are kept."""
        return self.parameters.size

    def place(self, label: int, keep: float, which: float) -> int | None:
        """The slot that a new example takes, counted from 0; None where it is not kept.

        Args:
            label: its class; 0 in a regression.
            keep: a draw from [0, 1) that decides whether it is kept.
            which: a draw from [0, 1) that decides whose place it takes.
        """
        self.seen[label] = self.seen.get(label, 0) + 1
        self.total_seen += 1
        return self._slot(label, keep, which)

    def _slot(self, label: int, keep: float, which: float) -> int | None:
        """What :meth:`place` gives; the example is counted already."""
        raise NotImplementedError

    def relabel(self, slot: int, former: int, label: int) -> None:
        """The example in a slot is of another class."""
        self.seen[former] = self.seen.get(former, 1) - 1
        self.seen[label] = self.seen.get(label, 0) + 1

    def load_state_dict(self, state: State) -> None:
        super().load_state_dict(state)
        self.total_seen = sum(self.seen.values())


PLACEMENT_POLICIES: Behaviours[ReplayPolicy, PlacementPolicy[Any]] = Behaviours(PlacementPolicy, __name__)


def placement_policy(policy: ReplayPolicy) -> PlacementPolicy[Any]:
    """A policy before its first example."""
    return PLACEMENT_POLICIES.of(policy)(policy)
