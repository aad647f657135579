"""What a gate mode is."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from driftline.learning.promotion.champions import Candidate, Champions, Promotion
from driftline.learning.promotion.gate import Comparison

Decide: TypeAlias = Callable[[Champions, Candidate, Comparison | None], Promotion | None]
"""The gate over what the stream has taught: from a candidate, and from the comparison on the newest labels where one is due.

None where somebody or something else decides later.
"""
