"""Who decides about a candidate, one gate mode a file."""

from __future__ import annotations

from driftline.learning.promotion.modes.auto import decide_auto
from driftline.learning.promotion.modes.base import Decide
from driftline.learning.promotion.modes.canary import decide_canary
from driftline.learning.promotion.modes.manual import decide_manual

MODES: dict[str, Decide] = {
    "auto": decide_auto,
    "canary": decide_canary,
    "manual": decide_manual,
    # What is compared is up to Champions.compare: with the gate off, nothing but whether weights are finite.
    "off": decide_auto,
}
