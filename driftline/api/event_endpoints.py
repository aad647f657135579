"""The calls about what has happened to models, and about how good they were when."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from driftline.api import examples
from driftline.api.endpoint import EVENT_STREAM, Endpoint, MediaType
from driftline.api.lazily import LazyModule
from driftline.api.scopes import ADMIN, READER

if TYPE_CHECKING:
    from driftline.api import events
else:
    events = LazyModule("driftline.api.events")

EVENTS = "events"

_STREAM = (
    "\n\nWith `Accept: text/event-stream` events come one by one as they happen, each with its id, its kind as `event` and "
    "the event as `data`. `Last-Event-ID` says after which event to go on; without it, what happens from now on comes. A "
    "comment every 15 seconds says that the connection is alive."
)


def _listing(
    path: str, summary: str, description: str, client: str, is_filtered: bool = False
) -> Endpoint[events.EventPage]:
    return Endpoint(
        "GET",
        path,
        events.EventPage,
        summary,
        EVENTS,
        READER,
        description,
        {"events": [examples.EVENT], "next": None},
        declared_query=events.EventQuery,
        streamed=MediaType(events.Event, examples.EVENT, EVENT_STREAM),
        client=client,
        is_filtered=is_filtered,
    )


LIST_EVENTS: Final = _listing(
    "/v1/models/{model}/events",
    "What has happened to a model",
    f"Versions, refusals, alarms, commands, jobs, …: who did what, when and why, the newest first.{_STREAM}",
    "events",
)
LIST_ALL_EVENTS: Final = _listing(
    "/v1/events",
    "What has happened",
    f"The events of all models, and those that are about none, the newest first.{_STREAM} Some events may then come once "
    "more: their ids tell. Events of keys and of refused calls need the scope `audit`.",
    "all_events",
    is_filtered=True,
)
ACKNOWLEDGE: Final = Endpoint(
    "POST",
    "/v1/models/{model}/alarms/{kind}/acknowledge",
    events.Acknowledged,
    "Acknowledge an alarm",
    EVENTS,
    ADMIN,
    "Says that somebody has seen the alarm of this kind that stands. It is shown on until it is over; the next one stands "
    "anew.",
    {"alarm": "drift", "acknowledged_by": "ops"},
    bodies=(MediaType(events.Acknowledgement, {"reason": "the sensor was moved; it learns"}),),
    client="acknowledge",
)
SHOW_SCORES: Final = Endpoint(
    "GET",
    "/v1/models/{model}/scores",
    events.ScoreHistory,
    "Scores over time",
    EVENTS,
    READER,
    "How good the served answers were, by the time at which their labels came: since when a model is good, or not.",
    {"step": 60, "buckets": [examples.BUCKET]},
    declared_query=events.ScoreQuery,
    client="scores",
)
