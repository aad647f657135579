"""Corrections: a label that takes the place of the live one of its fact."""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from driftline.errors import InvalidInput
from driftline.records import Item, Label, Revised
from driftline.store.facts import Expectation, fact_of, said_by
from driftline.store.log import Log
from driftline.store.owners import shown_name


class Correction(Protocol):
    """What of an item as it was sent is its own, beside its label."""

    weight: float
    source: str | None
    time: float | None


def unknown_item(name: str) -> InvalidInput:
    """The error of a revision of what no label is known of."""
    shown = shown_name(name)
    message = f"there is no label of {shown!r} to revise, or it is too old; send it with its inputs"
    return InvalidInput(message, code="unknown_item", field="id", value=shown)


async def revision(
    log: Log, name: str, label: Label, sent: Correction, item: Item | InvalidInput
) -> tuple[Item, Expectation]:
    """The record that takes the place of its fact's live label, and what it takes for granted about it.

    A first label is one like any other. What cannot be joined any more has the row and the answer of the former label, for as
    long as the log holds that.

    Args:
        name: the id that the record goes by.
        item: the record as a first label, or why it cannot be one.

    Raises:
        InvalidInput: the fact is not known, or the row is not, or the former label.
    """
    former = None if isinstance(item, Item) else await _kept(log, name, item)
    fact = fact_of(item if isinstance(item, Item) else former)  # type: ignore[arg-type]
    live = await log.find_fact(fact)
    if isinstance(item, Item) and live is not None and live[0] == item.id:
        # Whatever else it brings, it goes by the id of a label, and is about what that is about.
        entry = await log.get(live[1].n)
        about = fact if entry is None else fact_of(entry.record)
        if about != fact:
            fact, item = about, msgspec.structs.replace(item, fact=about)
            live = await log.find_fact(fact)
    if live is None:
        if isinstance(item, InvalidInput):
            raise item
        return item, Expectation("0")
    live_id, known = live
    if known.exception is not None and known.exception[0] == "forgotten":
        shown = shown_name(name)
        message = f"what was known of {shown!r} was erased; it is taken again once its id is no longer recognised"
        raise InvalidInput(message, code="forgotten", field="id", value=shown)
    said = known.said
    if said is None or former is not None:
        entry = await log.get(known.n)
        if entry is None or not isinstance(entry.record, Item):
            raise unknown_item(name)
        former, said = entry.record, said_by(entry.record)
    assert said is not None
    if not isinstance(item, Item):
        assert former is not None
        own: dict[str, Any] = {"label": label, "weight": sent.weight, "source": sent.source, "time": sent.time}
        item = msgspec.structs.replace(former, id=name, fact="" if fact == name else fact, revises=None, **own)
    is_learned = known.exception is None or known.exception[0] == "revised"
    first = said.first or known.n
    revises = Revised(known.n, said.label, said.weight, 0 if first == known.n else first) if is_learned else None
    return msgspec.structs.replace(item, revises=revises), Expectation(str(known.n), live_id, first)


async def _kept(log: Log, name: str, reason: InvalidInput) -> Item:
    """The label that goes by an id, which the log still holds; ``reason`` where it does not."""
    known = await log.find(name)
    entry = None if known is None else await log.get(known.n)
    if entry is None or not isinstance(entry.record, Item):
        raise reason
    return entry.record
