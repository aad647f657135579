"""The calls that let a model forget."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from driftline.api import endpoints
from driftline.client.methods import CallMethod
from driftline.client.requests import Call, call, encode, given

if TYPE_CHECKING:
    from driftline.api.control import ForgetPreview


class ForgetCalls:
    """What is to be forgotten is named by ``keys`` or ``ids``, or is what a ``source`` has labelled, or what was in a time."""

    @CallMethod
    def forget(
        self,
        model: str,
        *,
        keys: Iterable[str] | None = None,
        ids: Iterable[str] | None = None,
        source: str | None = None,
        since: float | None = None,
        until: float | None = None,
        reason: str | None = None,
    ) -> Call[str]:
        """Erase labels and predictions, and learn again without them what came since; gives the job's id."""
        body = _asked(keys, ids, source, since, until) | given(reason=reason)
        return call(endpoints.FORGET, content=encode(body), model=model).then(lambda answer: answer["job_id"])

    @CallMethod
    def forget_dry_run(
        self,
        model: str,
        *,
        keys: Iterable[str] | None = None,
        ids: Iterable[str] | None = None,
        source: str | None = None,
        since: float | None = None,
        until: float | None = None,
    ) -> Call[ForgetPreview]:
        """What would be forgotten and learned again; nothing is begun."""
        body = _asked(keys, ids, source, since, until) | {"dry_run": True}
        return Call(endpoints.FORGET, {"model": model}, content=encode(body), is_safe=True)


def _asked(
    keys: Iterable[str] | None,
    ids: Iterable[str] | None,
    source: str | None,
    since: float | None,
    until: float | None,
) -> dict[str, Any]:
    names = {"keys": keys, "ids": ids}
    return given(
        **{name: None if found is None else list(found) for name, found in names.items()},
        source=source,
        since=since,
        until=until,
    )
