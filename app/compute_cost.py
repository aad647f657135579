"""Whether a batch is so small a piece of work that the event loop does it itself."""

from __future__ import annotations

from collections import deque
from statistics import median


class ComputeCost:
    """How long the batches of one model have taken, by their size.

    To wake a thread and be woken by it takes longer than a small model needs to answer. So a batch is computed on the event
    loop once ``measured`` ones of its size have taken no longer than ``most_seconds``, by their median; sizes are told apart by
    powers of two. One that held the loop for ``far_too_long`` sends its model back to the thread for the next ``penalty``
    batches, whatever it was that took so long.
    """

    def __init__(
        self, most_seconds: float = 3e-4, *, measured: int = 16, far_too_long: float = 1e-2, penalty: int = 1000
    ) -> None:
        self.most_seconds, self.measured = most_seconds, measured
        self.far_too_long, self.penalty = far_too_long, penalty
        self._seconds: dict[int, deque[float]] = {}
        self._are_small: dict[int, bool] = {}
        self._to_wait = 0

    def is_small(self, rows: int) -> bool:
        """Whether the loop computes a batch of so many rows."""
        return not self._to_wait and self._are_small.get(rows.bit_length(), False)

    def add(self, rows: int, seconds: float, was_on_loop: bool) -> None:
        """Takes in how long a batch of so many rows took."""
        self._to_wait = max(0, self._to_wait - 1)
        if was_on_loop and seconds > self.far_too_long:
            self._to_wait = self.penalty
        size = rows.bit_length()
        seen = self._seconds.setdefault(size, deque(maxlen=self.measured))
        seen.append(seconds)
        self._are_small[size] = len(seen) == self.measured and median(seen) <= self.most_seconds
