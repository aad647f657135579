"""Labelled feedback: parsed, joined with its prediction, and appended to the log."""

from __future__ import annotations

import json
import math
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Protocol, cast

import msgspec

from driftline.api.feedback import MAX_DELAY, MAX_ID_LENGTH, Status
from driftline.errors import Conflict, DriftlineError, InvalidInput
from driftline.ingest import rows
from driftline.ingest.revisions import revision, unknown_item
from driftline.records import Item, Label, Route
from driftline.rows.rows import Rows
from driftline.spec import ModelSpec
from driftline.store.facts import ANYTHING, KEY, Expectation, Said, fact_of_key
from driftline.store.log import Cursor, Log, mark
from driftline.store.prediction_ids import PredictionId
from driftline.store.predictions import Found, PredictionReader
from driftline.support import json_text


class Sent(Protocol):
    """One item as a client sends it."""

    label: Any
    inputs: Any
    prediction_id: str | None
    id: str | None
    weight: float
    source: str | None
    time: float | None
    route: str | None
    delay: int | msgspec.UnsetType
    key: str | msgspec.UnsetType
    revise: bool | msgspec.UnsetType


_OPTIONAL = ("inputs", "prediction_id", "key", "id", "source", "time", "route", "delay", "revise")
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


class FeedbackDecoder:
    """Parses the feedback of one model. ``decode`` takes the JSON of one item.

    ``on_unknown`` is told how often fields came that the model does not have, ``on_delay`` the seconds between a prediction and
    its label; ``check_label`` refuses labels that fit the spec.
    """

    def __init__(
        self,
        spec: ModelSpec,
        on_unknown: Callable[[Mapping[str, int]], None] = lambda fields: None,
        on_delay: Callable[[float], None] = lambda seconds: None,
        check_label: Callable[[Any], None] = lambda label: None,
    ) -> None:
        self.check_label = check_label
        self.spec = spec
        self.on_delay = on_delay
        self.on_unknown = on_unknown
        self.rows = rows.RowReader(spec)

    @cached_property
    def _decoder(self) -> msgspec.json.Decoder[Any]:
        fields: list[Any] = [
            ("label", Any),
            ("inputs", rows.json_type(self.spec, batched=False) | None, None),
            ("prediction_id", str | None, None),
            ("id", str | None, None),
            ("weight", float, 1.0),
            ("source", str | None, None),
            ("time", float | None, None),
            ("route", str | None, None),
            # Left out of the content by which a resend is recognised where they are not given.
            ("delay", int | msgspec.UnsetType, msgspec.UNSET),
            ("key", str | msgspec.UnsetType, msgspec.UNSET),
            ("revise", bool | msgspec.UnsetType, msgspec.UNSET),
        ]
        return msgspec.json.Decoder(msgspec.defstruct("FeedbackItem", fields, forbid_unknown_fields=True, frozen=True))

    def decode(self, data: bytes) -> Sent:
        """One item, checked as far as it can be without the store; :class:`InvalidInput` names the field and the value."""
        json_text.check(data, "item")
        sent: Sent = rows.decoded(self._decoder, data, "item")
        json_text.check_names(data, self._count_names(sent), "item")
        _check_names(sent)
        if not (math.isfinite(sent.weight) and 0 <= sent.weight <= 1e6):
            raise InvalidInput(
                f"weight: {sent.weight!r} is not between 0 and 1e6", field="weight", value=repr(sent.weight)
            )
        if sent.route not in (None, "import"):
            raise InvalidInput(f'route: {sent.route!r} is not "import"', field="route", value=sent.route)
        if sent.route and sent.inputs is None:
            raise InvalidInput("route: a prediction has its own", field="route", value=sent.route)
        if sent.delay is not msgspec.UNSET and not (sent.route == "import" and 0 <= sent.delay <= MAX_DELAY):
            message = f"delay: {sent.delay!r} is not between 0 and {MAX_DELAY}, for an item of the route import"
            raise InvalidInput(message, field="delay", value=sent.delay)
        self.spec.check_label(sent.label)
        self.check_label(sent.label)
        return sent

    def _count_names(self, sent: Sent) -> int:
        """How many names an item was sent with, unless it gives a field the value that it has by default."""
        values = [getattr(sent, name) for name in _OPTIONAL]
        names = 1 + sum(value is not None and value is not msgspec.UNSET for value in values) + (sent.weight != 1.0)
        if isinstance(sent.inputs, dict):
            names += len(sent.inputs)
        elif sent.inputs is not None and isinstance(self.spec.inputs, dict):
            names += len(self.spec.inputs)
        return names + (len(sent.label) if isinstance(sent.label, dict) else 0)


def _check_names(sent: Sent) -> None:
    """Checks what an item says that it is about, and by what it goes."""
    if sent.prediction_id is not None and (sent.inputs is not None or sent.key is not msgspec.UNSET):
        other = "inputs" if sent.inputs is not None else "key"
        raise InvalidInput(f'an item has either "prediction_id" or "{other}"', field="prediction_id")
    is_named = sent.prediction_id is not None or sent.inputs is not None or sent.key is not msgspec.UNSET
    if not (is_named or (sent.revise is True and sent.id is not None)):
        raise InvalidInput('an item has one of "prediction_id", "key" and "inputs"', field="prediction_id")
    for name, value in (("id", sent.id), ("key", sent.key)):
        if isinstance(value, str) and not 0 < len(value) <= MAX_ID_LENGTH:
            raise InvalidInput(f"{name}: not between 1 and {MAX_ID_LENGTH} characters", field=name, value=value[:100])
    if sent.id is not None and sent.id != _name(sent) and (sent.inputs is not None or sent.prediction_id is not None):
        is_key = sent.id.startswith(KEY)
        if is_key or (sent.id.startswith("p:") and PredictionId.parse(sent.id[2:]) is not None):
            whose = "key" if is_key else "prediction"
            raise InvalidInput(f"id: {sent.id!r} is the name of another {whose}", field="id", value=sent.id)


def _name(sent: Sent) -> str | None:
    """The id of an item that is not given one: that of its key or its prediction."""
    if isinstance(sent.key, str):
        return fact_of_key(sent.key)
    return f"p:{sent.prediction_id}" if sent.prediction_id is not None else None


def identifier(sent: Sent) -> str:
    """The id of an item: the given one, else that of its key or prediction, else a random one."""
    return sent.id if sent.id is not None else _name(sent) or f"r:{secrets.token_hex(12)}"


class _Named(msgspec.Struct):
    id: Any = None
    prediction_id: Any = None
    key: Any = None


_named = msgspec.json.Decoder(_Named)


def sent_id(data: bytes) -> str | None:
    """The id that an item names itself by, whatever else is wrong with it; None where it does not."""
    try:
        found = _named.decode(data)
    except rows.UNREADABLE:
        found = _Named(*(json_text.member(data, name) for name in _Named.__struct_fields__))
    if found.id is not None:
        return found.id[:MAX_ID_LENGTH] if isinstance(found.id, str) else None
    if isinstance(found.key, str):
        return fact_of_key(found.key[:MAX_ID_LENGTH])
    return f"p:{found.prediction_id[:MAX_ID_LENGTH]}" if isinstance(found.prediction_id, str) else None


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
    before_append: Callable[[Sequence[ItemOutcome | None]], Awaitable[None]] | None = None,
    max_errors: int | None = None,
) -> list[ItemOutcome]:
    """Appends items to the log; each succeeds or fails by itself.

    Args:
        raw: the JSON of each item.
        ids: the ids of items that have none of their own.
        cursor: moves the position of a source together with its items.
        context: the context of an item's trace, given that of its prediction.
        may_weigh: whether an item may have a weight of its own.
        before_append: awaited with the outcome of each item that is already known, such as that it does not fit.
        max_errors: after so many items that cannot be read, those that follow are not looked at; None: all are.

    Returns:
        One outcome for each item that was looked at, in order. What is not an error is as durable as the store.

    Raises:
        Conflict: with a cursor, ``ids_taken``: nothing was appended; its ``places`` are those of the items in ``raw``.
    """
    outcomes: dict[int, ItemOutcome] = {}
    sent: dict[int, Sent] = {}
    for index, data in enumerate(raw):
        try:
            item = decoder.decode(data)
            if not may_weigh and item.weight != 1.0:
                message = f"weight: {item.weight!r}, and this key lacks the scope weights"
                raise InvalidInput(message, code="missing_scope", field="weight", value=item.weight)
            sent[index] = item
        except InvalidInput as error:
            outcomes[index] = ItemOutcome(sent_id(data), "error", error=error)
            if len(outcomes) == max_errors:
                break
    names = {
        index: ids[index] if ids is not None and item.id is None else identifier(item) for index, item in sent.items()
    }
    labels = {index: decoder.spec.check_label(item.label) for index, item in sent.items()}
    joined = await _joined(predictions, decoder, sent, labels, names, context)
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
            except InvalidInput as error:
                earlier = await _earlier(log, names[index], labels[index], item)
                outcomes[index] = earlier or ItemOutcome(names[index], "error", error=error)
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
            if receipt.status == "queued" and isinstance(found, Joined) and found.made_at is not None:
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
) -> dict[int, Joined | InvalidInput]:
    """Each item with its prediction or its own inputs, or the reason why it cannot be joined."""
    found = await predictions.find({item.prediction_id for item in sent.values() if item.prediction_id is not None})
    keys = {item.key for item in sent.values() if isinstance(item.key, str) and item.inputs is None}
    under = await predictions.find_keys(keys) if keys else {}
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
            fact=_unless(name, fact_of_key(sent.key) if isinstance(sent.key, str) else name),
        )
    )


def _of_prediction(
    name: str, sent: Sent, label: Label, found: Found | InvalidInput, context: Callable[[str], str]
) -> Joined | InvalidInput:
    if isinstance(found, InvalidInput):
        return found
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


async def _earlier(log: Log, name: str, label: Label, sent: Sent) -> ItemOutcome | None:
    """The outcome of an item that was appended before and cannot be joined again, as when its prediction has expired."""
    own = await log.find(name)
    if own is not None and own.mark == mark(_content(sent)):
        return _outcome(name, "duplicate", own.n)
    predicted = PredictionId.parse(sent.prediction_id or "")
    fact = predicted.fact if predicted is not None else _name(sent)
    known = own if fact == name or fact is None else await log.find(fact)
    if known is None:
        return None if own is None else _outcome(name, "conflict", own.n)
    is_same = (own is None or fact == name) and known.said is not None and Said(label).is_of_label(known.said)
    return _outcome(name, "duplicate" if is_same else "conflict", known.n)


def _outcome(name: str, status: str, n: int) -> ItemOutcome:
    if status != "conflict":
        return ItemOutcome(name, cast(Status, status), n)
    message = f"item {name!r} was sent before with another content; to replace its label, send it with revise"
    error = Conflict(message, field="id", value=name)
    return ItemOutcome(name, "error", error=error)
