"""What is fuzzed: a function that takes any bytes, and bytes that it is known to take, from which others are made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from driftline.errors import DriftlineError


class FuzzTarget(NamedTuple):
    """``read`` may refuse what it is given, by an error that is the sender's; anything else that it raises is a fault."""

    name: str
    read: Callable[[bytes], None]
    seeds: Sequence[bytes]

    def __call__(self, data: bytes) -> None:
        try:
            self.read(data)
        except DriftlineError as error:
            if error.status >= 500:
                raise
