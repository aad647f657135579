"""How far the labels of one labeller are trusted beside those of others."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from driftline.spec.parse import Frozen


class LabellerTrust(Frozen):
    """What happens to labels of a labeller, an API key or a ``source`` within it, that departs from the others.

    ``quarantine`` keeps them and does not learn them; ``tell`` only raises an alarm; ``off`` compares nobody. One that has
    agreed before is on hold for ``hold`` labels of others, and quarantined if these have not borne it out by then. ``share``
    is the most of the newest 1,000 labels' weight that one labeller may have; null: what its labels are of all.
    """

    mode: Literal["quarantine", "tell", "off"] = Field(
        "quarantine", description="what follows where a labeller departs"
    )
    hold: int = Field(
        1000, ge=0, le=1_000_000, description="labels of others that may yet bear out one that has agreed before"
    )
    share: float | None = Field(
        None, gt=0, lt=1, description="the most influence of one labeller; null: its share of labels"
    )
