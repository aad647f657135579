"""Messages about labels: handed in, followed, and read from the log."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from driftline.api.errors import ErrorBody
from driftline.api.message import closed, message
from driftline.api.predictions import Interval, Values
from driftline.support.json_text import LARGEST_INTEGER

MAX_ITEMS = 100_000
MAX_ID_LENGTH = 200
MAX_DELAY = 1_000_000


@closed
class FeedbackItem(TypedDict):
    """A label for an earlier prediction (``prediction_id``, or your own ``key`` of it), or one that brings its own ``inputs``.

    A prediction, key or item has one live label, however it is named: the same again is a duplicate, another one a conflict.
    """

    label: Any
    """A class, of a multi-label model a list of classes, or the number of a regression; of several outputs an object by name,
    or a list in their order. A class matches by its JSON type."""
    inputs: NotRequired[Any]
    """One row, where there is no prediction."""
    prediction_id: NotRequired[str]
    """The prediction that the label is about."""
    id: NotRequired[Annotated[str, Field(min_length=1, max_length=MAX_ID_LENGTH)]]
    """Recognises a resend for 24 hours."""
    weight: NotRequired[Annotated[float, Field(ge=0, le=1e6)]]
    """How much it counts in training; 1 by default."""
    source: NotRequired[str]
    """Who it comes from."""
    time: NotRequired[float]
    """When it became true, in seconds since 1970."""
    route: NotRequired[Literal["import"]]
    """History that this model did not serve: each row is answered when its turn comes, and then learned like a live one."""
    delay: NotRequired[Annotated[int, Field(ge=0, le=MAX_DELAY)]]
    """Of history: how many further items had come when the label became known."""
    key: NotRequired[Annotated[str, Field(min_length=1, max_length=MAX_ID_LENGTH)]]
    """Your own name of what the label is about: of the newest prediction that was made under it, or beside ``inputs``."""
    revise: NotRequired[bool]
    """Whether it takes the place of the live label, if there is one. Then an ``id`` alone may say of what."""


@closed
class FeedbackBody(TypedDict):
    """Labels."""

    items: Annotated[list[FeedbackItem], Field(min_length=1, max_length=MAX_ITEMS)]
    """The labels; each is accepted or refused by itself."""


Status = Literal["queued", "duplicate", "error"]


@message
class ItemStatus(TypedDict):
    """What became of one item."""

    id: NotRequired[
        Annotated[
            str | None,
            Field(description="The id that it goes by: the given one, else that of its prediction, else a random one."),
        ]
    ]
    status: Annotated[
        Status,
        Field(description="In the log, in the log already with the same content, or refused."),
    ]
    error: NotRequired[Annotated[ErrorBody, Field(description="Why it was refused.")]]


@message
class Durability(TypedDict):
    """What every acknowledgement says of how long it lasts."""

    durability: str
    """How long the log lasts, as the store says of itself: ``fsync_always``, ``everysec``, ``none`` or ``unverified``."""
    warning: NotRequired[str]
    """Why an acknowledged label may be lost although nothing has gone wrong."""


@message
class LineStatus(ItemStatus):
    """What became of one line of a stream."""

    durability: NotRequired[str]
    """How long the log lasts, as the store says of itself."""
    warning: NotRequired[str]
    """Why an acknowledged label may be lost although nothing has gone wrong."""


@message
class Accepted(TypedDict):
    """The acknowledgement of feedback."""

    accepted: int
    """Items that are in the log."""
    items: list[ItemStatus]
    """What became of each, in order."""
    unread: NotRequired[int]
    """How many items after these were not looked at, because a hundred before them were refused: they may be sent again."""
    durability: NotRequired[str]
    """How long the log lasts, as the store says of itself: ``fsync_always``, ``everysec``, ``none`` or ``unverified``; absent
    where no item was accepted."""
    warning: NotRequired[str]
    """Why an acknowledged label may be lost although nothing has gone wrong."""


@message
class Receipt(TypedDict):
    """How far an item has come."""

    id: NotRequired[str]
    """The item's id."""
    state: Literal["queued", "learned", "served", "rejected", "quarantined", "revised", "forgotten"]
    """``served``: the live version covers it, also if it was held out; ``rejected``, ``quarantined``: it was not learned;
    ``revised``: another label has taken its place."""
    version: NotRequired[int]
    """The first version that covers it."""
    reason: NotRequired[str]
    """Why it was not learned."""
    n: NotRequired[int]
    """Its number in the log, where it is a revision or was revised."""
    revises: NotRequired[int]
    """The number of the label whose place it has taken."""
    revised_by: NotRequired[int]
    """The number of the label that has taken its place."""
    labeller: NotRequired[str]
    """Whom it came from: the id of an API key or ``anyone``, and after a slash its own ``source``; while the log holds it."""


@message
class LogQuery(TypedDict, total=False):
    """Which part of the log."""

    start: Annotated[int, Field(ge=1, le=LARGEST_INTEGER)]
    """The number to begin at; 1 by default."""
    limit: Annotated[int, Field(ge=1)]
    """The most labels; all by default."""


@message
class ServedAnswer(TypedDict):
    """What was served for an item. Classification has ``label`` and ``probabilities``, multilabel ``labels`` and
    ``probabilities``, regression ``value`` or ``values``."""

    version: int
    """The version that answered."""
    label: NotRequired[int | str | None]
    """The class that was answered."""
    labels: NotRequired[list[int | str]]
    """The classes that a multi-label model answered."""
    probabilities: NotRequired[list[float]]
    """The probability of each class that the version knew."""
    value: NotRequired[float]
    """The answer of a regression."""
    values: NotRequired[Values]
    """The answer of a regression with several outputs."""
    interval: NotRequired[Interval]
    """The ends of its interval, at the levels of the spec; null while too few labels were known."""


@message
class LogItem(TypedDict):
    """A label as the log keeps it."""

    n: int
    """Its number in the log."""
    id: str
    """Its id."""
    inputs: Any
    """Its row, as nested lists; by name where inputs are named."""
    label: int | str | float | dict[str, float] | list[int | str | float]
    """The label."""
    weight: float
    """How much it counts in training."""
    route: str
    """How it came: ``live``, ``canary``, ``pinned`` or ``import``."""
    time: float
    """When it became true, or else when it was acknowledged, in seconds since 1970."""
    answer: ServedAnswer | None
    """What was served; null where it brought its own inputs."""
    key: NotRequired[str]
    """The user's own name of what it is about, where it has one."""
    revises: NotRequired[int]
    """The number of the label whose place it has taken, where it has."""
    labeller: NotRequired[str]
    """Whom it came from: the id of an API key or ``anyone``, and after a slash its own ``source``; where that is known."""
