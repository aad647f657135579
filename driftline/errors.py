"""The errors a user can meet: one small tree, each with what went wrong and what to do.

Every error has a ``code`` (stable, for programs), a ``message`` (for people) and ``details`` (the field and the value it is
about, where there is one). ``status`` is the HTTP status that carries it; the client raises the same class again.
"""

from __future__ import annotations

from functools import cache
from typing import Any, ClassVar

WHOLE = "item"
"""The field of an error that is about the whole of a part, such as one that is not JSON."""


class DriftlineError(Exception):
    """Anything Driftline refuses or cannot do."""

    status: int = 500
    default_code: ClassVar[str] = "internal"
    codes: ClassVar[frozenset[str]] = frozenset()
    """Codes besides ``default_code`` that tell this class from others of the same status."""

    def __init__(
        self, message: str, *, code: str | None = None, retry_after: float | None = None, **details: Any
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.retry_after = retry_after
        self.details = details

    def as_json(self) -> dict[str, Any]:
        """The body that ``/v1`` answers: ``{"code", "message", "details"?}``."""
        body: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.details:
            body["details"] = self.details
        return body


class InvalidInput(DriftlineError):
    """What was sent does not fit; nothing was changed."""

    status = 422
    default_code = "invalid_input"

    def within(self, place: str, whole: Any) -> InvalidInput:
        """The same, told of a part: ``place`` is where it stands in what was sent, and ``whole`` is what stands there."""
        field = self.details.get("field")
        if field == WHOLE:
            message = self.message.replace(WHOLE, place, 1)
            return InvalidInput(message, code=self.code, **{**self.details, "field": place})
        details = self.details | ({"field": f"{place}.{field}"} if field else {"field": place, "value": whole})
        joint = "." if field and self.message.startswith(field) else ": "
        return InvalidInput(f"{place}{joint}{self.message}", code=self.code, **details)


class Unauthorized(DriftlineError):
    """No key, or a key that is not known."""

    status = 401
    default_code = "unauthorized"


class Forbidden(DriftlineError):
    """A known caller that may not do this."""

    status = 403
    default_code = "forbidden"


class NotFound(DriftlineError):
    """A name or id that nothing goes by."""

    status = 404
    default_code = "not_found"


class Conflict(DriftlineError):
    """It clashes with what is already there."""

    status = 409
    default_code = "conflict"


class TooLarge(DriftlineError):
    """A body or a batch above its limit."""

    status = 413
    default_code = "too_large"


class UnsupportedMedia(DriftlineError):
    """A body of another content type than the call takes."""

    status = 415
    default_code = "unsupported_media_type"


class Busy(DriftlineError):
    """Full for the moment; try again after ``retry_after`` seconds."""

    status = 429
    default_code = "busy"


class Unavailable(DriftlineError):
    """A part that is needed does not answer; try again after ``retry_after`` seconds."""

    status = 503
    default_code = "unavailable"


class Late(DriftlineError):
    """The answer did not come in time."""

    status = 504
    default_code = "late"


class ServerError(DriftlineError):
    """The server failed at it: a defect of its own, or of a model's network (``network_failed``)."""


class ConfigurationError(DriftlineError):
    """The installation, a setting or the machine does not allow it."""

    default_code = "configuration"
    codes = frozenset(
        {
            "missing_extra",
            "newer_format",
            "no_matplotlib",
            "no_opentelemetry",
            "no_ray",
            "no_sink_client",
            "no_source_client",
            "no_textual",
            "proxy",
            "sender_closed",
            "source_url",
            "store_url",
            "tls",
        }
    )


class CorruptData(DriftlineError):
    """Stored data is not what was written: a wrong digest, a missing record, a torn file."""

    default_code = "corrupt_data"
    codes = frozenset(
        {
            *("artifact_damaged", "artifact_missing", "damaged_backup", "unknown_format"),
            *("log_gap", "out_of_order", "step_gap"),
        }
    )


class Fenced(DriftlineError):
    """Another worker owns the model now; what this one computed must not be committed."""

    status = 409
    default_code = "fenced"


class UserCodeFailed(DriftlineError):
    """Code of a user's own has raised. ``details``: ``what`` of theirs, and the ``reason``, the first line of what it says."""

    default_code = "user_code_failed"

    @property
    def reason(self) -> str:
        """What the code has raised."""
        return str(self.details["reason"])


PRIMARY = {
    **{error.status: error for error in (InvalidInput, Unauthorized, Forbidden, NotFound, Conflict, TooLarge)},
    **{error.status: error for error in (UnsupportedMedia, Busy, ServerError, Unavailable, Late)},
    400: InvalidInput,
}
"""The class that an HTTP status stands for, unless the code says otherwise. ``/v2`` answers bad input with 400."""


def told_by(error: BaseException) -> str:
    """What an error says, or its name where it says nothing, as many time-outs do.

    >>> told_by(TimeoutError()), told_by(OSError("no route"))
    ('TimeoutError', 'no route')
    """
    return str(error) or type(error).__name__


def error_class(status: int, code: str | None = None) -> type[DriftlineError]:
    """The class that the server raised; of a status that Driftline has not, :class:`ServerError` from 500 on."""
    by_code = _by_code().get((status, code)) if code is not None else None
    return by_code or PRIMARY.get(status) or (ServerError if status >= 500 else DriftlineError)


@cache
def _by_code() -> dict[tuple[int, str], type[DriftlineError]]:
    others: tuple[type[DriftlineError], ...] = (ConfigurationError, CorruptData, Fenced, UserCodeFailed)
    return {(error.status, code): error for error in others for code in (error.default_code, *error.codes)}


def from_json(status: int, body: dict[str, Any], retry_after: float | None = None) -> DriftlineError:
    """The error that an HTTP answer carries, as the class that the server raised; it keeps the answer's ``status``."""
    message, code = body.get("message", f"HTTP {status}"), body.get("code")
    error = error_class(status, code)(message, code=code, retry_after=retry_after)
    error.status, error.details = status, body.get("details", {})
    return error
