"""Labelled feedback: parsed, joined with its prediction, and appended to the log."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import msgspec

from driftline.api.feedback import Status
from driftline.errors import Conflict, DriftlineError, InvalidInput
from driftline.ingest.feedback_items import FeedbackDecoder, Sent, identifier, named, sent_id
from driftline.ingest.revisions import revision, unknown_item
from driftline.records import Item, Label, Route
from driftline.rows.rows import Rows
from driftline.store.facts import ANYTHING, Expectation, Said, fact_of_key
from driftline.store.log import Cursor, Log, mark
from driftline.store.owners import EVERYTHING, Access, owner_of, shown_name, stored_name
from driftline.store.prediction_ids import PredictionId
from driftline.store.predictions import Found, PredictionReader

# The order of the fields of a row is formatting.
_encoder = msgspec.msgpack.Encoder(order="deterministic")


class Joined(NamedTuple):
    """An item with all that the learner needs of the world, and when its prediction was made, by the clock of Redis."""

    item: Item
    made_at: float | None = None


@dataclass(frozen=True)
class ItemOutcome:
    """The outcome for one item that was sent: its id and log number, or the error."""

    id: str | None
    status: Status
    n: int | None = None
    error: DriftlineError | None = None


def no_context(predicted: str) -> str:
    """The context of an item that belongs to no trace."""
    return ""


async def append(
    log: Log,
    predictions: PredictionReader,
    decoder: FeedbackDecoder,
    raw: Sequence[bytes],
    ids: Sequence[str] | None = None,
    cursor: Cursor | None = None,
    context: Callable[[str], str] = no_context,
    may_weigh: bool = True,
    caller: str = "",
    before_append: Callable[[Sequence[ItemOutcome | None]], Awaitable[None]] | None = None,
    max_errors: int | None = None,
    access: Access = EVERYTHING,
) -> list[ItemOutcome]:
    """Appends items to the log; each succeeds or fails by itself.

    Args:
        raw: the JSON of each item.
        ids: the ids of items that have none of their own.
        cursor: moves the position of a source together with its items.
        context: the context of an item's trace, given that of its prediction.
        may_weigh: whether an item may have a weight of its own.
        caller: who sends the items, as a record has it.
        before_append: awaited with the outcome of each item that is already known, such as that it does not fit.
        max_errors: after so many items that cannot be read, those that follow are not looked at; None: all are.
        access: whose the items are, and whose predictions they may be about.

    Returns:
        One outcome for each item that was looked at, in order. What is not an error is as durable as the store.

    Raises:
        Conflict: with a cursor, ``ids_taken``: nothing was appended; its ``places`` are those of the items in ``raw``.
    """
    outcomes: dict[int, ItemOutcome] = {}
    sent: dict[int, Sent] = {}
    new_classes, brought, bringing = decoder.new_classes, dict[int, Mapping[int | str, int]](), dict[int | str, int]()
    for index, data in enumerate(raw):
        try:
            item = decoder.decode(data)
            if not may_weigh and item.weight != 1.0:
                message = f"weight: {item.weight!r}, and this key lacks the scope weights"
                raise InvalidInput(message, code="missing_scope", field="weight", value=item.weight)
            if new_classes is not None:
                brought[index] = new_classes.check(item.label, bringing)
                bringing.update(brought[index])
            sent[index] = item
        except InvalidInput as error:
            outcomes[index] = ItemOutcome(sent_id(data), "error", error=error)
            if len(outcomes) == max_errors:
                break
    names = {
        index: stored_name(ids[index] if ids is not None and item.id is None else identifier(item), access.owner)
        for index, item in sent.items()
    }
    labels = {index: decoder.spec.check_label(item.label) for index, item in sent.items()}
    joined = await _joined(predictions, decoder, sent, labels, names, context, access)
    names |= {index: found.item.id for index, found in joined.items() if isinstance(found, Joined)}
    # A revision meets the live label of its fact, which may be among these very items, or be revised meanwhile: then it is
    # made again. A source is moved on when all are in the log; what is read again until then is known by its id.
    is_revised = any(item.revise is True for item in sent.values())
    waiting, is_told = dict(sent), False
    while waiting or not is_told:
        records, expected = dict[int, Item](), list[Expectation]()
        for index, item in waiting.items():
            found = joined[index]
            record = found.item if isinstance(found, Joined) else found
            try:
                expectation = ANYTHING
                if item.revise is True:
                    record, expectation = await revision(log, names[index], labels[index], item, record)
                if isinstance(record, InvalidInput):
                    raise record
                record = msgspec.structs.replace(record, caller=caller)
            except InvalidInput as error:
                earlier = await _earlier(log, names[index], labels[index], item, access)
                outcomes[index] = earlier or ItemOutcome(shown_name(names[index]), "error", error=error)
                continue
            records[index] = record
            expected.append(expectation)
        if before_append is not None and not is_revised:
            await before_append([outcomes.get(index) for index in range(len(raw))])
        marks, is_told = [_content(sent[index]) for index in records], True
        try:
            receipts = await log.append(list(records.values()), marks, None if is_revised else cursor, expected)
        except Conflict as error:
            if "places" in error.details:
                indices = [*records]
                error.details["places"] = [indices[place] for place in error.details["places"]]
            raise
        waiting = {}
        for (index, record), receipt in zip(records.items(), receipts, strict=False):
            if receipt.status == "moved":
                waiting[index] = sent[index]
                continue
            outcomes[index] = _outcome(record.id, receipt.status, receipt.n)
            found = joined[index]
            if receipt.status != "queued":
                continue
            if new_classes is not None:
                new_classes.take(brought[index])
            if isinstance(found, Joined) and found.made_at is not None:
                decoder.on_delay(max(0.0, log.connection.now() - found.made_at))
    if is_revised and before_append is not None:
        await before_append([outcomes.get(index) for index in range(len(raw))])
    if is_revised and cursor is not None:
        await log.append([], [], cursor)
    return [outcomes[index] for index in range(len(raw)) if index in outcomes]


async def _joined(
    predictions: PredictionReader,
    decoder: FeedbackDecoder,
    sent: Mapping[int, Sent],
    labels: Mapping[int, Label],
    names: Mapping[int, str],
    context: Callable[[str], str],
    access: Access,
) -> dict[int, Joined | InvalidInput]:
    """Each item with its prediction or its own inputs, or the reason why it cannot be joined."""
    ids = {item.prediction_id for item in sent.values() if item.prediction_id is not None}
    found = await predictions.find(ids, access)
    keys = {item.key for item in sent.values() if isinstance(item.key, str) and item.inputs is None}
    under = await predictions.find_keys(keys, access) if keys else {}
    own = [index for index, item in sent.items() if item.inputs is not None]
    brought = dict(zip(own, decoder.rows.rows([sent[index].inputs for index in own]), strict=True))
    joined: dict[int, Joined | InvalidInput] = {}
    for index, item in sent.items():
        if index in brought:
            joined[index] = _of_inputs(decoder, names[index], item, labels[index], brought[index], context)
        elif item.prediction_id is not None:
            joined[index] = _of_prediction(names[index], item, labels[index], found[item.prediction_id], context)
        elif isinstance(item.key, str):
            joined[index] = _of_prediction(names[index], item, labels[index], under[item.key], context)
        else:
            joined[index] = unknown_item(names[index])
    return joined


def _of_inputs(
    decoder: FeedbackDecoder,
    name: str,
    sent: Sent,
    label: Label,
    brought: Rows | InvalidInput,
    context: Callable[[str], str],
) -> Joined | InvalidInput:
    if not isinstance(brought, Rows):
        return brought
    if brought.unknown:
        decoder.on_unknown(brought.unknown)
    return Joined(
        Item(
            name,
            brought.item(0),
            label,
            sent.weight,
            route=cast(Route, sent.route or "live"),
            source=sent.source,
            time=sent.time,
            delay=0 if sent.delay is msgspec.UNSET else sent.delay,
            context=context(""),
            fact=_unless(
                name, stored_name(fact_of_key(sent.key), owner_of(name)) if isinstance(sent.key, str) else name
            ),
        )
    )


def _of_prediction(
    name: str, sent: Sent, label: Label, found: Found | InvalidInput, context: Callable[[str], str]
) -> Joined | InvalidInput:
    if isinstance(found, InvalidInput):
        return found
    if shown_name(name) == named(sent):
        # It goes by the name of its fact, whoever sends it.
        name = stored_name(shown_name(name), owner_of(found.fact))
    item = Item(
        name,
        found.inputs,
        label,
        sent.weight,
        found.route,
        found.answer,
        sent.source,
        sent.time,
        context=context(found.context),
        fact=_unless(name, found.fact),
    )
    return Joined(item, found.made_at)


def _unless(name: str, fact: str) -> str:
    """The name of a fact as a record has it: empty where the record goes by it."""
    return "" if fact == name else fact


def _content(sent: Sent) -> bytes:
    """The content by which a resend is recognised, whatever the formatting of its JSON."""
    if sent.revise is not msgspec.UNSET:
        sent = msgspec.structs.replace(cast(Any, sent), revise=msgspec.UNSET)
    try:
        return _encoder.encode(sent)
    except OverflowError:  # Of a field of numbers, or of one that the model does not have, it may be any whole number.
        return json.dumps(msgspec.to_builtins(sent)).encode()


async def _earlier(log: Log, name: str, label: Label, sent: Sent, access: Access) -> ItemOutcome | None:
    """The outcome of an item that was appended before and cannot be joined again, as when its prediction has expired."""
    plain = shown_name(name)
    own = (await log.find_seen([plain], access))[0] if plain == named(sent) else await log.find(name)
    if own is not None and own.mark == mark(_content(sent)):
        return _outcome(name, "duplicate", own.n)
    predicted = PredictionId.parse(sent.prediction_id or "")
    fact = predicted.fact if predicted is not None else named(sent)
    known = own if fact == plain or fact is None else (await log.find_seen([fact], access))[0]
    if known is None:
        return None if own is None else _outcome(name, "conflict", own.n)
    if known.exception is not None and known.exception[0] == "forgotten":
        return None
    is_same = (own is None or fact == plain) and known.said is not None and Said(label).is_of_label(known.said)
    return _outcome(name, "duplicate" if is_same else "conflict", known.n)


def _outcome(stored: str, status: str, n: int) -> ItemOutcome:
    name = shown_name(stored)
    if status != "conflict":
        return ItemOutcome(name, cast(Status, status), n)
    message = f"item {name!r} was sent before with another content; to replace its label, send it with revise"
    error = Conflict(message, field="id", value=name)
    return ItemOutcome(name, "error", error=error)
