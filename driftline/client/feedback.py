"""Labels on their way: items with their ids, and what it means that one is refused."""

from __future__ import annotations

import math
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import httpx
import orjson

from driftline.client.inputs import as_column, as_list, encode_row, to_json
from driftline.client.requests import Call
from driftline.errors import InvalidInput, Unavailable

if TYPE_CHECKING:
    from driftline.api.feedback import Accepted, ItemStatus, LineStatus

NOT_STORED = "prediction_not_stored"
NOT_READ = "not_read"
"""The code of an item that the server has not looked at, since many before it were refused."""
_TRANSIENT_CODES = frozenset({"store_unavailable", "store_full", "log_full", "rate_limited"})


class EncodedItem(NamedTuple):
    """An item as it is sent, and the id that it goes by."""

    id: str
    json: bytes


@dataclass(frozen=True)
class RefusedItem:
    """An item that the server did not take.

    ``index``: its place among those that were sent. ``field`` and ``value``: what is wrong, where that is a field.
    """

    index: int
    id: str
    code: str
    message: str
    field: str | None
    value: Any


class FeedbackRefused(InvalidInput):
    """Items were refused; all others are in the log.

    Attributes:
        refused: what is wrong with each of them, in order. ``details`` has the ``index``, the ``id``, the ``field`` and the
            ``value`` of the first.
        statuses: what became of every item.
    """

    def __init__(self, refused: Sequence[RefusedItem], statuses: Sequence[ItemStatus]) -> None:
        first = refused[0]
        rest = f"; {len(refused)} of {len(statuses)} items were refused" if len(statuses) > 1 else ""
        details = {"field": first.field, "value": first.value}
        super().__init__(
            f"items[{first.index}] ({first.id}): {first.message}{rest}",
            code=first.code,
            **{name: value for name, value in details.items() if value is not None},
            index=first.index,
            id=first.id,
            items=list(statuses),
        )
        self.refused = list(refused)
        self.statuses = list(statuses)

    @property
    def is_transient(self) -> bool:
        """Whether a prediction is not recorded yet: that happens a moment after it is answered."""
        return any(item.code == NOT_STORED for item in self.refused)


@dataclass(frozen=True)
class FeedbackCall(Call["Accepted"]):
    """Hands in ``items``. Each has an id, so that it is safe to do so again."""

    items: Sequence[EncodedItem] = ()
    raise_errors: bool = True

    def read(self, response: httpx.Response) -> Accepted:
        try:
            answer = super().read(response)
        except InvalidInput as error:
            statuses = error.details.get("items")
            if not isinstance(statuses, list):
                raise
            answer = cast("Accepted", {"accepted": 0, "items": statuses, "unread": error.details.get("unread", 0)})
        if answer.get("unread"):
            answer["items"] += [_unread(item) for item in self.items[len(answer["items"]) :]]
        for item, status in zip(self.items, answer.get("items", ()), strict=False):
            if status.get("id") is None:
                status["id"] = item.id
        if self.raise_errors and (refused := refused_items(answer.get("items", ()))):
            raise FeedbackRefused(refused, answer["items"])
        return answer


@dataclass(frozen=True)
class FeedbackStreamCall(Call["LineStatus"]):
    """Hands in ``items`` as lines, of which the first is the ``first`` of all that are sent."""

    items: Sequence[EncodedItem] = ()
    first: int = 0
    raise_errors: bool = True

    def line(self, data: bytes, index: int) -> LineStatus:
        status: LineStatus = orjson.loads(data)
        if status.get("id") is None and index < len(self.items):
            status["id"] = self.items[index].id
        error = status.get("error")
        if error is not None and error["code"] in _TRANSIENT_CODES:
            raise Unavailable(error["message"], code=error["code"], **error.get("details", {}))
        if error is not None and self.raise_errors:
            raise FeedbackRefused([refused_item(self.first + index, status)], [status])
        return status


def _unread(item: EncodedItem) -> ItemStatus:
    message = "it was not looked at, since many items before it were refused: send it again"
    return {"id": item.id, "status": "error", "error": {"code": NOT_READ, "message": message}}


def refused_items(statuses: Iterable[ItemStatus]) -> list[RefusedItem]:
    """Those that were refused."""
    return [refused_item(index, status) for index, status in enumerate(statuses) if status["status"] == "error"]


def refused_item(index: int, status: ItemStatus) -> RefusedItem:
    """What a status says of an item that was refused."""
    error = status.get("error") or {"code": "refused", "message": "refused"}
    details = error.get("details", {})
    return RefusedItem(
        index, str(status.get("id")), error["code"], error["message"], details.get("field"), details.get("value")
    )


def encode_item(item: Any, place: str) -> EncodedItem:
    """The JSON of an item. One that has neither an id nor a prediction's nor a key gets an id, by which a resend is recognised.

    Raises:
        InvalidInput: it names the field and the value that cannot be sent.
    """
    if not isinstance(item, Mapping):
        raise InvalidInput(f"{place}: {type(item).__name__} is no item: it has fields by name", field=place)
    fields = {str(name): value for name, value in item.items() if name == "label" or not _is_missing(value)}
    if "label" in fields and fields["label"] is not None and _is_missing(fields["label"]):
        raise InvalidInput(f"{place}.label: {fields['label']!r} is no label", field=f"{place}.label", value="missing")
    if isinstance(time := fields.get("time"), datetime):
        fields["time"] = (time if time.tzinfo is not None else time.replace(tzinfo=UTC)).timestamp()
    if not fields.keys() & {"id", "prediction_id", "key"}:
        fields["id"] = f"r:{secrets.token_hex(12)}"
    named = f"key:{fields['key']}" if "key" in fields else f"p:{fields.get('prediction_id')}"
    identifier = str(fields.get("id", named))
    inputs = fields.pop("inputs", None)
    data = to_json(fields, place)
    if inputs is not None:
        data = data[:-1] + b',"inputs":' + encode_row(inputs, f"{place}.inputs") + b"}"
    return EncodedItem(identifier, data)


def encode_items(items: Iterable[Any]) -> list[EncodedItem]:
    """The JSON of each item of a list or a table."""
    rows = items if isinstance(items, list | tuple) else as_list(items, "items")
    return [encode_item(item, f"items[{index}]") for index, item in enumerate(rows)]


def items_of(**columns: Any) -> list[dict[str, Any]]:
    """Items from columns: ``inputs``, rows of any kind, and the other fields of an item, a list each; None: not given."""
    given = {
        name: as_list(values) if name == "inputs" else as_column(values, name)
        for name, values in columns.items()
        if values is not None
    }
    lengths = {name: len(values) for name, values in given.items()}
    if len(set(lengths.values())) > 1:
        raise InvalidInput(f"columns of different length: {lengths}", field="items", value=lengths)
    return [dict(zip(given, values, strict=True)) for values in zip(*given.values(), strict=True)]


def items_body(items: Iterable[EncodedItem]) -> bytes:
    """The body that hands them in."""
    return b'{"items":[' + b",".join(item.json for item in items) + b"]}"


def _is_missing(value: Any) -> bool:
    if isinstance(value, float):
        return math.isnan(value)
    return value is None or type(value).__name__ in ("NaTType", "NAType")
