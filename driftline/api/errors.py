"""What is answered in the place of an answer."""

from __future__ import annotations

from typing import Any, NotRequired

from typing_extensions import TypedDict

from driftline.api.message import message


@message
class ErrorBody(TypedDict):
    """What went wrong, and what to do."""

    code: str
    """Names the kind of error, for programs; stable."""
    message: str
    """What is wrong, with what value, and what to do, for people."""
    details: NotRequired[dict[str, Any]]
    """The ``field`` and the ``value`` that it is about, where there is one, and more of some errors."""


@message
class ErrorAnswer(TypedDict):
    """An error on ``/v1``."""

    error: ErrorBody
    """The error."""


@message
class SentenceAnswer(TypedDict):
    """An error on ``/v2``."""

    error: str
    """What is wrong, in one sentence."""
