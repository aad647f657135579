"""A learner that takes the place of another, to which no step leads."""

from __future__ import annotations

import msgspec


class Replacement(msgspec.Struct, frozen=True):
    """What goes with a replaced learner: what has learned record ``first``, checkpoints and the versions ``retired``.

    ``checkpoint`` is the manifest of its own, from which alone a recovery may begin.
    """

    first: int
    retired: list[int]
    checkpoint: str = ""
