"""Looking at many things in turn, some at a time, so that what a look costs does not grow with their number."""

from __future__ import annotations

from collections.abc import Collection


class Turns:
    """Whose turn it is.

    Args:
        rounds: after so many looks each has had its turn.
        at_least: how many have their turn in each look.

    >>> turns = Turns(rounds=3, at_least=1)
    >>> turns.next("abcde", is_patient=True)  # the first look
    ['a', 'b', 'c', 'd', 'e']
    >>> turns.next("abcde", is_patient=True), turns.next("abcde", is_patient=True), turns.next("abcde", is_patient=True)
    (['a', 'b'], ['c', 'd'], ['e'])
    >>> turns.next("abcde", is_patient=False)
    ['a', 'b', 'c', 'd', 'e']
    """

    def __init__(self, rounds: int = 300, at_least: int = 8) -> None:
        self.rounds = rounds
        self.at_least = at_least
        self._left: list[str] = []
        self._is_beginning = True

    def begin_again(self) -> None:
        """All have their turn in the next look."""
        self._is_beginning = True

    def next(self, members: Collection[str], is_patient: bool) -> list[str]:
        """Those whose turn it is; all of them at the beginning, and where there is no patience."""
        if self._is_beginning and is_patient:
            self._is_beginning, is_patient = False, False
        if not is_patient:
            return list(members)
        left = [member for member in self._left if member in members] or list(members)
        count = max(self.at_least, -(-len(members) // self.rounds))
        self._left = left[count:]
        return left[:count]
