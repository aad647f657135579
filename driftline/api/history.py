"""Messages about what a model has been through: its jobs, its labels at large, and the files that were imported."""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from driftline.api.message import Body, message

MAX_RECEIPTS = 10_000
"""The most that are told at once."""


@message
class ListedJob(TypedDict):
    """A job among those of its model."""

    id: str
    """What it goes by."""
    state: Literal["queued", "running", "succeeded", "failed", "cancelled"]
    """How far it has come."""
    progress: float
    """The share that is done, from 0 to 1."""
    promoted: bool | None
    """Whether its result went live; null while that is open, and of a comparison."""
    version: int | None
    """The version that its result became."""
    kind: NotRequired[str]
    """``retrain`` or ``compare``."""
    began: NotRequired[float]
    """When it was asked for, in seconds since 1970."""
    ended: NotRequired[float]
    """When it ended, in seconds since 1970."""
    actor: NotRequired[str]
    """Who asked for it: the name of an API key, or ``local``."""
    reason: NotRequired[str]
    """The reason that was given."""
    message: NotRequired[str]
    """What was said of it last."""


@message
class JobList(TypedDict):
    """The jobs of a model."""

    jobs: list[ListedJob]
    """The jobs, the newest first, without their reports."""


@message
class JobListQuery(TypedDict, total=False):
    """How many jobs."""

    limit: Annotated[int, Field(ge=1, le=1000)]
    """The most that are listed; 100 by default."""


class ReceiptIds(Body):
    """Which items."""

    ids: list[str] = Field(min_length=1, max_length=MAX_RECEIPTS)
    """Their ids."""


@message
class ListedReceipt(TypedDict):
    """How far one of several items has come."""

    id: str
    """The item's id."""
    state: Literal["queued", "learned", "served", "rejected", "quarantined", "revised", "forgotten", "unknown"]
    """As in a receipt by itself; ``unknown``: there is no such item, or it is too old."""
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


@message
class KeyQuery(TypedDict):
    """Of what."""

    key: Annotated[str, Field(min_length=1, max_length=200)]
    """Your own name of it, as it was given to ``predict`` or ``feedback``."""


@message
class ReceiptList(TypedDict):
    """How far several items have come."""

    receipts: list[ListedReceipt]
    """The receipts, in the order of the ids."""


@message
class RejectedLabel(TypedDict):
    """A label that was not learned."""

    n: int
    """Its number in the log."""
    id: str
    """The item's id."""
    state: Literal["rejected", "quarantined"]
    """``rejected``: it did not fit the model; ``quarantined``: the network failed on it."""
    reason: str
    """Why."""
    time: float
    """When it came, in seconds since 1970."""


@message
class RejectedLabelList(TypedDict):
    """Labels that a model has not learned."""

    labels: list[RejectedLabel]
    """The labels, the newest first."""
    next: int | None
    """What ``before`` takes for those that follow; null where there are none."""


@message
class RejectedLabelQuery(TypedDict, total=False):
    """Which of them."""

    before: Annotated[int, Field(ge=1)]
    """Only labels of lower numbers in the log."""
    limit: Annotated[int, Field(ge=1, le=1000)]
    """The most that are listed; 100 by default."""


class ImportNote(Body):
    """How far a file has come."""

    name: str = Field(max_length=255)
    """What the file is called."""
    first: int = Field(ge=1)
    """The number of the first row that was sent."""
    row: int = Field(ge=1)
    """The number of a row: it and all before are in the log, or were refused."""
    is_whole: bool = False
    """Whether these are all rows of the file."""
    round: int = Field(0, ge=0)
    """How often the file was imported again."""


@message
class ImportedFile(TypedDict):
    """A file that a model has learned, or a part of one."""

    file: str
    """What it is recognised by: a digest of its name, its columns and its first rows."""
    name: str
    """What it is called."""
    first: int
    """The number of the first row that was sent."""
    row: int
    """The number of a row: it and all before are in the log, or were refused."""
    is_whole: bool
    """Whether these are all rows of the file, as it was then."""
    round: int
    """How often it was imported again."""
    time: float
    """When the last of these rows came, in seconds since 1970."""


@message
class ImportList(TypedDict):
    """The files that a model has learned."""

    imports: list[ImportedFile]
    """The files, the newest first."""
