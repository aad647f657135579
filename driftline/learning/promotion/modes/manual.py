"""``manual``: an admin promotes."""

from __future__ import annotations

from driftline.learning.promotion.champions import Candidate, Champions, Promotion
from driftline.learning.promotion.gate import Comparison


def decide_manual(champions: Champions, candidate: Candidate, latest: Comparison | None) -> Promotion | None:
    """Nothing is decided here: a candidate waits for the command ``promote``."""
    return None
