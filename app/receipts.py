"""What a receipt says of a label."""

from __future__ import annotations

from typing import Any

from driftline.records import Item, Record, labeller_name
from driftline.store.facts import Known


def final_state(known: Known) -> dict[str, Any]:
    """The state of a label that was not learned or was revised, with what took its place; empty where it goes on."""
    if known.exception is None:
        return {}
    state, reason = known.exception
    if state == "revised":
        return {"state": state, "n": known.n, "revised_by": int(reason)}
    return {"state": state, "reason": reason}


def revised(known: Known) -> dict[str, Any]:
    """What a label has taken the place of, if it has."""
    if known.said is None or known.said.revises is None:
        return {}
    return {"n": known.n, "revises": known.said.revises}


def labeller_of(record: Record) -> dict[str, Any]:
    """Whom a label came from, where that is known."""
    if not isinstance(record, Item) or not (record.caller or record.source is not None):
        return {}
    return {"labeller": labeller_name(record.caller, record.source)}
