"""Labelled feedback: parsed, joined with its prediction, and appended to the log."""

from __future__ import annotations

import math
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, cast

import msgspec

from driftline.api.feedback import MAX_DELAY, MAX_ID_LENGTH, Status
from driftline.errors import Conflict, DriftlineError, InvalidInput
from driftline.ingest import rows
from driftline.records import Item
from driftline.rows.rows import Rows
from driftline.spec import ModelSpec
from driftline.store.log import Cursor, Log, mark
from driftline.store.predictions import Found, PredictionId, PredictionReader


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


# The order of the fields of a row is formatting.
_encoder = msgspec.msgpack.Encoder(order="deterministic")


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
            # Left out of the content by which a resend is recognised where it is not given.
            ("delay", int | msgspec.UnsetType, msgspec.UNSET),
        ]
        return msgspec.json.Decoder(msgspec.defstruct("FeedbackItem", fields, forbid_unknown_fields=True, frozen=True))

    def decode(self, data: bytes | msgspec.Raw) -> Sent:
        """One item, checked as far as it can be without the store; :class:`InvalidInput` names the field and the value."""
        try:
            sent: Sent = self._decoder.decode(data)
        except msgspec.DecodeError as error:
            raise rows.malformed(error, data, "item") from None
        if (sent.inputs is None) == (sent.prediction_id is None):
            raise InvalidInput('an item has either "prediction_id" or "inputs"', field="prediction_id")
        if not (math.isfinite(sent.weight) and 0 <= sent.weight <= 1e6):
            raise InvalidInput(
                f"weight: {sent.weight!r} is not between 0 and 1e6", field="weight", value=repr(sent.weight)
            )
        if sent.route not in (None, "import"):
            raise InvalidInput(f'route: {sent.route!r} is not "import"', field="route", value=sent.route)
        if sent.route and sent.prediction_id is not None:
            raise InvalidInput("route: a prediction has its own", field="route", value=sent.route)
        if sent.delay is not msgspec.UNSET and not (sent.route == "import" and 0 <= sent.delay <= MAX_DELAY):
            message = f"delay: {sent.delay!r} is not between 0 and {MAX_DELAY}, for an item of the route import"
            raise InvalidInput(message, field="delay", value=sent.delay)
        if sent.id is not None and not 0 < len(sent.id) <= MAX_ID_LENGTH:
            raise InvalidInput(f"id: not between 1 and {MAX_ID_LENGTH} characters", field="id", value=sent.id[:100])
        self.spec.check_label(sent.label)
        self.check_label(sent.label)
        return sent


def identifier(sent: Sent) -> str:
    """The id of an item: the given one, else that of its prediction, else a random one."""
    if sent.id is not None:
        return sent.id
    return f"p:{sent.prediction_id}" if sent.prediction_id is not None else f"r:{secrets.token_hex(12)}"


class _Named(msgspec.Struct):
    id: Any = None
    prediction_id: Any = None


_named = msgspec.json.Decoder(_Named)


def sent_id(data: bytes | msgspec.Raw) -> str | None:
    """The id that an item names itself by, whatever else is wrong with it; None where it does not."""
    try:
        found = _named.decode(data)
    except msgspec.DecodeError:
        return None
    if found.id is not None:
        return found.id[:MAX_ID_LENGTH] if isinstance(found.id, str) else None
    return f"p:{found.prediction_id}" if isinstance(found.prediction_id, str) else None


def no_context(predicted: str) -> str:
    """The context of an item that belongs to no trace."""
    return ""


async def append(
    log: Log,
    predictions: PredictionReader,
    decoder: FeedbackDecoder,
    raw: Sequence[bytes | msgspec.Raw],
    ids: Sequence[str] | None = None,
    cursor: Cursor | None = None,
    context: Callable[[str], str] = no_context,
    may_weigh: bool = True,
    before_append: Callable[[Sequence[ItemOutcome | None]], Awaitable[None]] | None = None,
) -> list[ItemOutcome]:
    """Appends items to the log; each succeeds or fails by itself.

    Args:
        raw: the JSON of each item.
        ids: the ids of items that have none of their own.
        cursor: moves the position of a source together with its items.
        context: the context of an item's trace, given that of its prediction.
        may_weigh: whether an item may have a weight of its own.
        before_append: awaited with the outcome of each item that is already known, such as that it does not fit.

    Returns:
        One outcome for each item, in order. What is not an error is as durable as the store.

    Raises:
        Conflict: with a cursor, ``ids_taken``: nothing was appended; its ``places`` are those of the items in ``raw``.
    """
    outcomes: list[ItemOutcome | None] = [None] * len(raw)
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
    found = await predictions.find({item.prediction_id for item in sent.values() if item.prediction_id is not None})
    records: dict[int, Item] = {}
    own = [index for index, item in sent.items() if item.prediction_id is None]
    brought = dict(zip(own, decoder.rows.rows([sent[index].inputs for index in own]), strict=True))
    for index, item in sent.items():
        name = ids[index] if ids is not None and item.id is None else identifier(item)
        try:
            records[index] = _item(decoder, name, item, brought.get(index), found, context)
        except InvalidInput as error:
            outcomes[index] = await _earlier(log, name, item) or ItemOutcome(name, "error", error=error)
    marks = [_content(sent[index]) for index in records]
    if before_append is not None:
        await before_append(outcomes)
    try:
        receipts = await log.append(list(records.values()), marks, cursor) if records or cursor else []
    except Conflict as error:
        if "places" in error.details:
            indices = [*records]
            error.details["places"] = [indices[place] for place in error.details["places"]]
        raise
    for (index, record), receipt in zip(records.items(), receipts, strict=False):
        outcomes[index] = _outcome(record.id, receipt.status, receipt.n)
        predicted = PredictionId.parse(sent[index].prediction_id or "")
        if receipt.status == "queued" and predicted is not None:
            decoder.on_delay(max(0.0, log.connection.now() - predicted.entry.ms / 1000))
    return [outcome for outcome in outcomes if outcome is not None]


def _item(
    decoder: FeedbackDecoder,
    name: str,
    sent: Sent,
    brought: Rows | InvalidInput | None,
    found: dict[str, Found | InvalidInput],
    context: Callable[[str], str],
) -> Item:
    label = decoder.spec.check_label(sent.label)
    common: dict[str, Any] = {"weight": sent.weight, "source": sent.source, "time": sent.time}
    if sent.prediction_id is None:
        if not isinstance(brought, Rows):
            assert brought is not None
            raise brought
        if brought.unknown:
            decoder.on_unknown(brought.unknown)
        delay = 0 if sent.delay is msgspec.UNSET else sent.delay
        common |= {"route": sent.route or "live", "delay": delay, "context": context("")}
        return Item(name, brought.item(0), label, **common)
    match found[sent.prediction_id]:
        case InvalidInput() as error:
            raise error
        case (row, answer, route, predicted):
            return Item(name, row, label, route=route, answer=answer, context=context(predicted), **common)


def _content(sent: Sent) -> bytes:
    """The content by which a resend is recognised, whatever the formatting of its JSON."""
    return _encoder.encode(sent)


async def _earlier(log: Log, name: str, sent: Sent) -> ItemOutcome | None:
    """The outcome of an item that was appended before and cannot be joined again, as when its prediction has expired."""
    found = await log.find(name)
    if found is None:
        return None
    return _outcome(name, "duplicate" if found.mark == mark(_content(sent)) else "conflict", found.n)


def _outcome(name: str, status: str, n: int) -> ItemOutcome:
    if status != "conflict":
        return ItemOutcome(name, cast(Status, status), n)
    error = Conflict(f"item {name!r} was sent before with another content", field="id", value=name)
    return ItemOutcome(name, "error", error=error)
