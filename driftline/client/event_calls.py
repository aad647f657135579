"""What can be asked about what has happened to models, and how good they were when."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from driftline.api import endpoints
from driftline.client.follow import follow_calls
from driftline.client.methods import CallMethod, StreamMethod
from driftline.client.requests import Call, call, encode, event_query

if TYPE_CHECKING:
    from driftline.api.events import Acknowledged, Event, EventPage, ScoreHistory


class EventCalls:
    """The calls about events, alarms and scores."""

    @CallMethod
    def events(
        self,
        model: str,
        *,
        kind: str | Iterable[str] | None = None,
        since: float | None = None,
        until: float | None = None,
        before: str | None = None,
        after: str | None = None,
        limit: int | None = None,
    ) -> Call[EventPage]:
        """What has happened to a model, newest first: of these kinds, within a span of time, or before or after an event.

        ``before=page["next"]`` asks for the next page.
        """
        query = event_query(kind, since=since, until=until, before=before, after=after, limit=limit)
        return call(endpoints.LIST_EVENTS, query=query, model=model)

    @CallMethod
    def all_events(
        self,
        *,
        kind: str | Iterable[str] | None = None,
        since: float | None = None,
        until: float | None = None,
        before: str | None = None,
        after: str | None = None,
        limit: int | None = None,
    ) -> Call[EventPage]:
        """The same of all models, and what is about none."""
        query = event_query(kind, since=since, until=until, before=before, after=after, limit=limit)
        return call(endpoints.LIST_ALL_EVENTS, query=query)

    @StreamMethod
    def follow(
        self, model: str | None = None, *, kind: str | Iterable[str] | None = None, after: str | None = None
    ) -> Iterator[Call[Event]]:
        """Events as they happen, of a model or of all, from now on or from the one with the id ``after`` on.

        A connection that breaks is made again, and nothing is lost or given twice. Ends when the model is removed.
        """
        yield from follow_calls(model, event_query(kind), after)

    @CallMethod
    def acknowledge(self, model: str, kind: str, reason: str = "") -> Call[Acknowledged]:
        """Say that the alarm of this kind, which stands, was seen."""
        return call(endpoints.ACKNOWLEDGE, content=encode({"reason": reason}), is_safe=True, model=model, kind=kind)

    @CallMethod
    def scores(
        self, model: str, *, since: float | None = None, until: float | None = None, step: int | None = None
    ) -> Call[ScoreHistory]:
        """How good the served answers were over time, in buckets of ``step`` seconds."""
        return call(endpoints.SHOW_SCORES, query={"since": since, "until": until, "step": step}, model=model)
