"""Whether learning the new has cost the old, class by class, on examples that are never trained on."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from driftline.learning.stateful import Stateful


class Forgetting(Stateful):
    """The accuracy of each class at first, at its best, and now, over the held-out examples of the time.

    Classes with fewer than ``min_rows`` held-out rows are passed over.
    """

    STATE = ("first", "best", "now")
    DERIVED = ("min_rows",)

    def __init__(self, min_rows: int = 10) -> None:
        self.min_rows = min_rows
        self.first: dict[int | str, float] = {}
        self.best: dict[int | str, float] = {}
        self.now: dict[int | str, float] = {}

    def measure(self, errors: Tensor, targets: Tensor, names: Sequence[int | str]) -> None:
        """Takes errors (0 or 1) of the live version ``[rows]``; classes with too few rows are passed over."""
        self.now = {}
        for target in sorted(set(targets.tolist())):
            own = errors[targets == target]
            if len(own) < self.min_rows:
                continue
            accuracy = 1 - float(own.mean())
            name = names[target]
            self.now[name] = accuracy
            self.first.setdefault(name, accuracy)
            self.best[name] = max(accuracy, self.best.get(name, 0.0))

    def shown(self) -> dict[str, float]:
        """``forgetting``: how far classes have fallen below their best (Chaudhry et al. 2018), on average; and
        ``backward_transfer``: how far they have come since their first (Lopez-Paz & Ranzato 2017). Empty before the first.
        """
        if not self.now:
            return {}
        count = len(self.now)
        return {
            "forgetting": sum(self.best[name] - accuracy for name, accuracy in self.now.items()) / count,
            "backward_transfer": sum(accuracy - self.first[name] for name, accuracy in self.now.items()) / count,
        }
