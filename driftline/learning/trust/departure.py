"""A sequential test that a labeller departs from the others, with a bound on false alarms."""

from __future__ import annotations

import math

import msgspec

STAKES = (0.25, 0.5, 0.75)
"""Shares of what a test owns that it bets each time: small ones find slight departures, large ones find plain ones soon."""
RUN_LENGTH = 1e6
"""The mean number of comparisons until an honest labeller is taken for one that departs, at least."""
LIMIT = math.log(RUN_LENGTH)


class Departure(msgspec.Struct):
    """Bets that a labeller contradicts others more often than is expected, by more than a ``margin``.

    As long as it does not, what the test owns is a supermartingale at each stake, so that it is large only by chance (Ville's
    inequality; Waudby-Smith and Ramdas 2024). It begins again wherever it owns less than at first, and is then an e-detector,
    whose mean run length is ``RUN_LENGTH`` at least (Shin, Ramdas and Rinaldo 2024): :attr:`has_departed`.

    ``owned`` are the logarithms by stake, ``since`` is the log number of the label with which the present rise has begun, and
    ``before`` counts the comparisons before that.
    """

    margin: float
    owned: list[float] = msgspec.field(default_factory=lambda: [0.0] * len(STAKES))
    since: int = 0
    before: int = 0
    compared: int = 0

    def update(self, n: int, contradicts: float, expected: float) -> None:
        """Takes in whether label ``n`` contradicts others (1, else 0), and the rate that was expected."""
        if self.is_at_its_beginning:
            self.since, self.before = n, self.compared
        bound = min(expected + self.margin, 1.0)
        self.owned = [
            max(0.0, owned) + math.log1p(stake / bound * (contradicts - bound))
            for owned, stake in zip(self.owned, STAKES, strict=True)
        ]
        self.compared += 1

    @property
    def is_at_its_beginning(self) -> bool:
        """Whether it owns no more than at first, at any stake."""
        return max(self.owned) <= 0

    @property
    def has_departed(self) -> bool:
        """Whether what the test owns is beyond chance."""
        highest = max(self.owned)
        if highest < LIMIT:
            return False
        mean = sum(math.exp(owned - highest) for owned in self.owned) / len(self.owned)
        return highest + math.log(mean) >= LIMIT

    def begin_again(self) -> None:
        """Forgets what it has seen but for how much that was."""
        self.owned = [0.0] * len(STAKES)
