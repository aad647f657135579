"""Messages about sources: streams that labels are read from, and the records that they could not take."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from driftline.api.message import Body, message

SourceBody = Annotated[
    dict[str, Any], Field(description="A source: its `type` and `name`, and the fields that its type has.")
]
SourceChange = Annotated[
    dict[str, Any],
    Field(description="Fields of the source that change; `paused` lets it stop, and go on; null takes a field out."),
]


@message
class SourceGapState(TypedDict):
    """Records that could not be read any more."""

    start: str
    """The place after which they stood."""
    end: str
    """The place before which they stood."""
    reason: str
    """What happened to them."""
    time: float
    """When that was found, in seconds since 1970."""


@message
class SourceInfo(TypedDict):
    """A source, and how it does."""

    name: str
    """What it goes by among the sources of its model."""
    type: str
    """Its kind."""
    state: Literal["starting", "running", "catching_up", "paused", "failing", "over"]
    """How it does: `running`, where all that came has been taken; `over`, where nothing will come any more."""
    since: float
    """Since when, in seconds since 1970."""
    reason: str
    """Why it fails, or waits."""
    spec: SourceBody
    """How it is configured, without passwords."""
    origin: Literal["api", "environment"]
    """Where it is configured: one of the environment can be changed there alone."""
    taken: int
    """Records that were taken since its worker has begun to read it."""
    refused: int
    """Records that were not taken, in all."""
    dead: int
    """Those of them that are kept, to be looked at and sent again."""
    waiting: int
    """Labels that came before the predictions that they are about, and wait for these."""
    lag_records: int | None
    """Records that are not read yet; null where its kind does not tell."""
    lag_seconds: float | None
    """How long ago all had been read."""
    position: str
    """How far it has been read, as its kind writes it."""
    gaps: list[SourceGapState]
    """The newest gaps, of records that were lost before they were read."""


@message
class SourceList(TypedDict):
    """The sources of a model."""

    sources: list[SourceInfo]
    """Each of them, by name."""


@message
class SourceRemoved(TypedDict):
    """A source that is read no longer."""

    removed: str
    """Its name."""


@message
class RemoveQuery(TypedDict, total=False):
    """What else goes with a source."""

    forget: bool
    """Forget its position too: made again, it is read from its beginning. Otherwise it goes on from there."""


@message
class TriedRecord(TypedDict):
    """A record as it would be learned, or why it would not."""

    place: str
    """Where it stands in the source."""
    raw: str
    """Its bytes, as a person reads them."""
    item: NotRequired[Annotated[dict[str, Any], Field(description="The item of feedback that it stands for.")]]
    error: NotRequired[str]
    """Why it would be refused."""


@message
class TriedRecords(TypedDict):
    """The first records of a source; nothing was taken."""

    records: list[TriedRecord]
    """In their order."""


@message
class DeadLetterState(TypedDict):
    """A record that a source could not take."""

    id: str
    """What it goes by."""
    source: str
    """The source that it came from."""
    place: str
    """Where it stands there."""
    reason: str
    """Why it was not taken."""
    raw: str
    """Its bytes as a person reads them: text, else base64 after `base64:`."""
    time: float
    """When it came, in seconds since 1970."""
    is_cut: bool
    """Whether `raw` is only its beginning: then it cannot be sent again."""


@message
class DeadLetterList(TypedDict):
    """Records that sources could not take, the newest first."""

    letters: list[DeadLetterState]
    """Those that are kept."""


@message
class DeadLetterQuery(TypedDict, total=False):
    """Which of them."""

    source: str
    """Of this source alone."""
    limit: Annotated[int, Field(ge=1, le=1000)]
    """How many at most; by default 100."""


@message
class DropQuery(TypedDict, total=False):
    """Which are dropped."""

    source: str
    """Those of this source alone."""
    id: str
    """This one alone."""


class SendAgain(Body):
    """Which records are sent again: all that are kept, those of a source, or some by their ids."""

    source: str | None = Field(None)
    """Those of this source alone."""
    ids: list[str] | None = Field(None, max_length=1000)
    """These alone."""


@message
class SentAgain(TypedDict):
    """What became of a record that was sent again."""

    id: str
    """What it goes by."""
    error: NotRequired[str]
    """Why it still cannot be taken."""


@message
class SentAgainList(TypedDict):
    """What became of records that were sent again."""

    sent: int
    """How many were taken, and are no longer kept."""
    left: int
    """How many are kept of all sources."""
    letters: list[SentAgain]
    """Each, in the order in which they came."""


@message
class Dropped(TypedDict):
    """Records that are kept no longer."""

    dropped: int
    """How many."""
