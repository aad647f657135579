"""The parts of labelled feedback: one item as it is sent, parsed and checked as far as it can be without the store."""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, Protocol

import msgspec

from driftline.api.feedback import MAX_DELAY, MAX_ID_LENGTH
from driftline.errors import InvalidInput
from driftline.ingest import rows
from driftline.spec import ModelSpec
from driftline.store.facts import KEY, fact_of_key
from driftline.store.prediction_ids import PredictionId
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


class ClassBudget(Protocol):
    """Decides which classes labels may bring to a model that is open to new ones."""

    def check(self, label: object, beside: Mapping[int | str, int] = ...) -> Mapping[int | str, int]:
        """The classes that a label would bring beside others, with a size of each; :class:`InvalidInput` refuses them."""
        ...

    def take(self, new: Mapping[int | str, int], /) -> None:
        """Remembers classes that ``check`` has let pass, once the log has their labels."""
        ...


class FeedbackDecoder:
    """Parses the feedback of one model. ``decode`` takes the JSON of one item.

    ``on_unknown`` is told how often fields came that the model does not have, ``on_delay`` the seconds between a prediction and
    its label; ``new_classes`` refuses labels that fit the spec.
    """

    def __init__(
        self,
        spec: ModelSpec,
        on_unknown: Callable[[Mapping[str, int]], None] = lambda fields: None,
        on_delay: Callable[[float], None] = lambda seconds: None,
        new_classes: ClassBudget | None = None,
    ) -> None:
        self.new_classes = new_classes
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
    if sent.id is not None and sent.id != named(sent) and (sent.inputs is not None or sent.prediction_id is not None):
        is_key = sent.id.startswith(KEY)
        if is_key or (sent.id.startswith("p:") and PredictionId.parse(sent.id[2:]) is not None):
            whose = "key" if is_key else "prediction"
            raise InvalidInput(f"id: {sent.id!r} is the name of another {whose}", field="id", value=sent.id)


def named(sent: Sent) -> str | None:
    """The id of an item that is not given one: that of its key or its prediction."""
    if isinstance(sent.key, str):
        return fact_of_key(sent.key)
    return f"p:{sent.prediction_id}" if sent.prediction_id is not None else None


def identifier(sent: Sent) -> str:
    """The id of an item: the given one, else that of its key or prediction, else a random one."""
    return sent.id if sent.id is not None else named(sent) or f"r:{secrets.token_hex(12)}"


class _Named(msgspec.Struct):
    id: Any = None
    prediction_id: Any = None
    key: Any = None


_named = msgspec.json.Decoder(_Named)


def sent_id(data: bytes) -> str | None:
    """The id that an item names itself by, whatever else is wrong with it; None where it does not."""
    try:
        found = _named.decode(data)
    except json_text.UNREADABLE:
        found = _Named(*(json_text.member(data, name) for name in _Named.__struct_fields__))
    if found.id is not None:
        return found.id[:MAX_ID_LENGTH] if isinstance(found.id, str) else None
    if isinstance(found.key, str):
        return fact_of_key(found.key[:MAX_ID_LENGTH])
    return f"p:{found.prediction_id[:MAX_ID_LENGTH]}" if isinstance(found.prediction_id, str) else None
