"""Messages about what has happened to a model, and how good its answers were, minute by minute."""

from __future__ import annotations

from typing import Annotated, Any, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from driftline.api.message import Body, message

MAX_TIME = 1e10
"""The latest time that can be asked for, in seconds since 1970."""
KINDS = {
    "created": "The model was made.",
    "version": "A version was published.",
    "refusal": "The gate refused a candidate.",
    "rollback": "The weights of an old version were published again.",
    "promote": "An admin made what was learned the live version.",
    "recipe": "The recipe was changed.",
    "forget": "Labels were forgotten, as somebody had asked for; `details` says how many.",
    "pause": "Learning was paused.",
    "resume": "Learning goes on.",
    "job": "A retrain or a comparison was queued, began or ended; `details.state` says which.",
    "alarm": "An alarm was raised; `alarm` is its kind.",
    "alarm_over": "What an alarm was about is over.",
    "alarm_acknowledged": "Somebody has seen an alarm.",
    "concept": "A concept has returned: what was learned before it went is gone on with.",
    "labeller": "An admin has decided about labels that are kept and not learned; `details.decision` says how.",
    "source": "A source of labels was opened or has failed.",
    "worker": "Another worker learns the model now.",
    "key": "An API key was made, given a new secret or revoked.",
    "refused": "Calls were refused: no such key, or one that lacks the scope or is not for that model.",
    "deleted": "The model was removed.",
}
"""What an event may be, each in a sentence. A later release may know more."""
AUDIT_KINDS = frozenset({"key", "refused"})
"""Those that are shown to keys with the scope ``audit`` alone."""


@message
class Event(TypedDict):
    """Something that has happened to a model."""

    id: str
    """What it goes by, and where a reader goes on; ids are ordered as the events of a model are."""
    n: int
    """Its number among the events of the model, counted from 1 without a gap."""
    model: str
    """The model's name; empty where it is about none."""
    time: float
    """When it happened, by the store's clock, in seconds since 1970."""
    kind: str
    """What it is: ``created``, ``version``, ``refusal``, ``alarm``, ``rollback``, ``job``, …"""
    actor: str
    """Who did it: the name of an API key, ``local`` where there are no keys, ``worker`` or ``system``."""
    reason: str
    """Why: what the actor gave, or what the gate decided by; else empty."""
    message: str
    """The whole in one sentence."""
    version: NotRequired[int]
    """The version that it made, or is about."""
    parent: NotRequired[int]
    """The version that that one came of."""
    records: NotRequired[list[int]]
    """The first and the last number of the records that are new in the version."""
    job: NotRequired[str]
    """The job that it is about."""
    alarm: NotRequired[str]
    """The kind of the alarm that it is about."""
    scores: NotRequired[dict[str, float]]
    """What the gate decided by."""
    details: NotRequired[dict[str, Any]]
    """What else is known, by the kind of event."""


@message
class EventPage(TypedDict):
    """Events, the newest first."""

    events: list[Event]
    """The events."""
    next: str | None
    """The ``before`` of the next page, with older events; null where there are none."""


@message
class EventQuery(TypedDict, total=False):
    """Which events."""

    kind: str
    """Of these kinds alone, separated by commas."""
    since: Annotated[float, Field(ge=0, le=MAX_TIME)]
    """Not before this time, in seconds since 1970."""
    until: Annotated[float, Field(ge=0, le=MAX_TIME)]
    """Before this time, in seconds since 1970."""
    before: str
    """Older than the event with this id."""
    after: str
    """Newer than the event with this id."""
    limit: Annotated[int, Field(ge=1, le=1000)]
    """The most events of a page; 100 by default."""


class Acknowledgement(Body):
    """Why an alarm needs no more attention."""

    reason: str = Field("", max_length=1000)
    """Kept with the event."""


@message
class Acknowledged(TypedDict):
    """An alarm that somebody has seen."""

    alarm: str
    """Its kind."""
    acknowledged_by: str
    """Who has."""


@message
class BucketClass(TypedDict):
    """A class in a bucket."""

    support: int
    """Its labels."""
    recall: float
    """The share of its labels that were answered right."""


@message
class BucketSource(TypedDict):
    """The labels of one source in a bucket."""

    count: int
    """Its labels."""
    accuracy: NotRequired[float]
    """The share of right answers; of a multi-label model, of classes that were answered right."""
    mae: NotRequired[float]
    """The mean absolute error; of several outputs in units of their labels' deviation."""


@message
class ScoreBucket(TypedDict):
    """How good the served answers were whose labels came within one step of time."""

    time: float
    """When it begins, in seconds since 1970."""
    count: int
    """The labels that were scored."""
    accuracy: NotRequired[float]
    """The share of right answers; of a multi-label model, of classes that were answered right."""
    log_loss: NotRequired[float]
    """The mean negative logarithm of the probability that the label's class was given, where it was known then."""
    auc: NotRequired[float]
    """The area under the ROC curve, of a model with two classes, where labels of both came."""
    mae: NotRequired[float]
    """The mean absolute error; of several outputs in units of their labels' deviation."""
    rmse: NotRequired[float]
    """The root of the mean squared error, likewise."""
    classes: NotRequired[dict[str, BucketClass]]
    """The classes with the most labels, by name; not of a regression."""
    sources: NotRequired[dict[str, BucketSource]]
    """The sources with the most labels, by name, where labels name theirs."""


@message
class ScoreHistory(TypedDict):
    """Scores over time. A step without labels has no bucket."""

    step: int
    """The seconds that a bucket covers."""
    buckets: list[ScoreBucket]
    """The buckets, oldest first."""


@message
class ScoreQuery(TypedDict, total=False):
    """Which part of the history, and how fine."""

    since: Annotated[float, Field(ge=0, le=MAX_TIME)]
    """Not before this time, in seconds since 1970; the last day by default."""
    until: Annotated[float, Field(ge=0, le=MAX_TIME)]
    """Before this time, in seconds since 1970; now by default."""
    step: Annotated[int, Field(ge=60, le=MAX_TIME)]
    """Seconds a bucket, rounded up to whole minutes; by default so many that there are 500 buckets at most."""
