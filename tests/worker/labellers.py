"""Labels of five labellers, of whom one lies."""

from __future__ import annotations

import msgspec

from driftline.records import Item

QUICK = {"strategy": "replay", "updates": 2, "input_detector": None}


def of_five(items: list[Item]) -> list[Item]:
    """The items, each from one of five keys in turn, of which the first says the other of two classes."""
    return [
        msgspec.structs.replace(item, caller=f"k{n % 5}", label=1 - int(item.label) if n % 5 == 0 else item.label)  # type: ignore[arg-type]
        for n, item in enumerate(items)
    ]
