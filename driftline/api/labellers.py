"""Messages about whose labels a model learns."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypedDict

from driftline.api.message import Body, message


@message
class LabellerInfo(TypedDict):
    """Whom labels came from, and how far these agree with those of others."""

    name: str
    """What it goes by: the id of its API key or ``anyone``, and after a slash its own ``source``."""
    key: str
    """The id of its API key, or ``stream:`` and the name of the source that it was read from; empty where there is no key."""
    source: str | None
    """The ``source`` that its labels name."""
    state: Literal["learned", "on hold", "quarantined", "trusted"]
    """Whether its labels are learned, are kept until others bear them out, are kept until an admin decides, or are learned
    because one has."""
    reason: str
    """Why they are not learned."""
    since: int
    """The number of the record with which it has most likely begun to depart; 0 where it has not."""
    labels: int
    """Its labels."""
    held: int
    """Those of them that were not learned when they came."""
    rejected: int
    """Those that did not fit the model."""
    error: float | None
    """The mean error of what was served for its labels, as far as they were compared with others'; null where none was."""
    error_of_others: float | None
    """The same of all others' labels."""
    compared: int
    """Those for which there were labels of others on like rows that say what was served."""
    agreement: float | None
    """The share of these that said the same."""
    repeated: int
    """Those of a row that it had labelled before."""
    changed: int
    """Those of them that were another label."""
    share: float
    """Its share of the weight of the newest 1,000 labels that were learned."""


@message
class LabellerList(TypedDict):
    """Whose labels a model learns."""

    labellers: list[LabellerInfo]
    """Those that are known, in the order of their first labels; none while all labels come from nobody in particular."""


class LabellerName(Body):
    """Which labeller, and why."""

    labeller: str = Field(min_length=1, max_length=500)
    """What it goes by."""
    reason: Annotated[str, Field(max_length=1000)] = ""
    """Kept with the event."""
